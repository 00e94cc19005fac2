// Bytes of the step log's header and entries. Grammar: step_log.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "store/step_log.h"

namespace zo2 {

inline constexpr int64_t kLogEntryBytes = 64;
inline constexpr uint32_t kLogVersion = 1;

struct LogPrefix {
  StepLogHeader header;
  int64_t bytes = 0;
  uint64_t checksum = 0;
};

// Throws InternalError for a header that no log may have (pairs or K below 1).
std::string encode_log_header(const StepLogHeader& header);

// Throws UsageError naming `path` unless `file` begins with a whole header of this version.
LogPrefix decode_log_header(std::string_view file, const std::filesystem::path& path);

std::string encode_log_entry(const LogEntry& entry, uint64_t header_checksum);

// None when the checksum is wrong. `record` has kLogEntryBytes.
std::optional<LogEntry> decode_log_entry(std::string_view record, uint64_t header_checksum);

}  // namespace zo2
