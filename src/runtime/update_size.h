// How much of the change that a step log asks for arrives in weights of 16 bits, where an update below half a unit in
// the last place is rounded away.
#pragma once

#include "store/host_weights.h"

namespace zo2 {

// Euclidean norms over all parameters.
struct UpdateSize {
  double asked = 0;    // of the change that the log asks for: folded in float32
  double applied = 0;  // of the change that the weights went through
  double kept = 0;     // <applied, asked> / asked^2: the share of what was asked for that arrived; 0 when nothing was
};

// All of one table: the weights before the log, those after it, and `asked`, float32, what they would be without
// rounding to their dtype.
UpdateSize update_size(const HostWeights& before, const HostWeights& after, const HostWeights& asked);

}  // namespace zo2
