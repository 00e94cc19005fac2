#include "store/checkpoint_writer.h"

#include <sys/wait.h>

#include <cstring>
#include <numeric>
#include <random>

#include "base/error.h"
#include "store/safetensors.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

std::byte pattern(size_t index, int64_t byte) {
  return static_cast<std::byte>((static_cast<int64_t>(index) * 131 + byte * 7 + byte / 251) & 0xff);
}

void produce(size_t index, int64_t first_byte, std::span<std::byte> out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = pattern(index, first_byte + static_cast<int64_t>(i));
}

void expect_holds(const Checkpoint& checkpoint, const std::vector<TensorSpec>& specs) {
  ASSERT_EQ(checkpoint.names().size(), specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    const TensorView* view = checkpoint.find(specs[i].name);
    ASSERT_NE(view, nullptr) << specs[i].name;
    EXPECT_EQ(view->dtype, specs[i].dtype);
    EXPECT_EQ(view->shape, specs[i].shape);
    ASSERT_EQ(view->bytes, specs[i].bytes());
    for (int64_t byte = 0; byte < view->bytes; ++byte) {
      ASSERT_EQ(view->data[byte], pattern(i, byte)) << specs[i].name << " byte " << byte;
    }
    // Elements are aligned, although counts are odd.
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % static_cast<uintptr_t>(dtype_bytes(view->dtype)), 0U);
  }
}

const std::vector<TensorSpec> kMixed{
    {"half", DType::f16, {3}},  {"table", DType::f32, {7, 5}}, {"brain", DType::bf16, {1, 9}},
    {"scalar", DType::f32, {}}, {"none", DType::f16, {0, 3}},  {"last \"quoted\" \xc3\xa9", DType::f32, {2, 1, 3}}};

TEST(CheckpointWriter, RoundTripsAllDtypesAndOddSizes) {
  TempFolder folder;
  write_checkpoint(folder.path() / "deep" / "model", kMixed, produce, {{"model_type", "opt"}});
  const fs::path model = folder.path() / "deep" / "model";
  expect_holds(Checkpoint::open(model), kMixed);
  EXPECT_EQ(read_json(model / "config.json")["model_type"], "opt");
  EXPECT_EQ(std::distance(fs::directory_iterator(model), {}), 2);
}

TEST(CheckpointWriter, HeaderIsPaddedAndSaysPyTorch) {
  TempFolder folder;
  write_safetensors(folder / "x.safetensors", {{"a", DType::f32, {1}}}, produce);
  const std::string file = read_text(folder / "x.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  EXPECT_EQ(length % 8, 0U);
  EXPECT_EQ(file.size(), 8 + length + 4);
  EXPECT_EQ(Json::parse(file.substr(8, length))["__metadata__"], (Json{{"format", "pt"}}));
}

TEST(CheckpointWriter, StreamsTensorsLargerThanAChunk) {
  TempFolder folder;
  const std::vector<TensorSpec> specs{{"big", DType::bf16, {3, 3'000'017}}, {"small", DType::bf16, {1}}};
  int64_t expected = 0;
  size_t largest = 0;
  write_checkpoint(
      folder.path(), specs,
      [&](size_t index, int64_t first_byte, std::span<std::byte> out) {
        if (index == 0) {
          EXPECT_EQ(first_byte, expected);
          expected += static_cast<int64_t>(out.size());
        }
        EXPECT_EQ(out.size() % 2, 0U);
        largest = std::max(largest, out.size());
        produce(index, first_byte, out);
      },
      nullptr);
  EXPECT_EQ(expected, specs[0].bytes());
  EXPECT_LE(largest, size_t{16} << 20);
  expect_holds(Checkpoint::open(folder.path()), specs);
  EXPECT_EQ(folder.list(), std::vector<std::string>{"model.safetensors"});
}

TEST(CheckpointWriter, SplitsIntoShardsWithAnIndex) {
  TempFolder folder;
  const std::vector<TensorSpec> specs{{"a", DType::f32, {10}},
                                      {"b", DType::f32, {10}},
                                      {"c", DType::f16, {100}},
                                      {"d", DType::f32, {1}},
                                      {"e", DType::f16, {3}}};
  write_checkpoint(folder.path(), specs, produce, Json::object(), 80);
  EXPECT_EQ(folder.list(), (std::vector<std::string>{
                               "config.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                               "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  expect_holds(checkpoint, specs);
  EXPECT_EQ(checkpoint.file_of("b").filename(), "model-00001-of-00003.safetensors");
  EXPECT_EQ(checkpoint.file_of("c").filename(), "model-00002-of-00003.safetensors");
  EXPECT_EQ(checkpoint.file_of("e").filename(), "model-00003-of-00003.safetensors");
  const Json index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 40 + 40 + 200 + 4 + 6);
  EXPECT_EQ(index["weight_map"].size(), 5U);
}

TEST(CheckpointWriter, RandomCheckpointsRoundTrip) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20; ++round) {
    TempFolder folder;
    std::vector<TensorSpec> specs;
    const size_t count = random() % 12;
    for (size_t i = 0; i < count; ++i) {
      TensorSpec spec{fmt::format("t{}", i), static_cast<DType>(random() % 3), {}};
      for (uint64_t d = random() % 4; d > 0; --d) spec.shape.push_back(static_cast<int64_t>(random() % 9));
      specs.push_back(spec);
    }
    write_checkpoint(folder.path(), specs, produce, nullptr, static_cast<int64_t>(random() % 2000));
    expect_holds(Checkpoint::open(folder.path()), specs);
  }
}

TEST(CheckpointWriter, AFullDiskLeavesNothingAndNamesTheFile) {
  const std::vector<TensorSpec> specs{{"a", DType::f32, {100}}, {"b", DType::f32, {50'000}}};
  for (int64_t shard_bytes : {kDefaultShardBytes, int64_t{1000}}) {
    for (rlim_t limit : {0, 4, 100, 5000, 150'000}) {
      TempFolder folder;
      std::string message;
      {
        FullDisk full(limit);
        message =
            message_of<IoError>([&] { write_checkpoint(folder.path(), specs, produce, Json::object(), shard_bytes); });
      }
      expect_all_in(message, {folder.path().string()});
      EXPECT_TRUE(folder.list().empty()) << limit << ": " << folder.list().front();
      write_checkpoint(folder.path(), specs, produce, Json::object(), shard_bytes);
      expect_holds(Checkpoint::open(folder.path()), specs);
    }
  }
}

TEST(CheckpointWriter, AFullDiskKeepsTheFileThatWasThere) {
  TempFolder folder;
  const fs::path file = folder / "x.safetensors";
  const std::vector<TensorSpec> specs{{"a", DType::f32, {100}}};
  write_safetensors(file, specs, produce);
  {
    FullDisk full(300);
    EXPECT_THROW(write_safetensors(file, {{"a", DType::f32, {200}}}, produce), IoError);
  }
  expect_holds(Checkpoint::open(file), specs);
}

TEST(CheckpointWriter, AThrowingProducerLeavesNothing) {
  TempFolder folder;
  EXPECT_THROW(write_checkpoint(
                   folder.path(), kMixed,
                   [](size_t index, int64_t, std::span<std::byte>) {
                     if (index == 2) throw UsageError("no");
                   },
                   Json::object()),
               UsageError);
  EXPECT_TRUE(folder.list().empty());
}

TEST(CheckpointWriter, AKillLeavesNoCheckpointAndWritingAgainWorks) {
  const std::vector<TensorSpec> specs{{"a", DType::f32, {100}}, {"b", DType::f32, {50'000}}};
  for (rlim_t limit : {2, 300, 150'000}) {
    TempFolder folder;
    const pid_t child = ::fork();
    if (child == 0) {
      die_when_a_file_reaches(limit);
      write_checkpoint(folder.path(), specs, produce, nullptr, 1000);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_THROW(Checkpoint::open(folder.path()), UsageError);
    for (const std::string& name : folder.list()) EXPECT_TRUE(name.ends_with(".tmp")) << name;
    write_checkpoint(folder.path(), specs, produce, nullptr, 1000);
    expect_holds(Checkpoint::open(folder.path()), specs);
    EXPECT_EQ(folder.list().size(), 3U);
  }
}

TEST(CheckpointWriter, RefusesAFolderWithWeightsAndOneThatCannotBe) {
  TempFolder folder;
  write_checkpoint(folder.path(), kMixed, produce, nullptr);
  expect_all_in(message_of<UsageError>([&] { write_checkpoint(folder.path(), kMixed, produce, nullptr); }),
                {"model.safetensors", "exists"});
  write_text(folder / "plain", "x");
  expect_all_in(message_of<IoError>([&] { write_checkpoint(folder / "plain", kMixed, produce, nullptr); }), {"plain"});
}

}  // namespace
}  // namespace zo2
