#include "store/load_weights.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <cstring>
#include <limits>
#include <map>
#include <sstream>

#include "base/convert.h"
#include "base/error.h"
#include "store/checkpoint_writer.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

// Everything that spdlog says while this lives.
class Messages {
 public:
  Messages() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(stream_)));
  }
  ~Messages() { spdlog::set_default_logger(before_); }
  std::string text() const { return stream_.str(); }

 private:
  std::ostringstream stream_;
  std::shared_ptr<spdlog::logger> before_;
};

// A checkpoint to be: name -> shape and values, written in one dtype.
struct Tensors {
  DType dtype = DType::f32;
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>> values;

  // Every parameter of the table, element i of parameter id being id + i / 64 (exact in every dtype here).
  static Tensors of(const ParameterTable& table) {
    Tensors tensors;
    for (const Parameter& parameter : table.parameters) {
      auto& [shape, values] = tensors.values[parameter.name];
      shape = {parameter.cols};
      if (parameter.kind != ParameterKind::vector) shape.insert(shape.begin(), parameter.rows);
      for (int64_t i = 0; i < parameter.count(); ++i) {
        values.push_back(static_cast<float>(parameter.id % 4) + static_cast<float>(i % 64) / 64);
      }
    }
    return tensors;
  }

  void rename(const std::string& from, const std::string& to) {
    auto node = values.extract(from);
    node.key() = to;
    values.insert(std::move(node));
  }

  Checkpoint write(const fs::path& file) const {
    std::vector<TensorSpec> specs;
    std::vector<const std::vector<float>*> data;
    for (const auto& [name, tensor] : values) {
      specs.push_back({name, dtype, tensor.first});
      data.push_back(&tensor.second);
    }
    write_safetensors(file, specs, [&](size_t index, int64_t first_byte, std::span<std::byte> out) {
      const auto width = static_cast<size_t>(dtype_bytes(dtype));
      const std::span<const float> all(*data[index]);
      from_float(dtype, all.subspan(static_cast<size_t>(first_byte) / width, out.size() / width), out.data());
    });
    return Checkpoint::open(file);
  }
};

class LoadWeights : public ::testing::Test {
 protected:
  static constexpr const char* kTokens = "model.decoder.embed_tokens.weight";
  static constexpr const char* kFc1 = "model.decoder.layers.0.fc1.weight";

  TempFolder folder_;
  fs::path file_ = folder_ / "model.safetensors";
  ParameterTable table_ = small_table();
  Tensors tensors_ = Tensors::of(table_);

  void expect_loaded(const HostWeights& weights) {
    for (int w = 0; w < weights.count(); ++w) {
      for (const Segment& segment : table_.weights[static_cast<size_t>(w)].segments) {
        const Parameter& parameter = table_.parameters[static_cast<size_t>(segment.parameter)];
        std::vector<float> found(static_cast<size_t>(parameter.count()));
        to_float(weights.dtype(), weights.data(w) + segment.offset * dtype_bytes(weights.dtype()), found);
        EXPECT_EQ(found, Tensors::of(table_).values[parameter.name].second) << parameter.name;
      }
    }
  }
  void expect_loads(DType dtype = DType::f32) {
    HostWeights weights(table_, dtype);
    load_weights(weights, tensors_.write(file_));
    expect_loaded(weights);
  }
  std::string refusal(DType dtype = DType::f32) {
    HostWeights weights(table_, dtype);
    const Checkpoint checkpoint = tensors_.write(file_);
    return message_of<UsageError>([&] { load_weights(weights, checkpoint); });
  }
};

TEST_F(LoadWeights, ConvertsBetweenAllDtypes) {
  for (DType from : {DType::f32, DType::f16, DType::bf16}) {
    for (DType to : {DType::f32, DType::f16, DType::bf16}) {
      SCOPED_TRACE(fmt::format("{} to {}", dtype_name(from), dtype_name(to)));
      tensors_.dtype = from;
      expect_loads(to);
    }
  }
}

TEST_F(LoadWeights, RoundsToNearestEven) {
  // Half way between the neighbours 1 and 1 + 2^-7 (bf16), and between 1 + 2^-7 and 1 + 2^-6.
  tensors_.values[kFc1].second[0] = 1.00390625F;
  tensors_.values[kFc1].second[1] = 1.01171875F;
  HostWeights weights(table_, DType::bf16);
  load_weights(weights, tensors_.write(file_));
  float found[2];
  to_float(DType::bf16, weights.data(1), found);
  EXPECT_EQ(found[0], 1.0F);
  EXPECT_EQ(found[1], 1.015625F);
}

TEST_F(LoadWeights, TakesNamesWithModelLessOrMore) {
  for (const auto& parameter : table_.parameters) tensors_.rename(parameter.name, parameter.name.substr(6));
  expect_loads();
  for (const auto& parameter : table_.parameters) {
    tensors_.rename(parameter.name.substr(6), "model." + parameter.name);
  }
  expect_loads();
}

TEST_F(LoadWeights, ATiedHeadMayBeRepeated) {
  Messages messages;
  for (const char* name : {"lm_head.weight", "model.lm_head.weight"}) {
    tensors_ = Tensors::of(table_);
    tensors_.values[name] = tensors_.values[kTokens];
    expect_loads();
  }
  EXPECT_EQ(messages.text(), "");
}

TEST_F(LoadWeights, ATiedHeadMayStandForTheTokenTable) {
  Messages messages;
  tensors_.rename(kTokens, "lm_head.weight");
  expect_loads();
  tensors_.rename("lm_head.weight", "model.lm_head.weight");
  expect_loads();
  EXPECT_EQ(messages.text(), "");
}

TEST_F(LoadWeights, AnUntiedModelTakesNoHeadForItsTokenTable) {
  table_.add({2, "lm_head.weight", 37, 5, ParameterKind::table});
  tensors_.rename(kTokens, "lm_head.weight");
  expect_all_in(refusal(), {file_.string(), kTokens});
}

TEST_F(LoadWeights, ATiedModelRefusesAnotherHead) {
  tensors_.values["lm_head.weight"] = tensors_.values[kTokens];
  tensors_.values["lm_head.weight"].second[100] += 1;
  expect_all_in(refusal(), {file_.string(), "'lm_head.weight'", "element 100", kTokens, "untied", "tie_embeddings"});
  tensors_.values["lm_head.weight"] = {{5, 37}, tensors_.values[kTokens].second};
  expect_all_in(refusal(), {"'lm_head.weight'", "another shape", "untied"});
}

TEST_F(LoadWeights, AnUntiedModelRequiresItsHead) {
  table_.add({2, "lm_head.weight", 37, 5, ParameterKind::table});
  expect_all_in(refusal(), {file_.string(), "'lm_head.weight'", "tie_embeddings: true"});
  tensors_ = Tensors::of(table_);
  expect_loads();
}

TEST_F(LoadWeights, NamesWhatIsMissing) {
  tensors_.values.erase(kFc1);
  expect_all_in(refusal(), {file_.string(), kFc1});
}

TEST_F(LoadWeights, ShowsBothShapes) {
  tensors_.values[kFc1].first = {5, 11};
  expect_all_in(refusal(), {file_.string(), kFc1, "[5, 11]", "[11, 5]"});
  tensors_ = Tensors::of(table_);
  tensors_.values["model.decoder.layers.0.fc1.bias"].first = {1, 11};
  expect_all_in(refusal(), {"fc1.bias", "[1, 11]", "[11]"});
}

TEST_F(LoadWeights, NamesTheFirstElementThatIsNotFinite) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    tensors_ = Tensors::of(table_);
    tensors_.dtype = dtype;
    tensors_.values[kFc1].second[54] = nan;
    tensors_.values[kFc1].second[17] = nan;
    tensors_.values["model.decoder.layers.0.norm.bias"].second[0] = nan;
    for (DType to : {DType::f32, DType::f16}) {
      expect_all_in(refusal(to), {file_.string(), kFc1, "element 17 ", "nan"});
    }
    tensors_.values[kFc1].second[17] = -std::numeric_limits<float>::infinity();
    expect_all_in(refusal(), {kFc1, "element 17 ", "-inf"});
  }
}

TEST_F(LoadWeights, NamesTheElementThatOverflows) {
  tensors_.values[kFc1].second[20] = 65504.0F;
  HostWeights weights(table_, DType::f16);
  load_weights(weights, tensors_.write(file_));
  tensors_.values[kFc1].second[21] = -70000.0F;
  expect_all_in(refusal(DType::f16), {file_.string(), kFc1, "element 21 ", "-70000", "fp16"});
  tensors_.values[kFc1].second[22] = std::numeric_limits<float>::max();
  expect_all_in(refusal(DType::bf16), {kFc1, "element 22 ", "bf16"});
}

TEST_F(LoadWeights, ListsOtherTensorsInOneWarning) {
  Messages messages;
  tensors_.values["decoder.version"] = {{1}, {3}};
  expect_loads();
  EXPECT_EQ(messages.text(), "");
  for (int i = 0; i < 12; ++i) tensors_.values[fmt::format("extra.{}", i)] = {{1}, {0}};
  expect_loads();
  expect_all_in(messages.text(), {file_.string(), "12 tensors", "extra.0", "..."});
}

// A table with the parameters that a checkpoint has: matrices each, vectors packed.
ParameterTable table_of(const Checkpoint& checkpoint) {
  ParameterTable table;
  std::vector<Parameter> vectors;
  uint32_t id = 0;
  for (const std::string& name : checkpoint.names()) {
    const auto& shape = checkpoint.find(name)->shape;
    if (shape.size() == 1) {
      vectors.push_back({id++, name, 1, shape[0], ParameterKind::vector, Initial::normal});
    } else {
      table.add({id++, name, shape.at(0), shape.at(1), ParameterKind::matrix, Initial::normal});
    }
  }
  table.add_packed("vectors", vectors);
  return table;
}

TEST(LoadFixtures, RoundingToF16IsWhatPyTorchDid) {
  if (!fs::exists(fixture("opt-f16"))) GTEST_SKIP() << fixture("opt-f16") << " is absent";
  const Checkpoint full = Checkpoint::open(fixture("opt-preln"));
  HostWeights ours(table_of(full), DType::f16);
  load_weights(ours, full);
  HostWeights theirs(table_of(full), DType::f16);
  load_weights(theirs, Checkpoint::open(fixture("opt-f16")));
  EXPECT_EQ(weights_hash(ours), weights_hash(theirs));
}

TEST(LoadFixtures, ShardsLoadAndAreWrittenBackToTheSameWeights) {
  if (!fs::exists(fixture("opt-sharded"))) GTEST_SKIP() << fixture("opt-sharded") << " is absent";
  const Checkpoint sharded = Checkpoint::open(fixture("opt-sharded"));
  HostWeights weights(table_of(sharded), DType::f32);
  load_weights(weights, sharded);
  std::vector<TensorSpec> specs;
  for (const std::string& name : sharded.names()) specs.push_back({name, DType::f32, sharded.find(name)->shape});
  TempFolder folder;
  write_checkpoint(
      folder.path(), specs,
      [&](size_t index, int64_t first_byte, std::span<std::byte> out) {
        std::memcpy(out.data(), sharded.find(specs[index].name)->data + first_byte, out.size());
      },
      nullptr, 500'000);
  const Checkpoint written = Checkpoint::open(folder.path());
  HostWeights again(table_of(written), DType::f32);
  load_weights(again, written);
  EXPECT_EQ(weights_hash(weights), weights_hash(again));
}

}  // namespace
}  // namespace zo2
