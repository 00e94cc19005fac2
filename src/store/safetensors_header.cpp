#include "store/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace zo2 {
namespace {

constexpr std::array<std::pair<std::string_view, int64_t>, 20> kDTypes{
    {{"F32", 32},    {"F16", 16},    {"BF16", 16},   {"F64", 64}, {"I64", 64},    {"I32", 32},   {"I16", 16},
     {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16}, {"U8", 8},      {"BOOL", 8},   {"C64", 64},
     {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}}};

// Refuses what nlohmann's parser takes without a word (the last of two equal keys wins) and nesting that no true header
// has.
Json parse_strictly(std::string_view text, const std::filesystem::path& path) {
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    ZO2_CHECK(depth <= 4, UsageError, "{}: the header is nested too deeply to be a safetensors header", path.string());
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& name = value.get_ref<const std::string&>();
      ZO2_CHECK(keys.back().insert(name).second, UsageError, "{}: the header names '{}' twice", path.string(), name);
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: the header is not JSON: {}", path.string(), error.what()));
  }
}

// A whole number that is not negative and fits.
int64_t whole(const Json& value, std::string_view what, const std::string& where) {
  ZO2_CHECK(value.is_number_integer(), UsageError, "{}: {} is {}, not a whole number", where, what, value.dump());
  const bool fits = value.is_number_unsigned()
                        ? value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                        : value.get<int64_t>() >= 0;
  ZO2_CHECK(fits, UsageError, "{}: {} is {}, which is negative or too large", where, what, value.dump());
  return value.get<int64_t>();
}

void check_size(const HeaderEntry& entry, const std::string& where, const Json& shape) {
  const int64_t bits = safetensors_dtype_bits(entry.dtype);
  if (bits == 0) return;  // an unknown dtype: only its range can be checked
  int64_t total = bits;
  const bool empty = std::find(entry.shape.begin(), entry.shape.end(), 0) != entry.shape.end();
  for (int64_t dimension : entry.shape) {
    ZO2_CHECK(empty || !__builtin_mul_overflow(total, dimension, &total), UsageError, "{}: shape {} overflows 64 bits",
              where, shape.dump());
  }
  if (empty) total = 0;
  ZO2_CHECK(total % 8 == 0 && total / 8 == entry.end - entry.begin, UsageError,
            "{}: shape {} of {} is {} bytes, data_offsets give {}", where, shape.dump(), entry.dtype, total / 8,
            entry.end - entry.begin);
}

HeaderEntry parse_entry(const std::string& name, const Json& value, int64_t data_start, int64_t data_bytes,
                        const std::filesystem::path& path) {
  const std::string where = fmt::format("{}: tensor '{}'", path.string(), name);
  ZO2_CHECK(value.is_object() && value.contains("dtype") && value.contains("shape") && value.contains("data_offsets"),
            UsageError, "{}: expected dtype, shape and data_offsets", where);
  const Json& dtype = value["dtype"];
  const Json& shape = value["shape"];
  const Json& offsets = value["data_offsets"];
  ZO2_CHECK(dtype.is_string(), UsageError, "{}: dtype is {}, not a string", where, dtype.dump());
  ZO2_CHECK(shape.is_array(), UsageError, "{}: shape is {}, not a list", where, shape.dump());
  ZO2_CHECK(offsets.is_array() && offsets.size() == 2, UsageError, "{}: data_offsets is {}, not [begin, end]", where,
            offsets.dump());
  HeaderEntry entry{name, dtype.get<std::string>(), {}, 0, 0};
  for (const Json& dimension : shape) {
    entry.shape.push_back(whole(dimension, fmt::format("a dimension of shape {}", shape.dump()), where));
  }
  entry.begin = whole(offsets[0], "the begin of data_offsets", where);
  entry.end = whole(offsets[1], "the end of data_offsets", where);
  ZO2_CHECK(entry.begin <= entry.end, UsageError, "{}: data_offsets [{}, {}] end before they begin", where, entry.begin,
            entry.end);
  ZO2_CHECK(entry.end <= data_bytes, UsageError,
            "{}: data_offsets [{}, {}] reach beyond the {} bytes of data that the file has (truncated?)", where,
            entry.begin, entry.end, data_bytes);
  check_size(entry, where, shape);
  entry.begin += data_start;
  entry.end += data_start;
  return entry;
}

// No byte of the data belongs to two tensors or to none.
void check_cover(const std::vector<HeaderEntry>& sorted, int64_t data_start, int64_t file_bytes,
                 const std::filesystem::path& path) {
  int64_t covered = data_start;
  const HeaderEntry* previous = nullptr;
  for (const HeaderEntry& entry : sorted) {
    ZO2_CHECK(entry.begin >= covered, UsageError, "{}: tensor '{}' begins at {}, inside tensor '{}' that ends at {}",
              path.string(), entry.name, entry.begin - data_start, previous->name, covered - data_start);
    ZO2_CHECK(entry.begin == covered, UsageError, "{}: tensor '{}' begins at {}, {} bytes after the end of {}",
              path.string(), entry.name, entry.begin - data_start, entry.begin - covered,
              previous == nullptr ? "the header" : fmt::format("tensor '{}'", previous->name));
    covered = entry.end;
    previous = &entry;
  }
  ZO2_CHECK(covered == file_bytes, UsageError, "{}: {} bytes after the last tensor belong to none", path.string(),
            file_bytes - covered);
}

}  // namespace

int64_t safetensors_dtype_bits(std::string_view name) {
  for (const auto& [known, bits] : kDTypes) {
    if (known == name) return bits;
  }
  return 0;
}

std::vector<HeaderEntry> parse_safetensors_header(std::span<const std::byte> file, const std::filesystem::path& path) {
  const auto file_bytes = static_cast<int64_t>(file.size());
  ZO2_CHECK(file_bytes >= 8, UsageError, "{}: {} bytes are too few for a safetensors file (truncated?)", path.string(),
            file_bytes);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  ZO2_CHECK(header_bytes <= static_cast<uint64_t>(kMaxHeaderBytes), UsageError,
            "{}: the header claims {} bytes, more than the {} that a safetensors header may have", path.string(),
            header_bytes, kMaxHeaderBytes);
  const int64_t data_start = 8 + static_cast<int64_t>(header_bytes);
  ZO2_CHECK(data_start <= file_bytes, UsageError,
            "{}: the header claims {} bytes, the file has {} behind its length (truncated?)", path.string(),
            header_bytes, file_bytes - 8);
  const Json header =
      parse_strictly({reinterpret_cast<const char*>(file.data()) + 8, static_cast<size_t>(header_bytes)}, path);
  ZO2_CHECK(header.is_object(), UsageError, "{}: the header is not a JSON object", path.string());

  std::vector<HeaderEntry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(parse_entry(name, value, data_start, file_bytes - data_start, path));
      continue;
    }
    const bool strings =
        value.is_object() && std::all_of(value.begin(), value.end(), [](const Json& item) { return item.is_string(); });
    ZO2_CHECK(strings, UsageError, "{}: __metadata__ is not an object of strings", path.string());
  }
  // Empty tensors sort before the one that begins where they are.
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_cover(entries, data_start, file_bytes, path);
  return entries;
}

}  // namespace zo2
