#include "store/step_log.h"

#include <sys/wait.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>

#include "base/error.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

constexpr int64_t kEntryBytes = 64;

StepLogHeader header(int pairs = 1) {
  StepLogHeader header;
  header.base_hash = std::string(64, 'a');
  header.parameter_table_hash = std::string(64, 'b');
  header.dtype = DType::f16;
  header.writeback_every = 4;
  header.rounding = "stochastic";
  header.noise_version = 1;
  header.pairs = pairs;
  header.eps = 1e-3;
  header.tile_bytes = 16 << 20;
  header.config = R"({"lr": 1e-7, "data": {"seed": 42}})";
  return header;
}

// What the test expects at a place of the log.
LogEntry entry_at(int64_t index, int pairs = 1, uint32_t first_step = 0) {
  std::mt19937_64 random(static_cast<uint64_t>(index) + 17);
  LogEntry entry;
  entry.step = first_step + static_cast<uint32_t>(index / pairs);
  entry.pair = static_cast<uint16_t>(index % pairs);
  entry.flags = index % 7 == 3 ? kLogNonFinite : 0;
  entry.seed = random();
  entry.alpha = static_cast<float>(random()) * 1e-25F;
  entry.decay = 0.9999F;
  entry.loss_plus = entry.flags != 0 ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(random()) / 7;
  entry.loss_minus = -1.0 / static_cast<double>(index + 3);
  entry.projected_gradient = static_cast<double>(random());
  entry.learning_rate = 1e-7;
  return entry;
}

std::vector<LogEntry> entries_up_to(int64_t count, int pairs = 1) {
  std::vector<LogEntry> entries;
  for (int64_t i = 0; i < count; ++i) entries.push_back(entry_at(i, pairs));
  return entries;
}

// To the bit, NaN included: LogEntry has no padding.
static_assert(sizeof(LogEntry) == 56);
bool same(const std::vector<LogEntry>& a, const std::vector<LogEntry>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(LogEntry)) == 0);
}

class StepLogFile : public ::testing::Test {
 protected:
  TempFolder folder_;
  fs::path file_ = folder_ / "steps.log";

  void write(int64_t count, int pairs = 1) {
    fs::remove(file_);
    StepLogWriter::create(file_, header(pairs)).append(entries_up_to(count, pairs));
  }
  std::string refusal() {
    return message_of<UsageError>([&] { read_step_log(file_); });
  }
};

TEST_F(StepLogFile, RoundTripsHeaderAndEntries) {
  for (int pairs : {1, 3}) {
    fs::remove(file_);
    auto writer = StepLogWriter::create(file_, header(pairs));
    EXPECT_TRUE(read_step_log(file_).entries.empty());
    const std::vector<LogEntry> entries = entries_up_to(30, pairs);
    writer.append(std::span(entries).first(7));
    writer.append({});
    writer.append(std::span(entries).subspan(7));
    writer.sync();
    EXPECT_EQ(writer.entry_count(), 30);
    const StepLog log = read_step_log(file_);
    EXPECT_TRUE(same(log.entries, entries));
    EXPECT_TRUE(differences(log.header, header(pairs)).empty());
    EXPECT_EQ(log.torn_bytes, 0);
    EXPECT_EQ(log.header_bytes % kEntryBytes, 0);
    EXPECT_EQ(log.next_step(), 30 / pairs);
  }
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"steps.log"});
}

TEST_F(StepLogFile, TheFormatIsFixed) {
  auto writer = StepLogWriter::create(file_, StepLogHeader{});
  LogEntry entry;
  entry.seed = 0x0102030405060708;
  entry.alpha = 1;
  writer.append({&entry, 1});
  const std::string bytes = read_text(file_);
  EXPECT_EQ(bytes.substr(0, 12), std::string("ZO2SLOG\n\1\0\0\0", 12));
  const std::string record = bytes.substr(bytes.size() - kEntryBytes);
  EXPECT_EQ(record.substr(8, 8), "\x08\x07\x06\x05\x04\x03\x02\x01");
  EXPECT_EQ(record.substr(16, 4), std::string("\0\0\x80\x3f", 4));
}

TEST_F(StepLogFile, ATailTornAtAnyByteIsLeftOutAndCutOff) {
  write(6);
  const std::string whole = read_text(file_);
  for (int64_t kept = 0; kept <= kEntryBytes; ++kept) {
    write_text(file_, whole.substr(0, whole.size() - static_cast<size_t>(kEntryBytes - kept)));
    const int64_t expected = kept == kEntryBytes ? 6 : 5;
    const StepLog log = read_step_log(file_);
    ASSERT_TRUE(same(log.entries, entries_up_to(expected))) << kept;
    EXPECT_EQ(log.torn_bytes, kept % kEntryBytes);
    auto writer = StepLogWriter::open(file_, header());
    EXPECT_EQ(writer.entry_count(), expected);
    const LogEntry next = entry_at(expected);
    writer.append({&next, 1});
    EXPECT_TRUE(same(read_step_log(file_).entries, entries_up_to(expected + 1)));
    EXPECT_EQ(read_step_log(file_).torn_bytes, 0);
  }
}

TEST_F(StepLogFile, AWrongByteInTheLastEntryIsATornTail) {
  write(6);
  const std::string whole = read_text(file_);
  for (size_t byte = whole.size() - kEntryBytes; byte < whole.size(); ++byte) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 0x10);
    write_text(file_, damaged);
    const StepLog log = read_step_log(file_);
    ASSERT_TRUE(same(log.entries, entries_up_to(5))) << byte;
    EXPECT_EQ(log.torn_bytes, kEntryBytes);
  }
}

TEST_F(StepLogFile, ATailOfZerosIsTorn) {
  // What some file systems leave after a power cut: the size is there, the contents are not.
  write(6);
  const std::string whole = read_text(file_);
  write_text(file_, whole + std::string(3 * kEntryBytes + 5, '\0'));
  const StepLog log = read_step_log(file_);
  EXPECT_TRUE(same(log.entries, entries_up_to(6)));
  EXPECT_EQ(log.torn_bytes, 3 * kEntryBytes + 5);
}

TEST_F(StepLogFile, DamageInTheMiddleIsRefused) {
  write(6);
  const std::string whole = read_text(file_);
  const size_t start = whole.size() - 6 * kEntryBytes;
  for (size_t byte = 0; byte < 5 * kEntryBytes; byte += 5) {
    std::string damaged = whole;
    damaged[start + byte] = static_cast<char>(damaged[start + byte] ^ 1);
    write_text(file_, damaged);
    expect_all_in(refusal(), {file_.string(), fmt::format("corrupt at entry {} ", byte / kEntryBytes)});
    EXPECT_THROW(StepLogWriter::open(file_, header()), UsageError);
    EXPECT_EQ(read_text(file_), damaged);
  }
}

TEST_F(StepLogFile, EntriesThatWereMovedRemovedOrRepeatedAreRefused) {
  write(6);
  const std::string whole = read_text(file_);
  const auto place = [&](size_t entry) { return whole.size() - (6 - entry) * kEntryBytes; };
  const auto entry = [&](size_t i) { return whole.substr(place(i), kEntryBytes); };
  write_text(file_, whole.substr(0, place(1)) + whole.substr(place(2)));
  expect_all_in(refusal(), {file_.string(), "corrupt at entry 1", "step 2 pair 0 follows step 0 pair 0"});
  write_text(file_, whole.substr(0, place(0)) + entry(1) + entry(0) + whole.substr(place(2)));
  expect_all_in(refusal(), {"corrupt at entry 1"});
  write_text(file_, whole + entry(5));
  expect_all_in(refusal(), {"corrupt at entry 6", "step 5 pair 0 follows step 5 pair 0"});
  // Without the first pair of the first step.
  write(6, 3);
  const std::string pairs = read_text(file_);
  write_text(file_, pairs.substr(0, place(0)) + pairs.substr(place(1)));
  expect_all_in(refusal(), {"corrupt at entry 0", "step 0 pair 1 begins the log"});
}

TEST_F(StepLogFile, EntriesOfAnotherLogAreNotTaken) {
  write(6);
  const std::string whole = read_text(file_);
  fs::remove(file_);
  StepLogHeader other = header();
  other.eps = 2e-3;
  StepLogWriter::create(file_, other).append(entries_up_to(6));
  const std::string foreign = read_text(file_);
  write_text(file_, whole.substr(0, whole.size() - 2 * kEntryBytes) + foreign.substr(foreign.size() - 2 * kEntryBytes));
  EXPECT_TRUE(same(read_step_log(file_).entries, entries_up_to(4)));
  write_text(file_, whole.substr(0, whole.size() - 2 * kEntryBytes) +
                        foreign.substr(foreign.size() - 2 * kEntryBytes, kEntryBytes) +
                        whole.substr(whole.size() - kEntryBytes));
  expect_all_in(refusal(), {"corrupt at entry 4"});
}

TEST_F(StepLogFile, HeadersThatAreNoneAreRefused) {
  write(2);
  const std::string whole = read_text(file_);
  const auto header_bytes = static_cast<size_t>(read_step_log(file_).header_bytes);
  for (size_t length = 0; length < header_bytes; ++length) {
    write_text(file_, whole.substr(0, length));
    ASSERT_THROW(read_step_log(file_), UsageError) << length;
  }
  for (size_t byte = 0; byte < header_bytes; ++byte) {
    std::string damaged = whole;
    damaged[byte] = static_cast<char>(damaged[byte] ^ 1);
    write_text(file_, damaged);
    ASSERT_THROW(read_step_log(file_), UsageError) << byte;
  }
  std::string newer = whole;
  newer[8] = 2;
  write_text(file_, newer);
  expect_all_in(refusal(), {file_.string(), "version 2", "version 1"});
  EXPECT_THROW(read_step_log(folder_ / "absent"), IoError);
  EXPECT_THROW(StepLogWriter::open(folder_ / "absent", header()), IoError);
  EXPECT_FALSE(fs::exists(folder_ / "absent"));
}

TEST_F(StepLogFile, AnotherRunIsRefusedWithTheFieldsThatDiffer) {
  write(2);
  StepLogHeader other = header();
  other.dtype = DType::bf16;
  other.writeback_every = 8;
  other.eps = std::nextafter(other.eps, 1);
  other.config = R"({"data": {"seed": 43}, "lr": 1e-7})";
  const std::string message = message_of<UsageError>([&] { StepLogWriter::open(file_, other); });
  expect_all_in(message, {file_.string(), "dtype: the log has \"fp16\", this run has \"bf16\"", "writeback_every",
                          "eps", "config/data/seed: the log has 42, this run has 43"});
  EXPECT_EQ(message.find("rounding"), std::string::npos);
  EXPECT_EQ(message.find("lr"), std::string::npos);
  other = header();
  other.config = "plain";
  expect_all_in(message_of<UsageError>([&] { StepLogWriter::open(file_, other); }), {"config", "plain"});
}

TEST_F(StepLogFile, ASecondWriterAndASecondCreationAreRefused) {
  const auto writer = StepLogWriter::create(file_, header());
  expect_all_in(message_of<UsageError>([&] { StepLogWriter::open(file_, header()); }),
                {file_.string(), "another process"});
  expect_all_in(message_of<UsageError>([&] { StepLogWriter::create(file_, header()); }), {file_.string(), "exists"});
}

TEST_F(StepLogFile, OnlyTheNextEntryCanBeAppended) {
  auto writer = StepLogWriter::create(file_, header(2));
  const auto append = [&](uint32_t step, uint16_t pair) {
    LogEntry entry;
    entry.step = step;
    entry.pair = pair;
    writer.append({&entry, 1});
  };
  EXPECT_THROW(append(5, 1), InternalError);
  append(5, 0);
  EXPECT_THROW(append(6, 0), InternalError);
  EXPECT_THROW(append(5, 0), InternalError);
  append(5, 1);
  EXPECT_THROW(append(5, 2), InternalError);
  EXPECT_THROW(append(7, 0), InternalError);
  append(6, 0);
  const StepLog log = read_step_log(file_);
  EXPECT_EQ(log.entries.size(), 3U);
  EXPECT_EQ(log.next_step(), 6);  // step 6 lacks its second pair
  writer.truncate_to(log.next_step());
  EXPECT_EQ(read_step_log(file_).entries.size(), 2U);
  append(6, 0);
}

TEST_F(StepLogFile, TruncatesToAStep) {
  for (int64_t step : {0, 1, 5, 9, 10, 12}) {
    write(20, 2);
    auto writer = StepLogWriter::open(file_, header(2));
    writer.truncate_to(step);
    const int64_t expected = 2 * std::min<int64_t>(step, 10);
    EXPECT_EQ(writer.entry_count(), expected);
    EXPECT_TRUE(same(read_step_log(file_).entries, entries_up_to(expected, 2)));
    const LogEntry next = entry_at(expected, 2);
    writer.append({&next, 1});
    EXPECT_EQ(read_step_log(file_).entries.size(), static_cast<size_t>(expected + 1));
  }
}

TEST_F(StepLogFile, AFullDiskLeavesTheLogAsItWas) {
  write(3);
  const std::string before = read_text(file_);
  auto writer = StepLogWriter::open(file_, header());
  const std::vector<LogEntry> all = entries_up_to(8);
  for (rlim_t room : {0, 1, 63, 64, 100, 319}) {
    {
      FullDisk full(before.size() + room);
      const std::string message = message_of<IoError>([&] { writer.append(std::span(all).subspan(3)); });
      expect_all_in(message, {file_.string()});
    }
    EXPECT_EQ(read_text(file_), before);
  }
  writer.append(std::span(all).subspan(3));
  EXPECT_TRUE(same(read_step_log(file_).entries, all));
  {
    FullDisk full(10);
    EXPECT_THROW(StepLogWriter::create(folder_ / "new.log", header()), IoError);
  }
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"steps.log"});
}

TEST_F(StepLogFile, AKilledWriterLeavesAValidPrefixAndNothingThatItAppendedIsLost) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  int64_t count = 0;
  StepLogWriter::create(file_, header());
  for (int round = 0; round < 10; ++round) {
    int progress[2];
    ASSERT_EQ(::pipe(progress), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto writer = StepLogWriter::open(file_, header());
      for (int64_t i = writer.entry_count();; ++i) {
        const LogEntry entry = entry_at(i);
        writer.append({&entry, 1});
        if (::write(progress[1], &i, sizeof i) < 0) ::_exit(1);
      }
    }
    ::close(progress[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(500 + random() % 8000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    int64_t acknowledged = count - 1;
    for (int64_t i = 0; ::read(progress[0], &i, sizeof i) == sizeof i;) acknowledged = i;
    ::close(progress[0]);
    const StepLog log = read_step_log(file_);
    EXPECT_GE(static_cast<int64_t>(log.entries.size()), acknowledged + 1);
    count = static_cast<int64_t>(log.entries.size());
    ASSERT_TRUE(same(log.entries, entries_up_to(count)));
  }
}

TEST_F(StepLogFile, AWriterKilledInTheMiddleOfAWriteLeavesATornTail) {
  write(3);
  const auto whole = static_cast<rlim_t>(fs::file_size(file_));
  for (rlim_t room : {1, 63, 64, 65, 130}) {
    write(3);
    const pid_t child = ::fork();
    if (child == 0) {
      auto writer = StepLogWriter::open(file_, header());
      die_when_a_file_reaches(whole + room);
      const std::vector<LogEntry> all = entries_up_to(8);
      writer.append(std::span(all).subspan(3));
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(fs::file_size(file_), whole + room);
    EXPECT_TRUE(same(read_step_log(file_).entries, entries_up_to(3 + static_cast<int64_t>(room) / kEntryBytes)));
    EXPECT_EQ(read_step_log(file_).torn_bytes, static_cast<int64_t>(room) % kEntryBytes);
  }
}

}  // namespace
}  // namespace zo2
