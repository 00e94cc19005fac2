#include "program/builder.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/bytes.h"
#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

// One matrix (or table) between two activations, and the program that multiplies by it.
Program one_weight(int64_t rows, int64_t cols, ParameterKind kind, PassShape shape, int64_t hidden) {
  ParameterTable table;
  const int weight = table.add({1, "weight", rows, cols, kind});
  ProgramBuilder builder(table, shape, hidden, 1);
  const Activation in = builder.activation("in", cols);
  if (kind == ParameterKind::table) {
    builder.head(in, weight);
  } else {
    builder.linear(in, weight, nullptr, builder.activation("out", rows));
  }
  return builder.take();
}

int64_t count_ops(const Program& program, OpKind kind) {
  return std::count_if(program.ops.begin(), program.ops.end(), [&](const Op& op) { return op.kind == kind; });
}

TEST(DefaultTile, Is2048RowsBetween16And48MiB) {
  EXPECT_EQ(default_tile_bytes(768, 2), 16 * kMiB);
  EXPECT_EQ(default_tile_bytes(4096, 2), 16 * kMiB);
  EXPECT_EQ(default_tile_bytes(5120, 2), 20 * kMiB);
  EXPECT_EQ(default_tile_bytes(12288, 2), 48 * kMiB);
  EXPECT_EQ(default_tile_bytes(20480, 2), 48 * kMiB);
  EXPECT_EQ(default_tile_bytes(5120, 4), 40 * kMiB);  // the same rows in float32
}

TEST(DefaultTile, HoldsAThousandRowsOfTheWidestMatrixWhenAPassIsBoundByComputing) {
  PassShape shape;
  shape.seq = 2048;
  for (int64_t batch : {1, 3, 4, 8}) {
    shape.batch = batch;
    const Program program = one_weight(4096, 16384, ParameterKind::matrix, shape, 4096);
    EXPECT_EQ(program.shape.tile_bytes, batch < 4 ? 16 * kMiB : 32 * kMiB) << batch;
    EXPECT_EQ(program.tiles.front().rows, batch < 4 ? 512 : 1024) << batch;
  }
}

TEST(Builder, TilesCoverEveryWeightExactlyOnce) {
  for (const Toy& toy : all_toys()) {
    const ParameterTable table = toy_table(toy);
    for (int pairs : {0, 1, 3}) {
      for (int64_t tile_bytes : {512, 600, 4096, 10000, 1 << 20}) {
        PassShape shape = toy_shape(pairs);
        shape.tile_bytes = tile_bytes;
        const Program program = toy_program(toy, table, shape);
        std::map<int, std::vector<const Tile*>> tiles;
        for (const Tile& tile : program.tiles) tiles[tile.weight].push_back(&tile);
        ASSERT_EQ(tiles.size(), table.weights.size());
        for (auto& [weight, parts] : tiles) {
          const Weight& whole = table.weights[static_cast<size_t>(weight)];
          int64_t row = 0;
          for (const Tile* tile : parts) {
            EXPECT_EQ(tile->first_row, row) << whole.name;
            EXPECT_EQ(tile->cols, whole.cols);
            if (whole.kind != ParameterKind::vector) {
              EXPECT_LE(tile->count() * shape.elt_bytes, tile_bytes);
            }
            row += tile->rows;
          }
          EXPECT_EQ(row, whole.rows) << whole.name;
        }
      }
    }
  }
}

TEST(Builder, TilesStartAtMultiplesOf64RowsWhereverATileHoldsThatMany) {
  const uint64_t seed = random_seed();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 300; ++i) {
    const int64_t cols = std::uniform_int_distribution<int64_t>(1, 500)(random);
    const int64_t rows = std::uniform_int_distribution<int64_t>(1, 3000)(random);
    PassShape shape;
    shape.tile_bytes = std::uniform_int_distribution<int64_t>(2 * cols, 1 << 20)(random);
    for (ParameterKind kind : {ParameterKind::matrix, ParameterKind::table}) {
      const Program program = one_weight(rows, cols, kind, shape, cols);
      const int64_t fitting = shape.tile_bytes / (2 * cols);
      for (const Tile& tile : program.tiles) {
        EXPECT_LE(tile.rows, fitting);
        if (fitting >= 64) {
          EXPECT_EQ(tile.first_row % 64, 0)
              << rows << " x " << cols << " in tiles of " << shape.tile_bytes << ", seed " << seed;
        }
      }
    }
  }
}

TEST(Builder, AMatrixIsCutIntoEqualTiles) {
  // 5,120 rows of 10 KiB in 20 MiB: three tiles, none a sliver.
  const Program program = one_weight(5120, 5120, ParameterKind::matrix, PassShape{}, 5120);
  ASSERT_EQ(program.tiles.size(), 3U);
  EXPECT_EQ(program.tiles[0].rows, 1728);
  EXPECT_EQ(program.tiles[1].rows, 1728);
  EXPECT_EQ(program.tiles[2].rows, 1664);
}

TEST(Builder, HeadTilesHaveAtMost2048RowsHoweverLargeATile) {
  PassShape shape;
  shape.tile_bytes = kGiB;
  const Program program = one_weight(50272, 64, ParameterKind::table, shape, 64);
  ASSERT_EQ(program.tiles.size(), 25U);
  for (const Tile& tile : program.tiles) EXPECT_LE(tile.rows, kHeadRows);
  const auto logits = std::find_if(program.buffers.begin(), program.buffers.end(),
                                   [](const Buffer& buffer) { return buffer.name == "logits"; });
  ASSERT_NE(logits, program.buffers.end());
  EXPECT_EQ(logits->bytes, shape.tokens() * kHeadRows * 4);
}

TEST(Builder, MatrixAndBlockGranularityMakeATileOfEveryMatrixAndCutTables) {
  const Toy toy;
  const ParameterTable table = toy_table(toy);
  PassShape shape = toy_shape(1);
  for (Granularity granularity : {Granularity::matrix, Granularity::block}) {
    shape.scheme.granularity = granularity;
    const Program program = toy_program(toy, table, shape);
    std::set<int> cut;
    for (const Tile& tile : program.tiles) {
      const Weight& weight = table.weights[static_cast<size_t>(tile.weight)];
      if (tile.count() != weight.count()) cut.insert(tile.weight);
      if (weight.kind != ParameterKind::table) {
        EXPECT_EQ(tile.count(), weight.count()) << weight.name;
      }
      const bool in_layer = weight.kind != ParameterKind::table;  // this toy has nothing else outside its layers
      EXPECT_EQ(tile.block >= 0, granularity == Granularity::block && in_layer) << weight.name;
    }
    EXPECT_EQ(cut, (std::set<int>{0, 1}));  // tokens and positions
  }
}

TEST(Builder, OfABlockUploadsComeFirstAndDownloadsLastAndTheRestIsAsWithMatrices) {
  for (const Toy& toy : all_toys()) {
    const ParameterTable table = toy_table(toy);
    PassShape shape = toy_shape(2);
    shape.scheme.granularity = Granularity::matrix;
    const Program matrices = toy_program(toy, table, shape);
    shape.scheme.granularity = Granularity::block;
    const Program blocks = toy_program(toy, table, shape);
    ASSERT_EQ(units_of(matrices).size(), matrices.tiles.size());
    std::vector<std::pair<OpKind, int>> expected, found;  // what computes, with its tile
    for (const Op& op : matrices.ops) {
      if (!is_copy(op.kind)) expected.emplace_back(op.kind, op.tile);
    }
    std::map<int, std::string> moves;  // per block, u, v and d in program order
    for (const Op& op : blocks.ops) {
      if (!is_copy(op.kind)) found.emplace_back(op.kind, op.tile);
      if (op.tile < 0 || blocks.tiles[static_cast<size_t>(op.tile)].block < 0) continue;
      std::string& order = moves[blocks.tiles[static_cast<size_t>(op.tile)].block];
      if (op.kind == OpKind::upload) order += 'u';
      if (op.kind == OpKind::visit) order += 'v';
      if (op.kind == OpKind::download) order += 'd';
    }
    EXPECT_EQ(found, expected);
    ASSERT_EQ(moves.size(), static_cast<size_t>(toy.layers));
    for (const auto& [block, order] : moves) EXPECT_EQ(order, "uuuuuvvvvvvvvvvddddd") << block;
  }
}

TEST(Builder, AFullHeadIsOneTileAndItsLogitsAreTokensTimesVocabulary) {
  for (const Toy& toy : all_toys()) {
    const ParameterTable table = toy_table(toy);
    PassShape shape = toy_shape(1);
    shape.scheme.full_head = true;
    const Program program = toy_program(toy, table, shape);
    EXPECT_EQ(count_ops(program, OpKind::head), 2);
    for (const Op& op : program.ops) {
      if (op.kind != OpKind::head) continue;
      EXPECT_EQ(program.tiles[static_cast<size_t>(op.tile)].rows, toy.vocab);
      EXPECT_EQ(program.buffers[static_cast<size_t>(op.out[1])].bytes, shape.tokens() * toy.vocab * 4);
    }
  }
}

TEST(Builder, ANoiseBufferIsFilledBeforeEveryVisitOfATrainingPassAndHoldsTheWidest) {
  const Toy toy;
  const ParameterTable table = toy_table(toy);
  for (int pairs : {0, 1, 3}) {
    PassShape shape = toy_shape(pairs);
    shape.scheme.noise_buffer = true;
    const Program program = toy_program(toy, table, shape);
    EXPECT_EQ(count_ops(program, OpKind::noise), pairs > 0 ? count_ops(program, OpKind::visit) : 0);
    int64_t widest = 0;
    for (size_t i = 0; i < program.ops.size(); ++i) {
      const Op& visit = program.ops[i];
      if (visit.kind != OpKind::visit) continue;
      widest = std::max(widest, program.tiles[static_cast<size_t>(visit.tile)].count() * 2);
      if (pairs == 0) {
        EXPECT_EQ(visit.in[0], -1);
        continue;
      }
      const Op& noise = program.ops[i - 1];
      ASSERT_EQ(noise.kind, OpKind::noise);
      EXPECT_EQ(noise.tile, visit.tile);
      EXPECT_EQ(noise.pair, visit.pair);
      EXPECT_EQ(noise.out[0], visit.in[0]);
      EXPECT_EQ(program.buffers[static_cast<size_t>(visit.in[0])].name, "z");
    }
    for (const Buffer& buffer : program.buffers) {
      if (buffer.name == "z") {
        EXPECT_EQ(buffer.bytes, widest);
      }
    }
  }
}

TEST(Builder, ARowLargerThanATileIsRefusedByName) {
  PassShape shape;
  shape.tile_bytes = 1024;
  const std::string message = message_of<UsageError>([&] { one_weight(4, 513, ParameterKind::matrix, shape, 513); });
  expect_contains(message, "weight");
  expect_contains(message, "1.00 KiB");
  shape.tile_bytes = 1026;
  EXPECT_EQ(one_weight(4, 513, ParameterKind::matrix, shape, 513).tiles.size(), 4U);
}

TEST(Builder, EveryBranchOfEveryPairRunsOnce) {
  const Toy toy;
  const ParameterTable table = toy_table(toy);
  for (int pairs : {0, 1, 3}) {
    const int branches = pairs == 0 ? 1 : 2 * pairs;
    const int visits = std::max(1, pairs);
    const Program program = toy_program(toy, table, toy_shape(pairs));
    EXPECT_EQ(static_cast<int>(program.logprobs.size()), branches);
    EXPECT_EQ(program.buffers[static_cast<size_t>(program.losses)].bytes, branches * 8);
    EXPECT_EQ(count_ops(program, OpKind::loss), branches);
    EXPECT_EQ(count_ops(program, OpKind::select_rows), branches);
    EXPECT_EQ(count_ops(program, OpKind::attention), branches * toy.layers);
    EXPECT_EQ(count_ops(program, OpKind::layer_norm), branches * toy.layers);
    EXPECT_EQ(count_ops(program, OpKind::gather), 2 * visits);
    EXPECT_EQ(count_ops(program, OpKind::inputs), 1);
    EXPECT_EQ(count_ops(program, OpKind::entry), 1);
    EXPECT_EQ(count_ops(program, OpKind::fold) > 0, pairs > 0);  // an evaluation commits nothing

    std::map<int, int> last_visits;
    std::map<int, std::set<int>> visited;  // per tile, the pairs
    std::map<int, std::set<int>> used;     // per tile, the branches that multiply by it
    std::map<int, int> uploads, downloads;
    for (const Op& op : program.ops) {
      if (op.kind == OpKind::upload) ++uploads[op.tile];
      if (op.kind == OpKind::download) ++downloads[op.tile];
      if (op.kind == OpKind::visit) {
        EXPECT_EQ(op.branch, 2 * op.pair);
        EXPECT_TRUE(visited[op.tile].insert(op.pair).second);
        EXPECT_EQ(op.out[1] >= 0, pairs > 0);
        EXPECT_EQ(op.last_visit, op.pair == visits - 1);
        last_visits[op.tile] += op.last_visit;
      }
      if (op.kind == OpKind::linear || op.kind == OpKind::head) {
        EXPECT_TRUE(used[op.tile].insert(op.branch).second);
      }
    }
    for (const auto& [tile, found] : visited) {
      EXPECT_EQ(static_cast<int>(found.size()), visits);
      EXPECT_EQ(last_visits[tile], 1);
      EXPECT_EQ(uploads[tile], 1);
      EXPECT_EQ(downloads[tile], 1);
    }
    for (const auto& [tile, found] : used) EXPECT_EQ(static_cast<int>(found.size()), branches);
  }
}

TEST(Builder, TrainingAndEvaluationNumberTheirTilesAlike) {
  for (const Toy& toy : all_toys()) {
    const ParameterTable table = toy_table(toy);
    const Program training = toy_program(toy, table, toy_shape(2));
    const Program evaluation = toy_program(toy, table, toy_shape(0));
    ASSERT_EQ(training.tiles.size(), evaluation.tiles.size());
    for (size_t tile = 0; tile < training.tiles.size(); ++tile) {
      EXPECT_EQ(training.tiles[tile].weight, evaluation.tiles[tile].weight);
      EXPECT_EQ(training.tiles[tile].first_row, evaluation.tiles[tile].first_row);
      EXPECT_EQ(training.tiles[tile].rows, evaluation.tiles[tile].rows);
    }
  }
}

TEST(Builder, ScratchHoldsTheWidestVisitedTileAndNoMore) {
  const Toy toy;
  const ParameterTable table = toy_table(toy);
  const Program program = toy_program(toy, table, toy_shape(1));
  int64_t widest = 0;
  for (const Tile& tile : program.tiles) {
    if (table.weights[static_cast<size_t>(tile.weight)].kind != ParameterKind::vector) {
      widest = std::max(widest, tile.count() * 2);
    }
  }
  for (const char* name : {"W+", "W-"}) {
    const auto scratch = std::find_if(program.buffers.begin(), program.buffers.end(),
                                      [&](const Buffer& buffer) { return buffer.name == name; });
    ASSERT_NE(scratch, program.buffers.end());
    EXPECT_EQ(scratch->bytes, widest);
  }
}

}  // namespace
}  // namespace zo2
