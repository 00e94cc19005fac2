#include "optimizer/textbook_mezo.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <cmath>
#include <deque>
#include <string>
#include <unordered_map>

#include "base/convert.h"
#include "base/error.h"

namespace zo2 {
namespace {

using at::Tensor;

c10::ScalarType scalar_type(DType dtype) {
  return dtype == DType::f32 ? at::kFloat : dtype == DType::f16 ? at::kHalf : at::kBFloat16;
}

class TextbookMezo final : public Executor {
 public:
  TextbookMezo(const ModelConfig& config, HostWeights& weights, const ExecutorSettings& settings)
      : config_(config), settings_(settings), dtype_(weights.dtype()) {
    ZO2_CHECK(config.family == "opt", UsageError, "the textbook baseline knows OPT only, not {}", config.family);
    if (settings.threads > 0) at::set_num_threads(settings.threads);
    const ParameterTable& table = weights.table();
    for (int weight = 0; weight < weights.count(); ++weight) {
      for (const Segment& segment : table.weights[weight].segments) {
        const Parameter& parameter = table.parameters[segment.parameter];
        const std::vector<int64_t> shape = parameter.kind == ParameterKind::vector
                                               ? std::vector<int64_t>{parameter.cols}
                                               : std::vector<int64_t>{parameter.rows, parameter.cols};
        parameters_.push_back({parameter, at::from_blob(weights.data(weight) + segment.offset * dtype_bytes(dtype_),
                                                        shape, at::TensorOptions().dtype(scalar_type(dtype_)))});
        by_name_[parameter.name] = parameters_.back().tensor;
      }
    }
  }

  void start(int64_t next_step, std::span<const LogEntry> entries) override {
    ZO2_CHECK(next_step == 0 && entries.empty(), UsageError,
              "the textbook baseline cannot resume: its drift is not logged");
    last_end_ = std::chrono::steady_clock::now();
  }

  void submit(PassInput input) override {
    ZO2_CHECK(input.pass == 0 && input.last_pass, UsageError, "the textbook baseline has no micro-batches");
    const c10::InferenceMode inference;
    perturb(input.seed, settings_.eps);
    LogEntry entry;
    entry.loss_plus = mean_loss(input.batch);
    perturb(input.seed, -2 * settings_.eps);
    entry.loss_minus = mean_loss(input.batch);
    perturb(input.seed, settings_.eps);
    entry.step = static_cast<uint32_t>(input.step);
    entry.seed = input.seed;
    entry.projected_gradient = (entry.loss_plus - entry.loss_minus) / (2.0 * static_cast<double>(settings_.eps));
    entry.learning_rate = input.learning_rate;
    entry.alpha = static_cast<float>(input.learning_rate * entry.projected_gradient);
    entry.decay = static_cast<float>(1.0 - input.learning_rate * settings_.weight_decay);
    if (std::isfinite(entry.alpha)) {
      update(entry);
    } else {
      entry.alpha = 0;
      entry.decay = 1;
      entry.flags = kLogNonFinite;
    }
    const auto now = std::chrono::steady_clock::now();
    results_.push_back({{entry}, std::chrono::duration<double, std::milli>(now - last_end_).count()});
    last_end_ = now;
  }

  StepResult next_result() override {
    ZO2_ASSERT(!results_.empty());
    StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }

  EvaluationResult evaluate(const Batch& batch) override {
    const c10::InferenceMode inference;
    const Tensor logprobs = label_logprobs(batch);
    const auto* data = logprobs.const_data_ptr<float>();
    EvaluationResult result{0, {data, data + logprobs.numel()}};
    for (float value : result.logprobs) result.loss_sum -= static_cast<double>(value);
    return result;
  }

  void sync_host() override {}
  MemoryMeter memory() const override { return {}; }

 private:
  struct Held {
    Parameter parameter;
    Tensor tensor;
  };

  // z in the weights' dtype, full size: what MeZO draws from torch.normal.
  Tensor noise(const Held& held, uint64_t seed) const {
    Tensor z = at::empty(held.tensor.sizes(), held.tensor.options());
    auto* out = static_cast<std::byte*>(z.mutable_data_ptr());
    const NoiseKey key{seed, Purpose::direction, 0, held.parameter.id, 0};
    at::parallel_for(0, z.numel(), 1 << 16, [&](int64_t first, int64_t last) {
      constexpr int64_t kBlock = 4096;
      std::vector<float> block(kBlock);
      for (int64_t at = first; at < last; at += kBlock) {
        const std::span<float> part(block.data(), static_cast<size_t>(std::min(kBlock, last - at)));
        fill_noise(settings_.noise, key, at, part);
        from_float(dtype_, part, out + at * dtype_bytes(dtype_));
      }
    });
    return z;
  }

  void perturb(uint64_t seed, float scale) {
    for (Held& held : parameters_) held.tensor.add_(noise(held, seed), scale);
  }

  void update(const LogEntry& entry) {
    for (Held& held : parameters_) {
      if (entry.decay != 1.0f && held.parameter.decays()) held.tensor.mul_(entry.decay);
      held.tensor.add_(noise(held, entry.seed), -entry.alpha);
    }
  }

  Tensor weight(const std::string& name) const { return by_name_.at("model.decoder." + name); }

  Tensor linear(const Tensor& x, const std::string& name) const {
    return at::linear(x, weight(name + ".weight"), weight(name + ".bias"));
  }

  Tensor norm(const Tensor& x, const std::string& name) const {
    return at::layer_norm(x, {x.size(-1)}, weight(name + ".weight"), weight(name + ".bias"), 1e-5);
  }

  Tensor hidden_states(const Batch& batch) const {
    const int64_t heads = config_.num_heads;
    const Tensor ids = at::from_blob(const_cast<int32_t*>(batch.tokens.data()), {batch.batch, batch.seq}, at::kInt);
    Tensor x = at::embedding(weight("embed_tokens.weight"), ids);
    if (config_.word_embed_proj_dim != config_.hidden_size) x = at::linear(x, weight("project_in.weight"));
    x = x + weight("embed_positions.weight").narrow(0, 2, batch.seq);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const std::string prefix = fmt::format("layers.{}.", layer);
      const bool before = config_.norm_before;
      Tensor h = before ? norm(x, prefix + "self_attn_layer_norm") : x;
      const auto split = [&](const char* name) {
        return linear(h, prefix + "self_attn." + name)
            .view({batch.batch, batch.seq, heads, config_.head_dim()})
            .transpose(1, 2);
      };
      const Tensor attention =
          at::scaled_dot_product_attention(split("q_proj"), split("k_proj"), split("v_proj"), {}, 0.0,
                                           /*is_causal=*/true);
      const Tensor joined = attention.transpose(1, 2).reshape({batch.batch, batch.seq, config_.hidden_size});
      x = x + linear(joined, prefix + "self_attn.out_proj");
      if (!before) x = norm(x, prefix + "self_attn_layer_norm");
      h = before ? norm(x, prefix + "final_layer_norm") : x;
      x = x + linear(at::relu(linear(h, prefix + "fc1")), prefix + "fc2");
      if (!before) x = norm(x, prefix + "final_layer_norm");
    }
    if (config_.final_norm) x = norm(x, "final_layer_norm");
    if (config_.word_embed_proj_dim != config_.hidden_size) x = at::linear(x, weight("project_out.weight"));
    return x;
  }

  // Log-probabilities of the labels, [labelled] float32, from full logits [tokens, vocab_size] in float32.
  Tensor label_logprobs(const Batch& batch) const {
    const Tensor head = config_.tie_embeddings ? weight("embed_tokens.weight") : by_name_.at("lm_head.weight");
    const Tensor x = hidden_states(batch).reshape({batch.batch * batch.seq, -1});
    const Tensor logits = at::linear(x, head).to(at::kFloat);
    const auto labelled = static_cast<int64_t>(batch.rows.size());
    const Tensor rows = at::from_blob(const_cast<int32_t*>(batch.rows.data()), {labelled}, at::kInt);
    const Tensor targets =
        at::from_blob(const_cast<int32_t*>(batch.targets.data()), {labelled}, at::kInt).to(at::kLong);
    return at::log_softmax(logits, -1).index_select(0, rows).gather(1, targets.unsqueeze(1)).squeeze(1).contiguous();
  }

  double mean_loss(const Batch& batch) const { return -label_logprobs(batch).mean(at::kDouble).item<double>(); }

  ModelConfig config_;
  ExecutorSettings settings_;
  DType dtype_;
  std::vector<Held> parameters_;
  std::unordered_map<std::string, Tensor> by_name_;
  std::deque<StepResult> results_;
  std::chrono::steady_clock::time_point last_end_;
};

}  // namespace

std::unique_ptr<Executor> make_textbook_mezo(const ModelConfig& config, HostWeights& weights,
                                             const ExecutorSettings& settings) {
  return std::make_unique<TextbookMezo>(config, weights, settings);
}

}  // namespace zo2
