#include "base/error.h"
#include "noise/noise.h"

namespace zo2 {

std::string_view distribution_name(Distribution distribution) {
  return distribution == Distribution::gaussian ? "gaussian" : "rademacher";
}

Distribution parse_distribution(std::string_view name) {
  for (Distribution distribution : {Distribution::gaussian, Distribution::rademacher}) {
    if (name == distribution_name(distribution)) return distribution;
  }
  throw UsageError(fmt::format("unknown noise '{}': known are gaussian, rademacher", name));
}

}  // namespace zo2
