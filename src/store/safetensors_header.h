// The header of one safetensors file, parsed and checked. Format: safetensors.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace zo2 {

struct HeaderEntry {
  std::string name;
  std::string dtype;  // as the file says, e.g. "BF16"
  std::vector<int64_t> shape;
  int64_t begin = 0;  // in the file
  int64_t end = 0;
};

inline constexpr int64_t kMaxHeaderBytes = 100'000'000;  // as the safetensors library has it

// Entries in the order of their bytes. `path` is for messages. Throws UsageError naming it, the tensor and the numbers
// unless every claim is true: the header lies within the file and is JSON without duplicate names; shapes and offsets
// are whole and not negative; shape times dtype is the length; the tensors cover the data without overlap or gap.
std::vector<HeaderEntry> parse_safetensors_header(std::span<const std::byte> file, const std::filesystem::path& path);

// "F32", "F16" or "BF16" and their widths; 0 bits for names that are unknown.
int64_t safetensors_dtype_bits(std::string_view name);

}  // namespace zo2
