#include "store/step_log.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "store/step_log_format.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

void lock(const File& file) {
  if (::flock(file.descriptor(), LOCK_EX | LOCK_NB) == 0) return;
  ZO2_CHECK(errno != EWOULDBLOCK, UsageError, "{} is being written by another process", file.path().string());
  throw IoError(fmt::format("cannot lock {}: {}", file.path().string(), std::strerror(errno)));
}

std::string read_whole(const File& file) {
  std::string bytes(static_cast<size_t>(file.size()), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        ::pread(file.descriptor(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    ZO2_CHECK(count >= 0, IoError, "cannot read {}: {}", file.path().string(), std::strerror(errno));
    if (count == 0) break;  // cut shorter meanwhile
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

std::string position(const LogEntry& entry) { return fmt::format("step {} pair {}", entry.step, entry.pair); }

// Whether `entry` may follow `previous` (null: begin the log).
bool follows(const LogEntry* previous, const LogEntry& entry, int pairs) {
  if (previous == nullptr) return entry.pair == 0;
  if (previous->pair + 1 < pairs) return entry.step == previous->step && entry.pair == previous->pair + 1;
  return entry.step == previous->step + 1 && entry.pair == 0;
}

StepLog parse(std::string_view bytes, const fs::path& path) {
  const LogPrefix prefix = decode_log_header(bytes, path);
  StepLog log;
  log.header = prefix.header;
  log.header_bytes = prefix.bytes;
  const std::string_view records = bytes.substr(static_cast<size_t>(prefix.bytes));
  const auto whole = static_cast<uint64_t>(records.size()) / kLogEntryBytes;
  const auto entry_at = [&](uint64_t i) {
    return decode_log_entry(records.substr(i * kLogEntryBytes, kLogEntryBytes), prefix.checksum);
  };
  for (uint64_t i = 0; i < whole; ++i) {
    const std::optional<LogEntry> entry = entry_at(i);
    if (!entry) {
      // Torn if nothing valid comes behind: only a tail is lost when a process or the power dies.
      for (uint64_t later = i + 1; later < whole; ++later) {
        ZO2_CHECK(!entry_at(later), UsageError,
                  "{}: corrupt at entry {} (byte {}), with valid entries behind it: restore the file from a copy",
                  path.string(), i, prefix.bytes + static_cast<int64_t>(i) * kLogEntryBytes);
      }
      break;
    }
    const LogEntry* previous = log.entries.empty() ? nullptr : &log.entries.back();
    ZO2_CHECK(follows(previous, *entry, log.header.pairs), UsageError,
              "{}: corrupt at entry {}: {} {} ({} pairs a step)", path.string(), i, position(*entry),
              previous == nullptr ? "begins the log" : "follows " + position(*previous), log.header.pairs);
    log.entries.push_back(*entry);
  }
  log.torn_bytes = static_cast<int64_t>(records.size()) - static_cast<int64_t>(log.entries.size()) * kLogEntryBytes;
  return log;
}

}  // namespace

std::span<const LogEntry> entries_between(std::span<const LogEntry> entries, int pairs, int64_t first_step,
                                          int64_t end_step) {
  if (first_step >= end_step) return {};
  ZO2_ASSERT(!entries.empty() && entries.front().step <= first_step);
  const auto first = static_cast<size_t>((first_step - entries.front().step) * pairs);
  const auto count = static_cast<size_t>((end_step - first_step) * pairs);
  ZO2_ASSERT(first + count <= entries.size() && entries[first].step == first_step);
  return entries.subspan(first, count);
}

int64_t StepLog::next_step() const {
  if (entries.empty()) return 0;
  const LogEntry& last = entries.back();
  return int64_t{last.step} + (last.pair + 1 == header.pairs ? 1 : 0);
}

StepLog read_step_log(const fs::path& path) { return parse(read_whole(File::open_for_reading(path)), path); }

StepLogWriter::StepLogWriter(File file, const StepLogHeader& header) : file_(std::move(file)), pairs_(header.pairs) {}

StepLogWriter StepLogWriter::create(const fs::path& path, const StepLogHeader& header) {
  const fs::path own = fmt::format("{}.{}", path.string(), ::getpid());
  write_file_atomically(own, encode_log_header(header));
  ZO2_CHECK(rename_to_new_durably(own, path), UsageError, "{} exists: resume that run, or choose another folder",
            path.string());
  return open(path, header);
}

StepLogWriter StepLogWriter::open(const fs::path& path, const StepLogHeader& header) {
  // O_CREAT would leave an empty file where there is no log.
  std::error_code ignored;
  ZO2_CHECK(fs::exists(path, ignored), IoError, "cannot read {}: no such file", path.string());
  StepLogWriter writer(File::open_for_appending(path), header);
  lock(writer.file_);
  const std::string bytes = read_whole(writer.file_);
  const StepLog log = parse(bytes, path);
  const std::vector<std::string> differing = differences(log.header, header);
  ZO2_CHECK(differing.empty(), UsageError, "{} belongs to another run: {}", path.string(), fmt::join(differing, "; "));
  writer.header_checksum_ = decode_log_header(bytes, path).checksum;
  writer.header_bytes_ = log.header_bytes;
  writer.entry_count_ = static_cast<int64_t>(log.entries.size());
  if (!log.entries.empty()) writer.first_step_ = log.entries.front().step;
  if (log.torn_bytes > 0) writer.file_.truncate(writer.end());
  return writer;
}

int64_t StepLogWriter::end() const { return header_bytes_ + entry_count_ * kLogEntryBytes; }

void StepLogWriter::append(std::span<const LogEntry> entries) {
  if (entries.empty()) return;
  std::string bytes;
  bytes.reserve(entries.size() * kLogEntryBytes);
  const int64_t first_step = entry_count_ == 0 ? entries.front().step : first_step_;
  int64_t index = entry_count_;
  for (const LogEntry& entry : entries) {
    const int64_t step = first_step + index / pairs_;
    const int64_t pair = index % pairs_;
    ZO2_CHECK(entry.step == step && entry.pair == pair, InternalError,
              "step log {}: {} where step {} pair {} comes next", file_.path().string(), position(entry), step, pair);
    bytes += encode_log_entry(entry, header_checksum_);
    ++index;
  }
  try {
    file_.write_all(bytes.data(), bytes.size());
  } catch (const IoError&) {
    // Leave no half entry for the next append to follow. Should this fail too, readers see a torn tail.
    [[maybe_unused]] const int result = ::ftruncate(file_.descriptor(), end());
    throw;
  }
  first_step_ = first_step;
  entry_count_ = index;
}

void StepLogWriter::sync() { file_.sync(); }

void StepLogWriter::truncate_to(int64_t next_step) {
  const int64_t kept = std::max<int64_t>(0, next_step - first_step_) * pairs_;
  if (kept >= entry_count_) return;
  entry_count_ = kept;
  file_.truncate(end());
  file_.sync();
}

}  // namespace zo2
