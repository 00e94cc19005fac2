// A finished step as a record's sample.
#pragma once

#include "experiment/record.h"
#include "runtime/executor.h"

namespace zo2 {

inline StepSample to_sample(const StepResult& result) {
  StepSample sample;
  sample.step = result.entries.front().step;
  sample.seed = result.entries.front().seed;
  sample.step_ms = result.step_ms;
  for (const LogEntry& entry : result.entries) {
    sample.loss_plus.push_back(entry.loss_plus);
    sample.loss_minus.push_back(entry.loss_minus);
    sample.projected_gradient.push_back(entry.projected_gradient);
  }
  return sample;
}

}  // namespace zo2
