#include "optimizer/trainer.h"

#include <algorithm>

#include "base/error.h"

namespace zo2 {

void Trainer::submit(int64_t step) {
  tokens_.push_back(0);
  for (int pass = 0; pass < settings_.micro_batches; ++pass) {
    PassInput input;
    input.batch = data_.batch(step, pass);
    input.step = step;
    input.pass = pass;
    input.last_pass = pass + 1 == settings_.micro_batches;
    input.seed = seed_at(settings_.noise_seed, static_cast<uint64_t>(step));
    input.learning_rate = settings_.learning_rate.at(step);
    tokens_.back() += input.batch.real_tokens;
    executor_.submit(std::move(input));
  }
}

void Trainer::run(int64_t first, int64_t last, const OnStep& on_step) {
  if (first < last) submit(first);
  for (int64_t step = first; step < last; ++step) {
    if (step + 1 < last) submit(step + 1);
    StepResult result = executor_.next_result();
    result.tokens = tokens_.front();
    tokens_.pop_front();
    const bool finite = std::none_of(result.entries.begin(), result.entries.end(),
                                     [](const LogEntry& entry) { return (entry.flags & kLogNonFinite) != 0; });
    non_finite_ = finite ? 0 : non_finite_ + 1;
    on_step(result);
    ZO2_CHECK(
        non_finite_ < kMaxNonFiniteSteps, DivergedError,
        "{} steps in a row, up to step {}, had no finite projected gradient: lower the learning rate, or use fp32 "
        "or bf16",
        non_finite_, step);
  }
}

}  // namespace zo2
