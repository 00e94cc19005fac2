#include "base/bytes.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace zo2 {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 10> kUnits{{{"", 1},
                                                                      {"B", 1},
                                                                      {"kB", 1e3},
                                                                      {"MB", 1e6},
                                                                      {"GB", 1e9},
                                                                      {"TB", 1e12},
                                                                      {"KiB", 1024.0},
                                                                      {"MiB", 1048576.0},
                                                                      {"GiB", 1073741824.0},
                                                                      {"TiB", 1099511627776.0}}};

}  // namespace

int64_t parse_bytes(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  auto [rest, code] = std::from_chars(text.data(), end, value);
  ZO2_CHECK(code == std::errc() && std::isfinite(value) && value >= 0, UsageError,
            "'{}' is not a number of bytes: write for example 512 MiB, 18.04 GB or 4096", text);
  while (rest != end && *rest == ' ') ++rest;
  const std::string_view unit(rest, static_cast<size_t>(end - rest));
  for (const auto& [name, factor] : kUnits) {
    if (unit != name) continue;
    const double bytes = std::round(value * factor);
    ZO2_CHECK(bytes < 9.2e18, UsageError, "'{}' is more than 2^63 bytes", text);
    return static_cast<int64_t>(bytes);
  }
  throw UsageError(fmt::format("'{}': unknown unit '{}'; known are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB", text, unit));
}

std::string format_bytes(int64_t bytes) {
  const double magnitude = std::fabs(static_cast<double>(bytes));
  if (magnitude < 1024) return fmt::format("{} B", bytes);
  for (auto [name, factor] : {std::pair{"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}}) {
    if (magnitude < 1024 * factor) return fmt::format("{:.2f} {}", static_cast<double>(bytes) / factor, name);
  }
  return fmt::format("{:.2f} TiB", static_cast<double>(bytes) / 1099511627776.0);
}

}  // namespace zo2
