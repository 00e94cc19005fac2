// The loop of MeZO-SGD: submits steps, keeps the device one step ahead, hands finished steps out in order.
#pragma once

#include <deque>
#include <functional>

#include "runtime/executor.h"
#include "task/sequences.h"

namespace zo2 {

// lr at every step: constant, or falling linearly to 0 at `steps` (Hugging Face's "linear" without warm-up).
struct LearningRate {
  double initial = 1e-6;
  bool linear = false;
  int64_t steps = 1;

  double at(int64_t step) const {
    return linear ? initial * static_cast<double>(steps - step) / static_cast<double>(steps) : initial;
  }
};

struct TrainerSettings {
  int64_t steps = 0;
  LearningRate learning_rate;
  int micro_batches = 1;     // passes a step, accumulated with one seed
  uint64_t noise_seed = 42;  // root of the sequence of step seeds (seed_at)
  // Asked before a step is submitted, when all results but that of the step before are known; true ends the run there.
  std::function<bool(int64_t step)> stop_before = [](int64_t) { return false; };
};

inline constexpr int kMaxNonFiniteSteps = 10;  // in a row; then the run stops

class Trainer {
 public:
  using OnStep = std::function<void(const StepResult& result)>;

  // Both must outlive the trainer.
  Trainer(Executor& executor, const BatchSource& data, const TrainerSettings& settings)
      : executor_(executor), data_(data), settings_(settings) {}

  // Runs steps [first, last) to their end and calls on_step for each, in order. Throws DivergedError after ten steps
  // in a row without a finite projected gradient in any pair (an entry without one changes nothing). Returns the step
  // after the last one, which is less than `last` when stop_before ended the run.
  int64_t run(int64_t first, int64_t last, const OnStep& on_step);

 private:
  void submit(int64_t step);

  Executor& executor_;
  const BatchSource& data_;
  TrainerSettings settings_;
  std::deque<int64_t> tokens_;  // of the steps in flight
  int non_finite_ = 0;
};

}  // namespace zo2
