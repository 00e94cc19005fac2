// How long a training step takes on a machine: a discrete-event simulation of the schedule over link, compute and
// host. It informs people; it never decides numerics.
#pragma once

#include "program/commit.h"
#include "program/hardware.h"
#include "program/schedule.h"

namespace zo2 {

struct Forecast {
  double step_ms = 0;    // mean over the simulated steps after the first
  double upload_ms = 0;  // busy time of each stream in such a step
  double compute_ms = 0;
  double download_ms = 0;

  // tokens of one step over its time
  double tokens_per_s(const PassShape& shape) const { return 1e3 * static_cast<double>(shape.tokens()) / step_ms; }
};

// Simulates `steps` steps (at least 2) from a state where every weight has its usual number of pending entries.
// `commits` is per weight. Uploads and downloads slow each other down as the hardware says.
Forecast forecast(const Program& program, const Schedule& schedule, const std::vector<CommitRule>& commits,
                  const Hardware& hardware, int steps = 3);

}  // namespace zo2
