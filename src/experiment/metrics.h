// The metric table: what every figure in a record is, in which unit, and which direction is better. Reports,
// expectations and the reference page read it; a record holds only names from it.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"

namespace zo2 {

enum class Better : uint8_t { higher, lower, neither };

// What a figure depends on besides the configuration: what may spoil it, and what must be equal for it to be compared
// (comparable.h).
enum class Depends : uint8_t {
  plan,           // nothing: the plan's, or the process's own account of what it allocated
  device_memory,  // everything on the GPU, by NVML
  host_memory,
  speed,
  loss,
  machine,  // a reading of the machine, not a result
};

struct Metric {
  std::string_view name;
  std::string_view unit;  // "bytes", "tok/s", "ms", "s", "MHz", "C", "W", "" for a plain number
  Better better;
  Depends depends;
  std::string_view definition;
};

std::span<const Metric> metric_table();

// nullptr when there is no such metric.
const Metric* find_metric(std::string_view name);

// The metric that was probably meant; empty when nothing is near.
std::string nearest_metric(std::string_view name);

// A metric's value as people read it: "1.50 GiB", "1,234 tok/s", "12.3 ms". Accepts the strings of json_number.
std::string format_metric(const Metric& metric, const Json& value);

// The same for a column of a table: all sizes in MiB, so that rows compare: "1536.0 MiB".
std::string format_in_column(const Metric& metric, double value);

}  // namespace zo2
