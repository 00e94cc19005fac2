// The step log: what happened at every step, one entry per direction pair. With the base weights it is the whole
// training state (design idea 7).
//
// File format, little-endian; checksum(x) is the first 8 bytes of SHA-256(x):
//   log      := header entry*
//   header   := magic:"ZO2SLOG\n"  version:u32  json_bytes:u32  json[json_bytes]  checksum:u64
//               json is the canonical JSON of StepLogHeader, padded with spaces so that the header is a multiple of 64
//               bytes; its checksum covers all before it
//   entry    := fields[56] checksum:u64
//               checksum(header.checksum, fields), so that an entry of another log is refused
//   fields   := step:u32 pair:u16 flags:u16 seed:u64 alpha:f32 decay:f32 loss_plus:f64 loss_minus:f64
//               projected_gradient:f64 learning_rate:f64
// Entries are consecutive in (step, pair): pairs 0 to header.pairs - 1 of a step, then the next step; the first entry
// has pair 0.
//
// A log that was being written when the process died ends in bytes that are no whole valid entry: the torn tail, which
// readers leave out and writers cut off. A bad entry with a valid one behind it is damage, and refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"
#include "base/json.h"

namespace zo2 {

inline constexpr uint16_t kLogNonFinite = 1;  // flag: the gradient was not finite, alpha is 0 and decay 1

struct LogEntry {
  uint32_t step = 0;
  uint16_t pair = 0;
  uint16_t flags = 0;
  uint64_t seed = 0;
  float alpha = 0;  // learning_rate * projected_gradient / pairs
  float decay = 1;  // 1 - learning_rate * weight_decay for pair 0, else 1
  double loss_plus = 0;
  double loss_minus = 0;
  double projected_gradient = 0;
  double learning_rate = 0;
};

// Everything that must be equal for the entries to mean the same.
struct StepLogHeader {
  std::string base_hash;  // weights_hash of the weights before the first entry
  std::string parameter_table_hash;
  DType dtype = DType::f32;
  int writeback_every = 1;           // K
  std::string rounding = "nearest";  // or "stochastic"
  int noise_version = 0;
  std::string noise = "gaussian";  // or "rademacher"
  int pairs = 1;                   // entries a step
  double eps = 0;
  int64_t tile_bytes = 0;  // decides how products are split, so which bits a loss has
  std::string config;      // free JSON text; compared like the rest
};

Json to_json(const StepLogHeader& header);
// One line for every field that differs: "dtype: the log has fp16, this run has bf16". Empty when equal.
std::vector<std::string> differences(const StepLogHeader& log, const StepLogHeader& run);

// The entries of steps [first_step, end_step), oldest first, out of consecutive ones with `pairs` a step. Throws
// InternalError when one is missing.
std::span<const LogEntry> entries_between(std::span<const LogEntry> entries, int pairs, int64_t first_step,
                                          int64_t end_step);

struct StepLog {
  StepLogHeader header;
  std::vector<LogEntry> entries;  // up to the torn tail
  int64_t header_bytes = 0;
  int64_t torn_bytes = 0;  // bytes behind the last whole valid entry

  // The step after the last one with all its pairs; 0 when there is none.
  int64_t next_step() const;
};

// Throws IoError when the file cannot be read, UsageError when it is not a step log, is of another version, or is
// corrupt before its tail ("corrupt at entry N").
StepLog read_step_log(const std::filesystem::path& path);

// Appends to a log. Holds a lock on the file (flock), so that two processes never write the same log. One thread.
class StepLogWriter {
 public:
  // Throws UsageError when the file exists. The header is on disk, whole, or the file is not there.
  static StepLogWriter create(const std::filesystem::path& path, const StepLogHeader& header);
  // Continues behind the last whole entry and cuts off the torn tail. Throws UsageError listing the fields when the
  // log's header is not `header`, when the log is corrupt, and when another process is writing it.
  static StepLogWriter open(const std::filesystem::path& path, const StepLogHeader& header);

  // Hands the entries to the operating system at once (a killed process loses none). Throws InternalError when they do
  // not follow the last one, IoError when they cannot be written, and then the log is as before.
  void append(std::span<const LogEntry> entries);
  // Survives a power cut after this.
  void sync();
  // Drops the entries of steps next_step and later.
  void truncate_to(int64_t next_step);

  int64_t entry_count() const { return entry_count_; }

 private:
  StepLogWriter(File file, const StepLogHeader& header);
  int64_t end() const;  // of the last entry, in bytes

  File file_;
  int pairs_;
  uint64_t header_checksum_ = 0;
  int64_t header_bytes_ = 0;
  int64_t entry_count_ = 0;
  int64_t first_step_ = 0;  // of the first entry, once there is one
};

}  // namespace zo2
