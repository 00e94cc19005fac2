// The arithmetic of a step log entry, from a pair's two mean losses: one for the CPU, for the device, on which the
// gradient stays, and for the textbook baseline. MeZO (arXiv 2305.17333), Algorithm 1, p. 3; the entry as
// docs/design.md has it.
#pragma once

#include <cstdint>

#include "noise/host_device.h"

namespace zo2 {

struct EntryRule {
  double learning_rate;
  double weight_decay;
  double eps;
  uint32_t pairs;  // of a step, each with a mean gradient's share
};

struct EntryValues {
  double projected_gradient;
  float alpha;  // learning_rate * projected_gradient / pairs; 0 when it is not finite
  float decay;  // 1 - learning_rate * weight_decay with pair 0, 1 with the others and when alpha is not finite
  bool finite;
};

ZO2_HOST_DEVICE EntryValues entry_values(double loss_plus, double loss_minus, const EntryRule& rule, uint32_t pair) {
  EntryValues values{};
  values.projected_gradient = (loss_plus - loss_minus) / (2.0 * rule.eps);
  values.alpha = static_cast<float>(rule.learning_rate * values.projected_gradient / rule.pairs);
  // Infinities and NaNs less themselves are NaN.
  values.finite = values.projected_gradient - values.projected_gradient == 0 && values.alpha - values.alpha == 0;
  if (!values.finite) values.alpha = 0;
  values.decay = values.finite && pair == 0 ? static_cast<float>(1.0 - rule.learning_rate * rule.weight_decay) : 1.0f;
  return values;
}

}  // namespace zo2
