#include "store/safetensors.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

std::string with_length(uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + rest;
}

std::string file_of(const std::string& header, size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, '\x11'));
}

class Safetensors : public ::testing::Test {
 protected:
  TempFolder folder_;
  fs::path file_ = folder_ / "lying.safetensors";

  // The refusal of a file with these bytes, which names the file and the parts.
  void expect_refused(const std::string& bytes, std::initializer_list<std::string> parts) {
    write_text(file_, bytes);
    const std::string message = message_of<UsageError>([&] { Checkpoint::open(file_); });
    expect_all_in(message, {file_.string()});
    expect_all_in(message, parts);
  }
};

TEST_F(Safetensors, ReadsTensorsAndKeepsTheFileMapped) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
      R"("s":{"dtype":"F32","shape":[],"data_offsets":[12,16]},)"
      R"("e":{"dtype":"F16","shape":[0,4],"data_offsets":[12,12]}})";
  write_text(file_, file_of(header, 16));
  Checkpoint copy = Checkpoint::open(file_);
  {
    const Checkpoint opened = Checkpoint::open(file_);
    copy = opened;
  }
  fs::remove(file_);
  EXPECT_EQ(copy.names(), (std::vector<std::string>{"b", "e", "s"}));
  const TensorView* b = copy.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, DType::bf16);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b->bytes, 12);
  EXPECT_EQ(b->count(), 6);
  EXPECT_EQ(b->data[11], std::byte{0x11});
  EXPECT_TRUE(copy.find("s")->shape.empty());
  EXPECT_EQ(copy.find("s")->count(), 1);
  EXPECT_EQ(copy.find("e")->bytes, 0);
  EXPECT_EQ(copy.find("absent"), nullptr);
  EXPECT_EQ(copy.file_of("b"), file_);
}

TEST_F(Safetensors, UnsupportedDtypeIsAnErrorOnlyWhenAskedFor) {
  write_text(file_, file_of(R"({"i":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                            R"("new":{"dtype":"X9","shape":[3],"data_offsets":[8,10]}})",
                            10));
  const Checkpoint checkpoint = Checkpoint::open(file_);
  EXPECT_TRUE(checkpoint.contains("i"));
  EXPECT_EQ(checkpoint.names().size(), 2U);
  expect_all_in(message_of<UsageError>([&] { checkpoint.find("i"); }), {file_.string(), "'i'", "I64"});
  expect_all_in(message_of<UsageError>([&] { checkpoint.find("new"); }), {"'new'", "X9"});
}

TEST_F(Safetensors, RefusesHeadersThatAreNotThere) {
  expect_refused("", {"0 bytes", "truncated"});
  expect_refused("1234567", {"7 bytes", "truncated"});
  expect_refused(with_length(100, "{}"), {"100 bytes", "has 2", "truncated"});
  expect_refused(with_length(100'000'001, "{}"), {"100000001", "100000000"});
  expect_refused(with_length(~uint64_t{0}, "{}"), {"18446744073709551615"});
  expect_refused(with_length(~uint64_t{0} - 7, "{}"), {"18446744073709551608"});
  expect_refused(with_length(0, ""), {"not JSON"});
}

TEST_F(Safetensors, RefusesHeadersThatAreNotJsonOrNotOurs) {
  expect_refused(file_of("{\"a\": ", 0), {"not JSON"});
  expect_refused(file_of("\xff\xfe{}", 0), {"not JSON"});
  expect_refused(file_of("[1, 2]", 0), {"not a JSON object"});
  expect_refused(file_of(R"({"a": 5})", 0), {"'a'", "expected dtype, shape and data_offsets"});
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), {"'a'", "expected"});
  expect_refused(file_of(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4), {"'a'", "dtype is 7"});
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4), {"'a'", "shape is 1"});
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4), {"'a'", "[begin, end]"});
  expect_refused(file_of(R"({"__metadata__":{"format":3}})", 0), {"__metadata__"});
  expect_refused(file_of(std::string(100000, '['), 0), {"nested"});
}

TEST_F(Safetensors, RefusesDuplicateNames) {
  expect_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                         8),
                 {"'a' twice"});
  expect_refused(file_of(R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4),
                 {"'dtype' twice"});
}

TEST_F(Safetensors, RefusesOffsetsOutOfRange) {
  const auto with = [](const std::string& offsets, const std::string& shape = "[2]") {
    return R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_refused(file_of(with("[0,8]"), 7), {"'a'", "[0, 8]", "7 bytes", "truncated"});
  expect_refused(file_of(with("[8,0]"), 8), {"'a'", "[8, 0]", "end before"});
  expect_refused(file_of(with("[-8,0]"), 8), {"'a'", "-8", "negative"});
  expect_refused(file_of(with("[0,18446744073709551615]"), 8), {"'a'", "too large"});
  expect_refused(file_of(with("[0,9223372036854775807]"), 8), {"'a'", "9223372036854775807"});
  expect_refused(file_of(with("[0.5,8]"), 8), {"'a'", "0.5", "whole"});
  expect_refused(file_of(with("[0,1e30]"), 8), {"'a'", "whole"});
}

TEST_F(Safetensors, RefusesShapesThatAreNotTheBytes) {
  const auto with = [](const std::string& shape, const std::string& dtype = "F32") {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[0,8]}})";
  };
  expect_refused(file_of(with("[3]"), 8), {"'a'", "[3]", "12 bytes", "give 8"});
  expect_refused(file_of(with("[2]", "BF16"), 8), {"'a'", "BF16", "4 bytes", "give 8"});
  expect_refused(file_of(with("[2,0]"), 8), {"'a'", "0 bytes", "give 8"});
  expect_refused(file_of(with("[-2]"), 8), {"'a'", "-2", "negative"});
  expect_refused(file_of(with("[-1,-2]"), 8), {"'a'", "negative"});
  expect_refused(file_of(with("[2.0]"), 8), {"'a'", "whole"});
  expect_refused(file_of(with("[\"2\"]"), 8), {"'a'", "whole"});
  // 2^62 * 4 and 2^32 * 2^32 wrap around to 0 and so could pass for anything.
  expect_refused(file_of(with("[4611686018427387904]"), 8), {"'a'", "overflows"});
  expect_refused(file_of(with("[4294967296,4294967296,2]"), 8), {"'a'", "overflows"});
}

TEST_F(Safetensors, RefusesOverlapsAndGaps) {
  const auto two = [](const std::string& first, const std::string& second) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + first +
           R"(},"b":{"dtype":"F32","shape":[2],"data_offsets":)" + second + "}}";
  };
  expect_refused(file_of(two("[0,8]", "[4,12]"), 12), {"'b' begins at 4", "'a'", "ends at 8"});
  expect_refused(file_of(two("[0,8]", "[0,8]"), 8), {"'b' begins at 0", "'a'"});
  expect_refused(file_of(two("[0,8]", "[12,20]"), 20), {"'b' begins at 12", "4 bytes after", "'a'"});
  expect_refused(file_of(two("[4,12]", "[12,20]"), 20), {"'a' begins at 4", "the header"});
  expect_refused(file_of(two("[0,8]", "[8,16]"), 19), {"3 bytes after the last"});
}

TEST_F(Safetensors, ATruncatedFileIsRefusedWhereverItIsCut) {
  const std::string whole = file_of(R"({"a":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}})", 6);
  write_text(file_, whole);
  EXPECT_EQ(Checkpoint::open(file_).find("a")->count(), 3);
  for (size_t length = 0; length < whole.size(); ++length) {
    write_text(file_, whole.substr(0, length));
    EXPECT_THROW(Checkpoint::open(file_), UsageError) << length;
  }
}

TEST_F(Safetensors, FoldersWithoutWeightsAreNamed) {
  expect_all_in(message_of<UsageError>([&] { Checkpoint::open(folder_ / "absent"); }), {"absent", "no such"});
  expect_all_in(message_of<UsageError>([&] { Checkpoint::open(folder_.path()); }),
                {folder_.path().string(), "model.safetensors"});
  write_text(folder_ / "pytorch_model.bin", "");
  expect_all_in(message_of<UsageError>([&] { Checkpoint::open(folder_.path()); }), {"convert"});
}

class Shards : public Safetensors {
 protected:
  void SetUp() override {
    write_shard("one.safetensors", "a");
    write_shard("two.safetensors", "b");
  }
  void write_shard(const std::string& file, const std::string& tensor) {
    write_text(folder_ / file, file_of("{\"" + tensor + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4));
  }
  void write_index(const Json& weight_map) {
    write_text(index_, Json{{"metadata", {{"total_size", 8}}}, {"weight_map", weight_map}}.dump());
  }
  std::string refusal() {
    return message_of<UsageError>([&] { Checkpoint::open(folder_.path()); });
  }

  fs::path index_ = folder_ / "model.safetensors.index.json";
};

TEST_F(Shards, AreReadThroughTheIndex) {
  write_index({{"a", "one.safetensors"}, {"b", "two.safetensors"}});
  for (const fs::path& path : {folder_.path(), index_}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(checkpoint.file_of("b"), folder_ / "two.safetensors");
    EXPECT_EQ(checkpoint.find("b")->bytes, 4);
  }
}

TEST_F(Shards, AMissingShardIsNamed) {
  write_index({{"a", "one.safetensors"}, {"b", "two.safetensors"}});
  fs::remove(folder_ / "two.safetensors");
  expect_all_in(refusal(), {index_.string(), "two.safetensors is missing", "'b'"});
}

TEST_F(Shards, ATensorThatIsNotInItsShardIsNamed) {
  write_index({{"a", "one.safetensors"}, {"b", "one.safetensors"}});
  expect_all_in(refusal(), {index_.string(), "'b'", "one.safetensors"});
  write_index({{"a", "two.safetensors"}, {"b", "one.safetensors"}});
  expect_all_in(refusal(), {"'b'", "one.safetensors"});
  // In a shard that was opened before the one that the index says.
  write_text(folder_ / "one.safetensors", file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                                  R"("x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                                  8));
  write_index({{"x", "one.safetensors"}, {"a", "two.safetensors"}, {"b", "two.safetensors"}});
  expect_all_in(refusal(), {"'a'", "two.safetensors"});
}

TEST_F(Shards, ATensorInTwoShardsIsNamed) {
  write_shard("two.safetensors", "a");
  write_index({{"a", "one.safetensors"}, {"b", "two.safetensors"}});
  expect_all_in(refusal(), {"'a'", "one.safetensors", "two.safetensors"});
}

TEST_F(Shards, AnIndexCannotReachOutsideItsFolder) {
  for (const char* name : {"../x", "/etc/passwd", "sub/one.safetensors", "..", ""}) {
    write_index({{"a", name}});
    expect_all_in(refusal(), {index_.string(), "not the name of a file"});
  }
}

TEST_F(Shards, AnIndexThatIsNoneIsRefused) {
  write_text(index_, "{");
  expect_all_in(refusal(), {index_.string(), "JSON"});
  write_text(index_, R"({"weights": {}})");
  expect_all_in(refusal(), {index_.string(), "weight_map"});
  write_text(index_, R"({"weight_map": {"a": 3}})");
  expect_all_in(refusal(), {index_.string(), "'a'", "3"});
}

struct Fixture {
  const char* name;
  size_t tensors;
  DType dtype;
};

class Fixtures : public ::testing::TestWithParam<Fixture> {};

TEST_P(Fixtures, OpenWithAllTheirTensors) {
  const fs::path folder = fixture(GetParam().name);
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is absent";
  const Checkpoint checkpoint = Checkpoint::open(folder);
  EXPECT_EQ(checkpoint.names().size(), GetParam().tensors);
  for (const std::string& name : checkpoint.names()) EXPECT_EQ(checkpoint.find(name)->dtype, GetParam().dtype);
}

INSTANTIATE_TEST_SUITE_P(All, Fixtures,
                         ::testing::Values(Fixture{"opt-preln", 68, DType::f32}, Fixture{"opt-untied", 69, DType::f32},
                                           Fixture{"opt-postln", 68, DType::f32}, Fixture{"opt-f16", 68, DType::f16},
                                           Fixture{"opt-sharded", 68, DType::f32}, Fixture{"gpt2-tiny", 40, DType::f32},
                                           Fixture{"llama-tiny", 30, DType::f32},
                                           Fixture{"qwen3-tiny", 35, DType::f32}),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace zo2
