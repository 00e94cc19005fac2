#include "program/layout.h"

#include <algorithm>

#include "base/bytes.h"
#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

int64_t aligned(int64_t bytes) { return align_up(bytes, kArenaAlignment); }

std::vector<int> buffers_of(const Program& program, const Op& op) {
  std::vector<int> list{op.in[0], op.in[1], op.in[2], op.in[3], op.out[0], op.out[1], op.weights, op.vectors};
  if (op.kind == OpKind::inputs) {
    list.insert(list.end(), {program.token_ids, program.positions, program.labelled_rows, program.targets});
  }
  std::erase(list, -1);
  return list;
}

// live[op][buffer], by looking before and after every operation.
std::vector<std::vector<bool>> live_buffers(const Program& program) {
  const size_t ops = program.ops.size();
  const size_t buffers = program.buffers.size();
  std::vector<std::vector<bool>> begun(ops, std::vector<bool>(buffers, false));
  std::vector<std::vector<bool>> needed = begun;
  for (size_t op = 0; op < ops; ++op) {
    for (int buffer : buffers_of(program, program.ops[op])) {
      for (size_t later = op; later < ops; ++later) begun[later][static_cast<size_t>(buffer)] = true;
      for (size_t earlier = 0; earlier <= op; ++earlier) needed[earlier][static_cast<size_t>(buffer)] = true;
    }
  }
  for (size_t op = 0; op < ops; ++op) {
    for (size_t buffer = 0; buffer < buffers; ++buffer) {
      begun[op][buffer] = (begun[op][buffer] && needed[op][buffer]) || program.buffers[buffer].persistent;
    }
  }
  return begun;
}

// No two live buffers overlap; returns the highest end and the most bytes that live at once.
struct Placed {
  int64_t end = 0;
  int64_t most_live = 0;
};
Placed expect_no_overlap(const Program& program, const std::vector<int64_t>& offsets) {
  Placed result;
  for (const auto& live : live_buffers(program)) {
    std::vector<std::pair<int64_t, int64_t>> ranges;
    int64_t bytes = 0;
    for (size_t buffer = 0; buffer < live.size(); ++buffer) {
      if (!live[buffer] || program.buffers[buffer].bytes == 0) continue;
      EXPECT_EQ(offsets[buffer] % kArenaAlignment, 0);
      ranges.emplace_back(offsets[buffer], offsets[buffer] + program.buffers[buffer].bytes);
      bytes += aligned(program.buffers[buffer].bytes);
    }
    std::sort(ranges.begin(), ranges.end());
    for (size_t i = 1; i < ranges.size(); ++i) EXPECT_LE(ranges[i - 1].second, ranges[i].first);
    if (!ranges.empty()) {
      int64_t end = 0;
      for (const auto& range : ranges) end = std::max(end, range.second);
      result.end = std::max(result.end, end);
    }
    result.most_live = std::max(result.most_live, bytes);
  }
  return result;
}

TEST(PlaceBuffers, NoTwoLiveBuffersOverlapInRandomPrograms) {
  const uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  for (int round = 0; round < 60; ++round) {
    Program program;
    const int buffers = 1 + below(40);
    for (int buffer = 0; buffer < buffers; ++buffer) {
      const int64_t bytes = below(5) == 0 ? 0 : 1 + below(5000);
      program.buffers.push_back({"", BufferKind::hidden, bytes, below(10) == 0});
    }
    for (int op = 0; op < 60; ++op) {
      Op& added = program.ops.emplace_back();
      added.kind = OpKind::linear;
      // A buffer is used near its place in the program, so that lifetimes are short and many.
      const int centre = op * buffers / 60;
      for (int* field : {&added.in[0], &added.out[0], &added.weights}) {
        *field = std::clamp(centre + below(7) - 3, 0, buffers - 1);
      }
    }
    int64_t total = 0;
    const std::vector<int64_t> offsets = place_buffers(program, total);
    EXPECT_EQ(expect_no_overlap(program, offsets).end, total);
  }
}

TEST(PlaceBuffers, WastesNothingOnATransformer) {
  for (const Toy& toy : all_toys()) {
    for (int pairs : {0, 1, 2}) {
      const ParameterTable table = toy_table(toy);
      const Program program = toy_program(toy, table, toy_shape(pairs));
      int64_t total = 0;
      const std::vector<int64_t> offsets = place_buffers(program, total);
      const Placed placed = expect_no_overlap(program, offsets);
      EXPECT_EQ(placed.end, total);
      EXPECT_EQ(aligned(total), placed.most_live) << "gaps between live buffers";
    }
  }
}

// Everything in the arena at once: residents, slots, and the buffers of each program.
void expect_sound(const ToyPasses& passes) {
  const Layout& layout = passes.layout;
  int64_t end = 0;
  std::vector<std::pair<int64_t, int64_t>> fixed;
  int64_t resident_bytes = 0;
  for (size_t tile = 0; tile < layout.resident_offset.size(); ++tile) {
    const int64_t bytes = passes.programs[0].tiles[tile].count() * 2;
    const int64_t offset = layout.resident_offset[tile];
    if (offset < 0) {
      const SlotClass& slots = *layout.slot_classes()[static_cast<size_t>(layout.slot_class[tile])];
      EXPECT_LE(layout.offset_in_slot[tile] + bytes, slots.bytes);
      continue;
    }
    fixed.emplace_back(offset, offset + aligned(bytes));
    resident_bytes += bytes;
  }
  EXPECT_EQ(resident_bytes, layout.resident_bytes);
  for (const SlotClass* slots : layout.slot_classes()) {
    for (int slot = 0; slot < slots->count; ++slot) {
      fixed.emplace_back(slots->offset_of(slot), slots->offset_of(slot) + slots->bytes);
    }
  }
  std::sort(fixed.begin(), fixed.end());
  for (size_t i = 0; i < fixed.size(); ++i) {
    EXPECT_EQ(fixed[i].first % kArenaAlignment, 0);
    if (i > 0) {
      EXPECT_LE(fixed[i - 1].second, fixed[i].first);
    }
    end = std::max(end, fixed[i].second);
  }
  const int64_t buffers_begin = end;
  for (size_t program = 0; program < passes.programs.size(); ++program) {
    for (int64_t offset : layout.buffer_offset[program]) EXPECT_GE(offset, buffers_begin);
    end = std::max(end, expect_no_overlap(passes.programs[program], layout.buffer_offset[program]).end);
  }
  EXPECT_EQ(layout.arena_bytes, end);
}

TEST(Layout, TheArenaEndsWhereItsLastPieceEnds) {
  for (const Toy& toy : all_toys()) {
    for (int slots : {2, 5}) {
      for (int pairs : {1, 2}) {
        const ToyPasses smallest(toy, toy_shape(pairs), slots, {});
        expect_sound(smallest);
        EXPECT_EQ(smallest.layout.tile_slots.count, slots);
        EXPECT_EQ(smallest.layout.resident_bytes, 0);
        const ToyPasses all(toy, toy_shape(pairs), slots, {ArenaBudget::kAll});
        expect_sound(all);
        EXPECT_EQ(all.layout.tile_slots.count, 0);
        EXPECT_EQ(all.layout.resident_bytes, all.table.count() * 2);
        expect_sound({toy, toy_shape(pairs), slots, {(smallest.layout.arena_bytes + all.layout.arena_bytes) / 2}});
      }
    }
  }
}

TEST(Layout, TheArenaEndsWhereItsLastPieceEndsForEveryScheme) {
  for (Toy toy : all_toys()) {
    toy.layers = 6;  // more than slots
    for (const Scheme& scheme : all_schemes()) {
      SCOPED_TRACE(scheme_name(scheme));
      PassShape shape = toy_shape(1);
      shape.scheme = scheme;
      const ToyPasses smallest(toy, shape, 3, {});
      expect_sound(smallest);
      const ToyPasses all(toy, shape, 3, {ArenaBudget::kAll});
      expect_sound(all);
      expect_sound({toy, shape, 3, {(smallest.layout.arena_bytes + all.layout.arena_bytes) / 2}});
    }
  }
}

TEST(Layout, SlotsOfBlocksHaveTheBytesOfOneLayer) {
  // A layer of the toy in two bytes: 64 x 64 twice, 256 x 64 twice, and 256 + 3 * 64 elements of vectors; every piece
  // is a multiple of 256 bytes but the vectors, 896 bytes.
  PassShape shape = toy_shape(1);
  shape.scheme.granularity = Granularity::block;
  for (int layers : {1, 2, 7}) {
    Toy toy;
    toy.layers = layers;
    const Layout layout = ToyPasses(toy, shape, 3, {}).layout;
    EXPECT_EQ(layout.tile_slots.count, 3);
    EXPECT_EQ(layout.tile_slots.bytes, 2 * 2 * 64 * 64 + 2 * 2 * 256 * 64 + 1024);
    EXPECT_EQ(layout.vector_slots.count, 0);
    EXPECT_EQ(layout.head_slot.count, 0);
  }
}

TEST(Layout, AFullHeadHasOneSlotOfItsOwnUnlessItIsResident) {
  PassShape shape = toy_shape(1);
  shape.scheme.full_head = true;
  for (bool tied : {true, false}) {
    Toy toy;
    toy.tied = tied;
    const Layout layout = ToyPasses(toy, shape, 4, {}).layout;
    EXPECT_EQ(layout.head_slot.count, 1);
    EXPECT_EQ(layout.head_slot.bytes, 300 * 64 * 2);
    EXPECT_EQ(layout.tile_slots.bytes, 32 * 64 * 2);
  }
  shape.scheme.resident_embedding = true;
  Toy toy;
  EXPECT_EQ(ToyPasses(toy, shape, 4, {}).layout.head_slot.count, 0);
  toy.tied = false;
  EXPECT_EQ(ToyPasses(toy, shape, 4, {}).layout.head_slot.count, 1);
}

TEST(Layout, AResidentEmbeddingIsWhatGathersReadAndNothingElse) {
  PassShape shape = toy_shape(1);
  shape.scheme.resident_embedding = true;
  for (const Toy& toy : all_toys()) {
    const ToyPasses passes(toy, shape, 3, {});
    EXPECT_EQ(passes.layout.resident_bytes, 2 * (toy.vocab * toy.embed() + toy.positions * toy.hidden));
    for (size_t tile = 0; tile < passes.programs[0].tiles.size(); ++tile) {
      const int weight = passes.programs[0].tiles[tile].weight;
      EXPECT_EQ(passes.layout.resident(static_cast<int>(tile)), weight < 2) << weight;  // tokens and positions
    }
  }
}

TEST(Layout, ASlotIsFoundByAnyByteInIt) {
  PassShape shape = toy_shape(1);
  shape.scheme.full_head = true;
  Toy toy;
  toy.layers = 6;
  const int64_t smallest = ToyPasses(toy, shape, 3, {}).layout.arena_bytes;
  const Layout layout = ToyPasses(toy, shape, 3, {smallest + 40000}).layout;
  for (const SlotClass* slots : layout.slot_classes()) {
    ASSERT_GT(slots->count, 0);
    for (int slot = 0; slot < slots->count; ++slot) {
      EXPECT_EQ(layout.slot_of(slots->offset_of(slot)), slot);
      EXPECT_EQ(layout.slot_of(slots->offset_of(slot + 1) - 1), slot);
    }
  }
  ASSERT_GT(layout.resident_bytes, 0);
  EXPECT_EQ(layout.slot_of(layout.tile_slots.offset - 1), -1);   // of a resident tile
  EXPECT_EQ(layout.slot_of(layout.head_slot.offset_of(1)), -1);  // of the buffers
  EXPECT_EQ(layout.slot_of(-1), -1);
  EXPECT_EQ(ToyPasses(toy, shape, 3, {ArenaBudget::kAll}).layout.slot_of(0), -1);
}

// A toy with more and larger tiles than slots, so that a budget has something to choose.
Toy deep_toy() {
  Toy toy;
  toy.layers = 12;
  return toy;
}

TEST(Budget, IsNeverExceededNeverWastedAndMoreOfItKeepsMoreResident) {
  const Toy toy = deep_toy();
  const ToyPasses smallest(toy, toy_shape(1), 3, {});
  const ToyPasses all(toy, toy_shape(1), 3, {ArenaBudget::kAll});
  const int64_t low = smallest.layout.arena_bytes;
  const int64_t widest = smallest.layout.tile_slots.bytes;
  const int64_t slots = 3 * widest + 2 * smallest.layout.vector_slots.bytes;
  const int64_t high = all.layout.arena_bytes + slots;
  int64_t before = 0;
  for (int i = 0; i <= 200; ++i) {
    const int64_t budget = low + (high - low) * i / 200;
    const Layout layout = ToyPasses(toy, toy_shape(1), 3, {budget}).layout;
    EXPECT_LE(layout.arena_bytes, budget);
    EXPECT_GE(layout.resident_bytes, before) << "budget " << budget;
    before = layout.resident_bytes;
    const bool everything = layout.resident_bytes == all.layout.resident_bytes;
    EXPECT_TRUE(everything || budget - layout.arena_bytes <= widest + slots) << budget << " " << layout.arena_bytes;
  }
  EXPECT_EQ(before, all.layout.resident_bytes);
}

TEST(Budget, ExactlyEverythingNeedsNoSlots) {
  const Toy toy = deep_toy();
  const int64_t all = ToyPasses(toy, toy_shape(1), 4, {ArenaBudget::kAll}).layout.arena_bytes;
  const Layout exact = ToyPasses(toy, toy_shape(1), 4, {all}).layout;
  EXPECT_EQ(exact.arena_bytes, all);
  EXPECT_EQ(exact.tile_slots.count, 0);
  EXPECT_GT(ToyPasses(toy, toy_shape(1), 4, {all - 1}).layout.tile_slots.count, 0);
}

TEST(Budget, ResidentTilesAreSpreadEvenlyOverThePass) {
  const Toy toy = deep_toy();
  const ToyPasses smallest(toy, toy_shape(1), 3, {});
  const int64_t low = smallest.layout.arena_bytes;
  std::vector<bool> folded(smallest.programs[0].tiles.size(), false);
  for (const Op& op : smallest.programs[0].ops) {
    if (op.kind == OpKind::fold) folded[static_cast<size_t>(op.tile)] = true;
  }
  int64_t streamed_bytes = 0;
  int64_t widest = 0;
  for (size_t tile = 0; tile < folded.size(); ++tile) {
    if (folded[tile]) continue;
    const int64_t bytes = aligned(smallest.programs[0].tiles[tile].count() * 2);
    streamed_bytes += bytes;
    widest = std::max(widest, bytes);
  }
  for (int percent : {5, 10, 25, 50, 75, 90}) {
    const int64_t spare = streamed_bytes * percent / 100;
    const ToyPasses passes(toy, toy_shape(1), 3, {low + spare});
    int64_t gap = 0;
    int64_t largest_gap = 0;
    for (int round = 0; round < 2; ++round) {  // the pass is cyclic
      for (size_t tile = 0; tile < folded.size(); ++tile) {
        if (folded[tile]) continue;
        gap = passes.layout.resident(static_cast<int>(tile))
                  ? 0
                  : gap + aligned(passes.programs[0].tiles[tile].count() * 2);
        largest_gap = std::max(largest_gap, gap);
      }
    }
    // One tile in 1 / share stays, so that about widest / share bytes stream between two; the ends of the pass add up.
    const double share = percent / 100.0;
    EXPECT_LE(static_cast<double>(largest_gap), 2.0 * static_cast<double>(widest) * (1 / share + 1)) << percent << "%";
  }
}

TEST(Budget, TablesThatAreOnlyFoldedBecomeResidentLast) {
  Toy toy = deep_toy();
  toy.tied = false;
  const ToyPasses smallest(toy, toy_shape(1), 3, {});
  for (int64_t extra : {20000, 200000, 600000}) {
    const ToyPasses passes(toy, toy_shape(1), 3, {smallest.layout.arena_bytes + extra});
    bool streams = false;
    int64_t folded_bytes = 0;
    for (const Op& op : passes.programs[0].ops) {
      if (op.kind == OpKind::visit) streams |= !passes.layout.resident(op.tile);
      if (op.kind == OpKind::fold && passes.layout.resident(op.tile)) {
        folded_bytes += passes.programs[0].tiles[static_cast<size_t>(op.tile)].count() * 2;
      }
    }
    // They may fill what no streamed tile fits in.
    EXPECT_TRUE(streams) << "a budget for everything";
    EXPECT_LT(folded_bytes, passes.layout.tile_slots.bytes);
  }
}

TEST(Budget, BelowTheSmallestIsRefusedWithTheSmallest) {
  const Toy toy;
  const int64_t smallest = ToyPasses(toy, toy_shape(1), 4, {}).layout.arena_bytes;
  const std::string message = message_of<UsageError>([&] { ToyPasses(toy, toy_shape(1), 4, {smallest - 1}); });
  expect_contains(message, "the smallest arena for this model, batch and sequence is " + format_bytes(smallest));
  EXPECT_EQ(ToyPasses(toy, toy_shape(1), 4, {smallest}).layout.arena_bytes, smallest);
}

TEST(Layout, FewerThanTwoSlotsAreRefused) {
  for (int slots : {1, 0, -3}) {
    const std::string message = message_of<UsageError>([&] { ToyPasses(Toy(), toy_shape(1), slots, {}); });
    expect_contains(message, fmt::format("slots: {}", slots));
  }
}

}  // namespace
}  // namespace zo2
