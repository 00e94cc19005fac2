#include "optimizer/textbook_mezo.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <deque>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "optimizer/textbook_device.h"
#include "runtime/pass.h"

namespace zo2 {
namespace {

using at::Tensor;

c10::ScalarType scalar_type(DType dtype) {
  return dtype == DType::f32 ? at::kFloat : dtype == DType::f16 ? at::kHalf : at::kBFloat16;
}

// A batch where the weights are.
struct Inputs {
  int64_t batch;
  int64_t seq;
  Tensor tokens;   // [batch * seq] int32
  Tensor rows;     // [labelled] int64
  Tensor targets;  // [labelled] int64
};

class TextbookMezo final : public Executor {
 public:
  TextbookMezo(Device device, const ModelConfig& config, HostWeights& weights, const ExecutorSettings& settings,
               Objective objective)
      : config_(config), settings_(settings), objective_(objective), dtype_(weights.dtype()) {
    ZO2_CHECK(config.family == "opt", UsageError, "the textbook baseline knows OPT only, not {}", config.family);
    device_ = make_textbook_device(device, settings.threads);
    device_->run([&] { hold(weights); });
  }

  void start(int64_t next_step, std::span<const LogEntry> entries) override {
    ZO2_CHECK(next_step == 0 && entries.empty(), UsageError,
              "the textbook baseline cannot resume: its drift is not logged");
    device_->run([&] { device_->start_clock(); });
  }

  void submit(PassInput input) override {
    ZO2_CHECK(input.pass == 0 && input.last_pass, UsageError, "the textbook baseline has no micro-batches");
    check_batch(input.batch, config_.vocab_size, config_.max_positions);
    check_objective(input.batch, objective_);
    LogEntry entry;
    device_->run([&] {
      entry = measure(to_device(input.batch), input);
      if (entry.flags == 0) update(entry);
      device_->end_step();
    });
    entries_.push_back(entry);
  }

  StepResult next_result() override {
    ZO2_ASSERT(!entries_.empty());
    const LogEntry entry = entries_.front();
    entries_.pop_front();
    return {{entry}, device_->next_step_ms()};
  }

  EvaluationResult evaluate(const Batch& batch) override {
    check_batch(batch, config_.vocab_size, config_.max_positions);
    return device_->run([&] {
      const Tensor logprobs = label_logprobs(to_device(batch)).cpu();
      const auto* data = logprobs.const_data_ptr<float>();
      EvaluationResult result{0, {data, data + logprobs.numel()}};
      for (float value : result.logprobs) result.loss_sum -= static_cast<double>(value);
      return result;
    });
  }

  // Without a cache: everything is computed again for every token.
  std::vector<int32_t> next_tokens(const Batch& batch) override {
    check_continued(batch, config_.vocab_size, config_.max_positions);
    continue_with(batch);
    return device_->run([&] {
      const Inputs inputs = to_device(continued_);
      const Tensor best = at::argmax(logits(inputs).index({inputs.rows}), -1).to(at::kInt).cpu();
      const auto* data = best.const_data_ptr<int32_t>();
      return std::vector<int32_t>(data, data + best.numel());
    });
  }

  int64_t generation_batch() const override { return 1; }  // as MeZO's evaluation

  void sync_host() override {
    device_->run([&] {
      for (Held& held : parameters_) {
        if (!held.tensor.is_same(held.host)) held.host.copy_(held.tensor);
      }
    });
  }

  MemoryMeter memory() const override { return device_->memory(); }

 private:
  struct Held {
    Parameter parameter;
    Tensor host;    // the memory of the host weights
    Tensor tensor;  // what is trained: the same on the CPU, else a copy on the device
  };

  void hold(HostWeights& weights) {
    const ParameterTable& table = weights.table();
    for (int weight = 0; weight < weights.count(); ++weight) {
      for (const Segment& segment : table.weights[weight].segments) {
        const Parameter& parameter = table.parameters[segment.parameter];
        const std::vector<int64_t> shape = parameter.kind == ParameterKind::vector
                                               ? std::vector<int64_t>{parameter.cols}
                                               : std::vector<int64_t>{parameter.rows, parameter.cols};
        const Tensor host = at::from_blob(weights.data(weight) + segment.offset * dtype_bytes(dtype_), shape,
                                          at::TensorOptions().dtype(scalar_type(dtype_)));
        parameters_.push_back({parameter, host, host.to(device_->place())});
        by_name_[parameter.name] = parameters_.back().tensor;
      }
    }
  }

  Inputs to_device(const Batch& batch) const {
    const auto move = [&](const std::vector<int32_t>& values, c10::ScalarType type) {
      const auto count = static_cast<int64_t>(values.size());
      return at::from_blob(const_cast<int32_t*>(values.data()), {count}, at::kInt).to(device_->place(), type);
    };
    return {batch.batch, batch.seq, move(batch.tokens, at::kInt), move(batch.rows, at::kLong),
            move(batch.targets, at::kLong)};
  }

  // Two forwards with the weights moved to either side and back, and what follows from their losses.
  LogEntry measure(const Inputs& inputs, const PassInput& input) {
    perturb(input.seed, settings_.eps);
    const double loss_plus = mean_loss(inputs, input.batch);
    perturb(input.seed, -2 * settings_.eps);
    const double loss_minus = mean_loss(inputs, input.batch);
    perturb(input.seed, settings_.eps);
    const EntryRule rule{input.learning_rate, settings_.weight_decay, static_cast<double>(settings_.eps), 1};
    return log_entry(input.step, 0, input.seed, input.learning_rate, loss_plus, loss_minus,
                     entry_values(loss_plus, loss_minus, rule, 0));
  }

  // One parameter's at a time: a loop that frees each before it asks for the next.
  Tensor noise(const Held& held, uint64_t seed) const {
    Tensor z = at::empty(held.tensor.sizes(), held.tensor.options());
    device_->fill_noise(settings_.noise, seed, held.parameter, dtype_, z);
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

  // h and the result are [batch * seq, hidden_size].
  Tensor attention(const Inputs& inputs, const Tensor& h, const std::string& prefix) const {
    const auto heads = [&](const char* name) {  // [batch, num_heads, seq, head_dim]
      return linear(h, prefix + name)
          .view({inputs.batch, inputs.seq, config_.num_heads, config_.head_dim()})
          .transpose(1, 2);
    };
    const Tensor out = at::scaled_dot_product_attention(heads("q_proj"), heads("k_proj"), heads("v_proj"), {}, 0.0,
                                                        /*is_causal=*/true);
    return linear(out.transpose(1, 2).reshape({inputs.batch * inputs.seq, config_.hidden_size}), prefix + "out_proj");
  }

  // [batch * seq, word_embed_proj_dim]
  Tensor hidden_states(const Inputs& inputs) const {
    Tensor x = at::embedding(weight("embed_tokens.weight"), inputs.tokens);
    if (config_.word_embed_proj_dim != config_.hidden_size) x = at::linear(x, weight("project_in.weight"));
    x.view({inputs.batch, inputs.seq, config_.hidden_size})
        .add_(weight("embed_positions.weight").narrow(0, 2, inputs.seq));
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
      const std::string prefix = fmt::format("layers.{}.", layer);
      const bool before = config_.norm_before;
      Tensor h = before ? norm(x, prefix + "self_attn_layer_norm") : x;
      x.add_(attention(inputs, h, prefix + "self_attn."));
      if (!before) x = norm(x, prefix + "self_attn_layer_norm");
      h = before ? norm(x, prefix + "final_layer_norm") : x;
      x.add_(linear(linear(h, prefix + "fc1").relu_(), prefix + "fc2"));
      if (!before) x = norm(x, prefix + "final_layer_norm");
    }
    if (config_.final_norm) x = norm(x, "final_layer_norm");
    if (config_.word_embed_proj_dim != config_.hidden_size) x = at::linear(x, weight("project_out.weight"));
    return x;
  }

  // Puts tokens at their positions behind those that were there.
  void continue_with(const Batch& batch) {
    if (batch.positions.empty()) {
      continued_ = batch;
      return;
    }
    ZO2_ASSERT(batch.batch == continued_.batch);
    Batch longer;
    longer.batch = batch.batch;
    longer.seq =
        std::max<int64_t>(continued_.seq, *std::max_element(batch.positions.begin(), batch.positions.end()) + 1);
    longer.tokens.resize(static_cast<size_t>(longer.batch * longer.seq));
    for (int64_t i = 0; i < batch.batch; ++i) {
      std::copy_n(continued_.tokens.begin() + i * continued_.seq, continued_.seq,
                  longer.tokens.begin() + i * longer.seq);
      const int64_t row = i * longer.seq + batch.positions[static_cast<size_t>(i)];
      longer.tokens[static_cast<size_t>(row)] = batch.tokens[static_cast<size_t>(i)];
      longer.rows.push_back(static_cast<int32_t>(row));
    }
    continued_ = std::move(longer);
  }

  // Full logits [batch * seq, vocab_size] in the weights' dtype.
  Tensor logits(const Inputs& inputs) const {
    const Tensor head = config_.tie_embeddings ? weight("embed_tokens.weight") : by_name_.at("lm_head.weight");
    return at::linear(hidden_states(inputs), head);
  }

  // Log-probabilities of the labels, [labelled] float32, from full logits. log_softmax makes float32 of them: for fp16
  // on CUDA as it reads them, else through a copy.
  Tensor label_logprobs(const Inputs& inputs) const {
    return at::log_softmax(logits(inputs), -1, at::kFloat).index({inputs.rows, inputs.targets});
  }

  double mean_loss(const Inputs& inputs, const Batch& batch) const {
    const Tensor logprobs = label_logprobs(inputs);
    if (objective_ == Objective::lm) return -logprobs.mean(at::kDouble).item<double>();
    const Tensor on_host = logprobs.cpu();
    const CandidateGroups groups{batch.sequence_ends.data(), batch.example_ends.data(), batch.answers.data()};
    double sum = 0;
    for (int32_t example = 0; example < static_cast<int32_t>(batch.answers.size()); ++example) {
      sum += candidate_loss(on_host.const_data_ptr<float>(), groups, example, objective_);
    }
    return sum / static_cast<double>(batch.answers.size());
  }

  ModelConfig config_;
  ExecutorSettings settings_;
  Objective objective_;
  DType dtype_;
  std::unique_ptr<TextbookDevice> device_;
  std::vector<Held> parameters_;
  std::unordered_map<std::string, Tensor> by_name_;
  std::deque<LogEntry> entries_;  // of steps whose result was not yet taken
  Batch continued_;               // prompts and what next_tokens has put behind them
};

}  // namespace

std::unique_ptr<Executor> make_textbook_mezo(Device device, const ModelConfig& config, HostWeights& weights,
                                             const ExecutorSettings& settings, Objective objective) {
  return std::make_unique<TextbookMezo>(device, config, weights, settings, objective);
}

}  // namespace zo2
