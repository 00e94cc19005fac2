// Byte quantities as people write them. kB, MB, GB, TB are powers of 1000; KiB, MiB, GiB, TiB powers of 1024.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zo2 {

inline constexpr int64_t kKiB = 1024;
inline constexpr int64_t kMiB = 1024 * kKiB;
inline constexpr int64_t kGiB = 1024 * kMiB;

// "18.04 GB", "1.5GiB", "512 MiB", "4096" (bytes). Throws UsageError on anything else, on negative values and overflow.
int64_t parse_bytes(std::string_view text);

// 1610612736 -> "1.50 GiB"; below 1 KiB "123 B".
std::string format_bytes(int64_t bytes);

// The least multiple of `alignment` (a power of two) that is at least `bytes`.
constexpr int64_t align_up(int64_t bytes, int64_t alignment) { return (bytes + alignment - 1) & ~(alignment - 1); }

}  // namespace zo2
