// A training loop of one's own over the public interface: random weights, batches made on the spot, a learning rate
// that warms up and falls as a cosine. The weights stay in host memory and stream through the smallest arena.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "runtime/device.h"
#include "store/load_weights.h"
#include "task/sequences.h"

// Sequences that count upwards from some token, so the next one can be learned.
zo2::Batch counting(int64_t step, const zo2::PlanSettings& settings, int64_t vocab_size) {
  std::vector<zo2::Sequence> sequences(settings.batch);
  for (int64_t i = 0; i < settings.batch * settings.seq; ++i) {
    const int64_t row = i / settings.seq;
    sequences[row].input_ids.push_back(static_cast<int32_t>((7 * step + 5 * row + i % settings.seq) % vocab_size));
    sequences[row].labels = sequences[row].input_ids;
  }
  return zo2::make_batch({sequences.begin(), sequences.end()});
}

int main() {
  constexpr int64_t kSteps = 2000, kWarmup = 100;
  zo2::ModelConfig model{.name = "tiny", .family = "opt", .vocab_size = 32, .hidden_size = 32, .num_layers = 1};
  model.num_heads = 2, model.ffn_dim = 64, model.max_positions = 8, model.word_embed_proj_dim = 32;
  zo2::PlanSettings settings;
  settings.dtype = zo2::DType::f32, settings.batch = 16, settings.seq = 8;

  const zo2::Device device = zo2::parse_device("auto");
  const zo2::Plan plan = zo2::make_plan(model, settings, zo2::measured_attention(device, settings.dtype, 1));
  zo2::HostWeights weights(plan.table, settings.dtype);
  zo2::initialise_weights(weights, /*seed=*/1, /*init_std=*/0.1);
  const auto executor = zo2::make_executor(device, plan, weights, {});
  executor->start(0, {});

  const zo2::Batch held_out = counting(kSteps, settings, model.vocab_size);
  std::printf("loss before: %.4f\n", executor->evaluate(held_out).loss_sum / held_out.terms());
  for (int64_t step = 0; step < kSteps; ++step) {
    zo2::PassInput input;
    input.batch = counting(step, settings, model.vocab_size);
    input.step = step;
    input.seed = zo2::seed_at(42, step);
    input.learning_rate =
        5e-3 * std::min(1.0, (step + 1.0) / kWarmup) * (1 + std::cos(std::numbers::pi * step / kSteps)) / 2;
    executor->submit(std::move(input));
    const double gradient = executor->next_result().entries.front().projected_gradient;
    if (step % 500 == 0) std::printf("step %ld: projected gradient %+.3f\n", static_cast<long>(step), gradient);
  }
  std::printf("loss after: %.4f\n", executor->evaluate(held_out).loss_sum / held_out.terms());
  executor->sync_host();  // now the weights are the trained ones
}
