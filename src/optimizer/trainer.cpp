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

int64_t Trainer::run(int64_t first, int64_t last, const OnStep& on_step) {
  const auto submit_if_due = [&](int64_t step) {
    const bool due = step < last && !settings_.stop_before(step);
    if (due) submit(step);
    return due;
  };
  int64_t step = first;
  for (bool due = submit_if_due(first); due; ++step) {
    due = submit_if_due(step + 1);
    StepResult result = executor_.next_result();
    result.tokens = tokens_.front();
    tokens_.pop_front();
    const bool finite = std::any_of(result.entries.begin(), result.entries.end(),
                                    [](const LogEntry& entry) { return (entry.flags & kLogNonFinite) == 0; });
    non_finite_ = finite ? 0 : non_finite_ + 1;
    on_step(result);
    ZO2_CHECK(
        non_finite_ < kMaxNonFiniteSteps, DivergedError,
        "{} steps in a row, up to step {}, had no finite projected gradient: lower the learning rate, or use fp32 "
        "or bf16",
        non_finite_, step);
  }
  return step;
}

}  // namespace zo2
