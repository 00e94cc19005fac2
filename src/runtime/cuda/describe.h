// What kernels are told of parameters and of log entries, from the host's own descriptions.
#pragma once

#include <vector>

#include "program/parameters.h"
#include "runtime/cuda/entry.h"
#include "runtime/cuda/visit.h"
#include "store/step_log.h"

namespace zo2::cuda {

inline DeviceEntry device_entry(const LogEntry& entry) {
  return {entry.seed, entry.alpha, entry.decay, entry.step, entry.pair};
}

inline std::vector<VisitSegment> segments_of(const ParameterTable& table, size_t weight) {
  std::vector<VisitSegment> segments;
  for (const Segment& segment : table.weights[weight].segments) {
    const Parameter& parameter = table.parameters[segment.parameter];
    segments.push_back({segment.offset, parameter.count(), parameter.id, parameter.decays()});
  }
  return segments;
}

}  // namespace zo2::cuda
