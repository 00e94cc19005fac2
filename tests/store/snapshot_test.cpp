#include "store/snapshot.h"

#include <sys/wait.h>

#include <cstring>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "store/load_weights.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

HostWeights weights_of(uint64_t seed, const ParameterTable& table = small_table(), DType dtype = DType::bf16) {
  HostWeights weights(table, dtype);
  initialise_weights(weights, seed, 0.02);
  return weights;
}

class Snapshots : public ::testing::Test {
 protected:
  TempFolder folder_;
  const fs::path& run_ = folder_.path();

  // The newest snapshot is of `step`, and holds the weights of that seed.
  void expect_newest(int64_t step) {
    const auto newest = newest_snapshot(run_);
    ASSERT_TRUE(newest.has_value());
    EXPECT_EQ(newest->next_step, step);
    HostWeights loaded(small_table(), DType::bf16);
    load_snapshot(*newest, loaded);
    EXPECT_EQ(weights_hash(loaded), weights_hash(weights_of(static_cast<uint64_t>(step))));
  }
  SnapshotInfo write(int64_t step) { return write_snapshot(run_, step, weights_of(static_cast<uint64_t>(step))); }
};

TEST_F(Snapshots, RoundTripInEveryDtype) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const HostWeights weights = weights_of(3, small_table(), dtype);
    const SnapshotInfo info = write_snapshot(run_ / dtype_name(dtype), 40, weights);
    EXPECT_EQ(info.folder.filename(), "snapshot-00000040");
    const auto newest = newest_snapshot(run_ / dtype_name(dtype));
    ASSERT_TRUE(newest.has_value());
    EXPECT_EQ(newest->folder, info.folder);
    EXPECT_EQ(newest->weights_hash, weights_hash(weights));
    HostWeights loaded(small_table(), dtype);
    load_snapshot(*newest, loaded);
    for (int w = 0; w < weights.count(); ++w) EXPECT_EQ(bytes_of(loaded, w), bytes_of(weights, w));
  }
}

TEST_F(Snapshots, TheNewestIsFoundByItsStep) {
  EXPECT_FALSE(newest_snapshot(run_).has_value());
  EXPECT_FALSE(newest_snapshot(run_ / "absent").has_value());
  for (int64_t step : {9, 100'000'000, 10, 99'999'999}) write(step);
  expect_newest(100'000'000);
}

TEST_F(Snapshots, TheNewestUpToAStepIsFound) {
  for (int64_t step : {5, 20, 30}) write(step);
  EXPECT_EQ(newest_snapshot(run_, 29)->next_step, 20);
  EXPECT_EQ(newest_snapshot(run_, 20)->next_step, 20);
  EXPECT_EQ(newest_snapshot(run_, 19)->next_step, 5);
  EXPECT_FALSE(newest_snapshot(run_, 4).has_value());
}

TEST_F(Snapshots, UnfinishedAndUnreadableOnesArePassedOver) {
  write(5);
  fs::copy(run_ / "snapshot-00000005", run_ / "snapshot-00000009.tmp", fs::copy_options::recursive);
  fs::create_directory(run_ / "snapshot-00000010");
  fs::copy(run_ / "snapshot-00000005", run_ / "snapshot-00000011");  // says step 5
  fs::copy(run_ / "snapshot-00000005", run_ / "snapshot-00000012");
  write_text(run_ / "snapshot-00000012" / "snapshot.json", "{\"version\": 1");
  write(13);
  fs::remove(run_ / "snapshot-00000013" / "weights.safetensors");
  write_text(run_ / "snapshot-00000014", "a file");
  fs::create_directory(run_ / "snapshot-x");
  expect_newest(5);
}

TEST_F(Snapshots, DamagedOrForeignOnesAreNotLoaded) {
  const SnapshotInfo info = write(5);
  ParameterTable other = small_table();
  other.parameters[0].name += "x";
  HostWeights foreign(other, DType::bf16);
  expect_all_in(message_of<UsageError>([&] { load_snapshot(info, foreign); }), {info.folder.string(), "another model"});
  HostWeights half(small_table(), DType::f16);
  expect_all_in(message_of<UsageError>([&] { load_snapshot(info, half); }), {"bf16", "fp16"});
  const fs::path file = info.folder / "weights.safetensors";
  std::string bytes = read_text(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(file, bytes);
  HostWeights weights(small_table(), DType::bf16);
  expect_all_in(message_of<UsageError>([&] { load_snapshot(info, weights); }), {info.folder.string(), "damaged"});
}

TEST_F(Snapshots, TheSameStepIsReplaced) {
  write_snapshot(run_, 5, weights_of(99));
  write(5);
  expect_newest(5);
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"snapshot-00000005"});
}

TEST_F(Snapshots, PruningKeepsTheNewestUsableOnes) {
  for (int64_t step : {1, 2, 3, 4}) write(step);
  fs::remove(run_ / "snapshot-00000004" / "snapshot.json");
  fs::create_directory(run_ / "snapshot-00000005.tmp");
  write_text(run_ / "steps.log", "");
  prune_snapshots(run_, 2);
  EXPECT_EQ(folder_.list(), (std::vector<std::string>{"snapshot-00000002", "snapshot-00000003", "steps.log"}));
  expect_newest(3);
  prune_snapshots(run_, 0);
  EXPECT_EQ(folder_.list(), std::vector<std::string>{"steps.log"});
  prune_snapshots(run_ / "absent", 1);
}

TEST_F(Snapshots, AFullDiskLeavesThePreviousOne) {
  write(1);
  for (int64_t step : {1, 2}) {
    for (rlim_t limit : {0, 5, 200, 900}) {
      std::string message;
      {
        FullDisk full(limit);
        message = message_of<IoError>([&] { write(step); });
      }
      expect_all_in(message, {"snapshot-0000000"});
      EXPECT_EQ(folder_.list(), std::vector<std::string>{"snapshot-00000001"});
      expect_newest(1);
    }
  }
}

TEST_F(Snapshots, AKillInTheMiddleOfAWriteLeavesThePreviousOne) {
  write(1);
  for (rlim_t limit : {1, 200, 900}) {
    const pid_t child = ::fork();
    if (child == 0) {
      die_when_a_file_reaches(limit);
      write(2);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_TRUE(fs::exists(run_ / "snapshot-00000002.tmp"));
    expect_newest(1);
  }
  write(2);
  expect_newest(2);
}

TEST_F(Snapshots, AKillAtAnyPointLeavesAUsableOne) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  write(0);
  int64_t last = 0;
  for (int round = 0; round < 8; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int64_t step = last + 1;; ++step) {
        write(step);
        prune_snapshots(run_, 1);
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(1000 + random() % 30'000));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const auto newest = newest_snapshot(run_);
    ASSERT_TRUE(newest.has_value());
    EXPECT_GE(newest->next_step, last);
    last = newest->next_step;
    expect_newest(last);
  }
}

}  // namespace
}  // namespace zo2
