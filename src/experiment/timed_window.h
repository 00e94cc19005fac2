// The timed window of a run: its steps after warm-up, a whole number of write-back periods, since a step that commits
// takes longer than one that does not. What its times say, and when there are enough of them.
#pragma once

#include <cstdint>
#include <optional>

#include "base/json.h"
#include "experiment/record.h"

namespace zo2 {

// The mean of values that come one by one (Welford), and how well it is known.
class MeanInterval {
 public:
  static constexpr int64_t kLeastValues = 5;  // fewer say little about their own spread

  void add(double value);
  int64_t count() const { return count_; }
  double mean() const { return mean_; }
  // Half the width of the 95% confidence interval of the mean (Student's t; the values are taken as independent),
  // relative to the mean. nullopt below kLeastValues.
  std::optional<double> relative_half_width() const;

 private:
  int64_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;  // sum of squared deviations
};

// train.stop_within: a run ends early when the mean step time is known well enough, over the write-back periods since
// warm-up. It ends at the end of a period only. The device runs a step ahead of the host and is never waited for: the
// decision before a step is made from the periods that are complete without the step before it.
class StoppingRule {
 public:
  // `within` bounds the relative half width; 0: the run never ends early.
  StoppingRule(double within, int64_t warmup, int64_t period) : within_(within), warmup_(warmup), period_(period) {}

  void add(double step_ms);  // of the steps from 0 on, in order
  bool stop_before(int64_t step) const;

 private:
  double within_;
  int64_t warmup_;
  int64_t period_;
  int64_t steps_ = 0;
  double period_ms_ = 0;  // of the steps since the last complete period
  MeanInterval means_;    // of complete periods
};

// Steps that the rule needs at least before it can end a run.
int64_t least_steps_to_stop(int64_t warmup, int64_t period);

// Adds the metrics of the window that `samples` has, none when it has no whole period after warm-up, and a warning when
// train.stop_within was not reached. `tokens` are those of each sample's batches, without padding.
void add_speed_metrics(const Json& config, const std::vector<StepSample>& samples, const std::vector<int64_t>& tokens,
                       Json& result);

}  // namespace zo2
