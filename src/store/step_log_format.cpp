#include "store/step_log_format.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/sha256.h"

namespace zo2 {
namespace {

static_assert(std::endian::native == std::endian::little, "the file formats are little-endian");

constexpr std::string_view kMagic = "ZO2SLOG\n";
constexpr size_t kFixedBytes = 16;  // magic, version, json_bytes
constexpr size_t kChecksumBytes = 8;
constexpr size_t kFieldBytes = kLogEntryBytes - kChecksumBytes;
constexpr uint32_t kMaxJsonBytes = 64 << 20;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T take(std::string_view& in) {
  T value{};
  std::memcpy(&value, in.data(), sizeof value);
  in.remove_prefix(sizeof value);
  return value;
}

uint64_t checksum(std::string_view bytes) { return std::stoull(sha256_hex(bytes).substr(0, 16), nullptr, 16); }

uint64_t entry_checksum(uint64_t header_checksum, std::string_view fields) {
  std::string bytes;
  bytes.reserve(sizeof header_checksum + fields.size());
  put(bytes, header_checksum);
  bytes += fields;
  return checksum(bytes);
}

StepLogHeader header_from_json(const Json& json) {
  StepLogHeader header;
  header.base_hash = json.at("base_hash").get<std::string>();
  header.parameter_table_hash = json.at("parameter_table_hash").get<std::string>();
  header.dtype = parse_dtype(json.at("dtype").get<std::string>());
  header.writeback_every = json.at("writeback_every").get<int>();
  header.rounding = json.at("rounding").get<std::string>();
  header.noise_version = json.at("noise_version").get<int>();
  header.noise = json.at("noise").get<std::string>();
  header.pairs = json.at("pairs").get<int>();
  header.eps = number_from_json(json.at("eps"));
  header.tile_bytes = json.at("tile_bytes").get<int64_t>();
  header.config = json.at("config").get<std::string>();
  return header;
}

bool possible(const StepLogHeader& header) {
  return header.pairs >= 1 && header.pairs <= 65536 && header.writeback_every >= 1;
}

// The keys in which two texts differ, if both are JSON objects; otherwise the texts.
std::string config_difference(const std::string& log, const std::string& run) {
  const Json a = Json::parse(log, nullptr, false);
  const Json b = Json::parse(run, nullptr, false);
  if (!a.is_object() || !b.is_object()) return fmt::format("config: the log has '{}', this run has '{}'", log, run);
  constexpr size_t kShown = 5;
  std::vector<std::string> parts;
  const Json flat_a = a.flatten();
  const Json flat_b = b.flatten();
  const auto value = [](const Json& flat, const std::string& key) {
    return flat.contains(key) ? flat[key].dump() : std::string("nothing");
  };
  Json keys = flat_a;
  keys.update(flat_b);
  for (const auto& [key, unused] : keys.items()) {
    const std::string in_log = value(flat_a, key);
    const std::string in_run = value(flat_b, key);
    if (in_log == in_run) continue;
    if (parts.size() == kShown) {
      parts.emplace_back("and more");
      break;
    }
    parts.push_back(fmt::format("config{}: the log has {}, this run has {}", key, in_log, in_run));
  }
  if (parts.empty()) return "config: the same values in another spelling";
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace

Json to_json(const StepLogHeader& header) {
  return {{"base_hash", header.base_hash},
          {"parameter_table_hash", header.parameter_table_hash},
          {"dtype", dtype_name(header.dtype)},
          {"writeback_every", header.writeback_every},
          {"rounding", header.rounding},
          {"noise_version", header.noise_version},
          {"noise", header.noise},
          {"pairs", header.pairs},
          {"eps", json_number(header.eps)},
          {"tile_bytes", header.tile_bytes},
          {"config", header.config}};
}

std::vector<std::string> differences(const StepLogHeader& log, const StepLogHeader& run) {
  std::vector<std::string> result;
  const Json a = to_json(log);
  const Json b = to_json(run);
  for (const auto& [key, value] : a.items()) {
    if (value == b.at(key)) continue;
    result.push_back(key == "config"
                         ? config_difference(log.config, run.config)
                         : fmt::format("{}: the log has {}, this run has {}", key, value.dump(), b.at(key).dump()));
  }
  return result;
}

std::string encode_log_header(const StepLogHeader& header) {
  ZO2_ASSERT(possible(header));
  std::string json = to_json(header).dump();
  const size_t unpadded = kFixedBytes + json.size() + kChecksumBytes;
  json.resize(json.size() + (kLogEntryBytes - unpadded % kLogEntryBytes) % kLogEntryBytes, ' ');
  ZO2_ASSERT(json.size() <= kMaxJsonBytes);
  std::string bytes(kMagic);
  put(bytes, kLogVersion);
  put(bytes, static_cast<uint32_t>(json.size()));
  bytes += json;
  put(bytes, checksum(bytes));
  return bytes;
}

LogPrefix decode_log_header(std::string_view file, const std::filesystem::path& path) {
  ZO2_CHECK(file.size() >= kFixedBytes && file.starts_with(kMagic), UsageError, "{} is not a step log", path.string());
  std::string_view rest = file.substr(kMagic.size());
  const auto version = take<uint32_t>(rest);
  const auto json_bytes = take<uint32_t>(rest);
  ZO2_CHECK(version == kLogVersion, UsageError, "{}: step log of version {}, this program knows version {}",
            path.string(), version, kLogVersion);
  ZO2_CHECK(json_bytes <= kMaxJsonBytes && rest.size() >= json_bytes + kChecksumBytes, UsageError,
            "{}: the header claims {} bytes, the file has {} for it (truncated?)", path.string(), json_bytes,
            rest.size());
  std::string_view behind = rest.substr(json_bytes);
  const auto stored = take<uint64_t>(behind);
  LogPrefix prefix;
  prefix.checksum = checksum(file.substr(0, kFixedBytes + json_bytes));
  ZO2_CHECK(stored == prefix.checksum, UsageError, "{}: the header is corrupt (wrong checksum)", path.string());
  prefix.bytes = static_cast<int64_t>(kFixedBytes + json_bytes + kChecksumBytes);
  try {
    prefix.header = header_from_json(Json::parse(rest.substr(0, json_bytes)));
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: the header is wrong: {}", path.string(), error.what()));
  }
  ZO2_CHECK(possible(prefix.header), UsageError, "{}: the header has {} pairs and writeback_every {}", path.string(),
            prefix.header.pairs, prefix.header.writeback_every);
  return prefix;
}

std::string encode_log_entry(const LogEntry& entry, uint64_t header_checksum) {
  std::string bytes;
  bytes.reserve(kLogEntryBytes);
  put(bytes, entry.step);
  put(bytes, entry.pair);
  put(bytes, entry.flags);
  put(bytes, entry.seed);
  put(bytes, entry.alpha);
  put(bytes, entry.decay);
  put(bytes, entry.loss_plus);
  put(bytes, entry.loss_minus);
  put(bytes, entry.projected_gradient);
  put(bytes, entry.learning_rate);
  ZO2_ASSERT(bytes.size() == kFieldBytes);
  put(bytes, entry_checksum(header_checksum, bytes));
  return bytes;
}

std::optional<LogEntry> decode_log_entry(std::string_view record, uint64_t header_checksum) {
  std::string_view rest = record;
  LogEntry entry;
  entry.step = take<uint32_t>(rest);
  entry.pair = take<uint16_t>(rest);
  entry.flags = take<uint16_t>(rest);
  entry.seed = take<uint64_t>(rest);
  entry.alpha = take<float>(rest);
  entry.decay = take<float>(rest);
  entry.loss_plus = take<double>(rest);
  entry.loss_minus = take<double>(rest);
  entry.projected_gradient = take<double>(rest);
  entry.learning_rate = take<double>(rest);
  const auto stored = take<uint64_t>(rest);
  if (stored != entry_checksum(header_checksum, record.substr(0, kFieldBytes))) return std::nullopt;
  return entry;
}

}  // namespace zo2
