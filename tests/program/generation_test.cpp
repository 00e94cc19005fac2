// Passes that generate: what they hold, and that both see one cache.
#include <algorithm>
#include <map>

#include "program/forecast.h"
#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

constexpr int kPrefill = 2;  // in ToyPasses::programs
constexpr int kDecode = 3;

// Offsets and sizes of the cache, by name.
std::map<std::string, std::pair<int64_t, int64_t>> cache_of(const ToyPasses& passes, int program) {
  std::map<std::string, std::pair<int64_t, int64_t>> found;
  const std::vector<Buffer>& buffers = passes.programs[static_cast<size_t>(program)].buffers;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (!buffers[i].shared) continue;
    found[buffers[i].name] = {passes.layout.buffer_offset[static_cast<size_t>(program)][i], buffers[i].bytes};
  }
  return found;
}

TEST(GeneratingPasses, SeeOneCacheAtTheSamePlaces) {
  for (const Toy& toy : all_toys()) {
    for (ArenaBudget budget : {ArenaBudget{}, ArenaBudget{ArenaBudget::kAll}}) {
      const ToyPasses passes(toy, toy_shape(1), 3, budget);
      const auto cache = cache_of(passes, kPrefill);
      EXPECT_EQ(cache.size(), 4U);  // keys and values of two layers
      EXPECT_EQ(cache, cache_of(passes, kDecode));
      for (const auto& [name, place] : cache) EXPECT_EQ(place.second, 3 * 9 * toy.hidden * 2) << name;
      EXPECT_TRUE(cache_of(passes, 0).empty());
      EXPECT_TRUE(cache_of(passes, 1).empty());
    }
  }
}

TEST(GeneratingPasses, HoldLogitsOfOneTileAndOneRowASequence) {
  const Toy toy{.tied = false, .projected = true};
  const ToyPasses passes(toy, toy_shape(1), 3, {});
  for (int program : {kPrefill, kDecode}) {
    const Program& generating = passes.programs[static_cast<size_t>(program)];
    int64_t widest = 0;
    for (const Tile& tile : generating.tiles) {
      if (passes.table.weights[static_cast<size_t>(tile.weight)].rows == toy.vocab)
        widest = std::max(widest, tile.rows);
    }
    std::map<std::string, int64_t> bytes;
    for (const Buffer& buffer : generating.buffers) bytes[buffer.name] = buffer.bytes;
    EXPECT_EQ(bytes.at("logits"), 3 * widest * 4);
    EXPECT_EQ(bytes.at("labelled.0"), 3 * toy.hidden * 2);
    EXPECT_EQ(bytes.at("narrow.0"), 3 * toy.embed() * 2);
    EXPECT_EQ(bytes.at("x.0"), (program == kPrefill ? 18 : 3) * toy.hidden * 2);
    for (const char* absent : {"targets", "losses", "logprobs.0"}) EXPECT_FALSE(bytes.contains(absent)) << absent;
  }
}

TEST(GeneratingPasses, NumberTheirTilesAsTrainingDoesAndCommitNothing) {
  for (const Toy& toy : all_toys()) {
    const ToyPasses passes(toy, toy_shape(2), 3, {});
    for (int program : {kPrefill, kDecode}) {
      const Program& generating = passes.programs[static_cast<size_t>(program)];
      ASSERT_EQ(generating.tiles.size(), passes.programs[0].tiles.size());
      for (size_t tile = 0; tile < generating.tiles.size(); ++tile) {
        EXPECT_EQ(generating.tiles[tile].weight, passes.programs[0].tiles[tile].weight);
        EXPECT_EQ(generating.tiles[tile].first_row, passes.programs[0].tiles[tile].first_row);
      }
      EXPECT_FALSE(generating.shape.training());
    }
  }
}

TEST(GeneratingPasses, WithoutACacheKeepNothing) {
  const Toy toy;
  const ParameterTable table = toy_table(toy);
  PassShape shape = toy_shape(0);
  shape.generation = Generation::prefill;
  const Program program = toy_program(toy, table, shape);
  EXPECT_TRUE(
      std::none_of(program.ops.begin(), program.ops.end(), [](const Op& op) { return op.kind == OpKind::cache; }));
  EXPECT_TRUE(
      std::none_of(program.buffers.begin(), program.buffers.end(), [](const Buffer& buffer) { return buffer.shared; }));
}

TEST(GeneratingPasses, TheCheckerFindsWhatADecodeWritesOnItsCache) {
  ToyPasses passes(Toy(), toy_shape(1), 3, {});
  const Program& decode = passes.programs[kDecode];
  const Schedule schedule = passes.schedule(kDecode);
  std::vector<int64_t>& offsets = passes.layout.buffer_offset[kDecode];
  int moved = 0;
  for (size_t cache = 0; cache < decode.buffers.size(); ++cache) {
    if (!decode.buffers[cache].shared) continue;
    for (const Op& op : decode.ops) {
      if (op.out[0] < 0 || decode.buffers[static_cast<size_t>(op.out[0])].shared) continue;
      const auto other = static_cast<size_t>(op.out[0]);
      const int64_t sound = offsets[other];
      offsets[other] = offsets[cache];
      EXPECT_FALSE(passes.problems(kDecode, schedule).empty())
          << decode.buffers[other].name << " on " << decode.buffers[cache].name;
      offsets[other] = sound;
      ++moved;
    }
  }
  EXPECT_GT(moved, 50);
}

TEST(GeneratingPasses, TheForecastChargesADecodeForReadingTheCache) {
  const Toy toy;
  const ParameterTable table = toy_table(toy);
  Hardware hardware;
  hardware.upload_gbps = hardware.download_gbps = hardware.duplex_upload_gbps = hardware.duplex_download_gbps = 1e9;
  hardware.gemm_tflops = hardware.attention_tflops = hardware.visit_gparams = 1e9;
  hardware.memory_gbps = 1;
  const auto compute_ms = [&](int64_t cache_tokens) {
    PassShape shape = toy_shape(0);
    shape.seq = 1;
    shape.generation = Generation::decode;
    shape.cache_tokens = cache_tokens;
    const Program program = toy_program(toy, table, shape);
    const Layout layout = plan_layout(table, {&program}, 3, {});
    return forecast(program, make_schedule(program, layout), std::vector<CommitRule>(table.weights.size()), hardware, 3)
        .compute_ms;
  };
  const double bytes = 2 * 2 * 2 * 1000 * static_cast<double>(toy.hidden) * 2;  // layers, keys and values, sequences
  EXPECT_NEAR(compute_ms(1009) - compute_ms(9), bytes / 1e6, 1e-6 * bytes / 1e6);
}

}  // namespace
}  // namespace zo2
