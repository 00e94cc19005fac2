#include "program/layout.h"

#include <algorithm>
#include <numeric>

#include "base/bytes.h"
#include "base/error.h"

namespace zo2 {
namespace {

int64_t aligned(int64_t bytes) { return align_up(bytes, kArenaAlignment); }

struct Lifetime {
  int first = std::numeric_limits<int>::max();
  int last = -1;
  void touch(int op) {
    first = std::min(first, op);
    last = std::max(last, op);
  }
};

std::vector<Lifetime> lifetimes(const Program& program) {
  std::vector<Lifetime> lives(program.buffers.size());
  for (int index = 0; index < static_cast<int>(program.ops.size()); ++index) {
    const Op& op = program.ops[index];
    for (int buffer : {op.in[0], op.in[1], op.in[2], op.in[3], op.out[0], op.out[1], op.weights, op.vectors}) {
      if (buffer >= 0) lives[buffer].touch(index);
    }
    if (op.kind == OpKind::inputs) {
      for (int buffer :
           {program.token_ids, program.positions, program.labelled_rows, program.targets, program.groups}) {
        if (buffer >= 0) lives[buffer].touch(index);
      }
    }
  }
  for (size_t buffer = 0; buffer < lives.size(); ++buffer) {
    if (program.buffers[buffer].persistent) lives[buffer] = {0, static_cast<int>(program.ops.size())};
  }
  return lives;
}

int64_t tile_bytes(const Program& program, int tile) { return program.tiles[tile].count() * program.shape.elt_bytes; }

// A unit's tiles lie one after another, each at a multiple of the alignment.
int64_t unit_bytes(const Program& program, const Unit& unit) {
  int64_t bytes = 0;
  for (int tile = unit.first; tile < unit.first + unit.count; ++tile) bytes += aligned(tile_bytes(program, tile));
  return bytes;
}

// Indices in Layout::slot_classes.
enum : int { kTileSlots = 0, kVectorSlots = 1, kHeadSlot = 2 };

std::vector<int> choose_slot_classes(const ParameterTable& table, const Program& program) {
  std::vector<int> classes;
  for (const Tile& tile : program.tiles) {
    const bool packed = table.weights[tile.weight].kind == ParameterKind::vector && tile.block < 0;
    classes.push_back(packed ? kVectorSlots : kTileSlots);
  }
  for (const Op& op : program.ops) {
    const bool head = op.kind == OpKind::head || op.kind == OpKind::arg_max;
    if (head && program.shape.scheme.full_head) classes[op.tile] = kHeadSlot;
  }
  return classes;
}

// Per tile: whether it is resident whatever the budget.
std::vector<bool> always_resident(const Program& program) {
  std::vector<bool> kept(program.tiles.size(), false);
  if (!program.shape.scheme.resident_embedding) return kept;
  for (const Op& op : program.ops) {
    if (op.kind != OpKind::gather) continue;
    for (size_t tile = 0; tile < kept.size(); ++tile) {
      if (program.tiles[tile].weight == op.weight) kept[tile] = true;
    }
  }
  return kept;
}

// Of all tiles, or of those in `kept`.
int64_t tiles_bytes(const Program& program, const std::vector<bool>* kept = nullptr) {
  int64_t bytes = 0;
  for (int tile = 0; tile < static_cast<int>(program.tiles.size()); ++tile) {
    if (kept == nullptr || (*kept)[tile]) bytes += aligned(tile_bytes(program, tile));
  }
  return bytes;
}

// Sizes the slots for the units that are not kept; returns the bytes of all slots.
int64_t size_slots(const Program& program, const std::vector<Unit>& units, const std::vector<bool>& kept,
                   int tile_slots, Layout& layout) {
  const std::array<SlotClass*, 3> classes{&layout.tile_slots, &layout.vector_slots, &layout.head_slot};
  const std::array<int, 3> counts{tile_slots, 2, 1};
  for (SlotClass* slot : classes) *slot = {};
  for (const Unit& unit : units) {
    if (kept[unit.first]) continue;
    const int c = layout.slot_class[unit.first];
    classes[c]->count = counts[c];
    classes[c]->bytes = std::max(classes[c]->bytes, unit_bytes(program, unit));
  }
  int64_t total = 0;
  for (const SlotClass* slot : classes) total += slot->count * slot->bytes;
  return total;
}

// Adds resident units to `kept` for `spare` bytes: walks the pass and keeps a unit whenever the kept share has fallen
// behind the share that fits, so that the streamed ones between two kept ones are about equal in bytes everywhere.
// Tiles that a pass uploads every time come first; tables that are folded now and then gain little from residency.
void choose_resident(const Program& program, const std::vector<Unit>& units, int64_t spare, std::vector<bool>& kept) {
  const std::vector<bool> rare = folded_tiles(program);
  for (bool wanted : {false, true}) {
    const auto candidate = [&](const Unit& unit) { return rare[unit.first] == wanted && !kept[unit.first]; };
    int64_t total = 0;
    for (const Unit& unit : units) {
      if (candidate(unit)) total += unit_bytes(program, unit);
    }
    if (total == 0) continue;
    const double share = std::min(1.0, static_cast<double>(spare) / static_cast<double>(total));
    double owed = 0;
    for (const Unit& unit : units) {
      if (!candidate(unit)) continue;
      const int64_t bytes = unit_bytes(program, unit);
      owed += share * static_cast<double>(bytes);
      if (bytes <= spare && owed >= static_cast<double>(bytes) * (1 - 1e-9)) {
        std::fill_n(kept.begin() + unit.first, unit.count, true);
        owed -= static_cast<double>(bytes);
        spare -= bytes;
      }
    }
  }
}

}  // namespace

std::vector<int64_t> place_buffers(const Program& program, int64_t& total) {
  const std::vector<Lifetime> lives = lifetimes(program);
  std::vector<int64_t> offset(program.buffers.size(), 0);
  std::vector<int> order(program.buffers.size());
  std::iota(order.begin(), order.end(), 0);
  // Large first, long-lived before short-lived: the wide layers set the peak and the rest fills the gaps.
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    const int64_t bytes_a = program.buffers[a].bytes;
    const int64_t bytes_b = program.buffers[b].bytes;
    if (bytes_a != bytes_b) return bytes_a > bytes_b;
    return lives[a].last - lives[a].first > lives[b].last - lives[b].first;
  });
  // Shared buffers of every program are the same ones in the same order, so they come to lie at the same places.
  total = 0;
  for (size_t buffer = 0; buffer < program.buffers.size(); ++buffer) {
    if (!program.buffers[buffer].shared) continue;
    offset[buffer] = total;
    total += aligned(program.buffers[buffer].bytes);
  }
  const int64_t begin = total;
  std::vector<int> placed;  // by offset
  for (int buffer : order) {
    const int64_t bytes = aligned(program.buffers[buffer].bytes);
    if (bytes == 0 || lives[buffer].last < 0 || program.buffers[buffer].shared) continue;
    int64_t at = begin;
    for (int other : placed) {
      const bool together = lives[buffer].first <= lives[other].last && lives[other].first <= lives[buffer].last;
      if (!together) continue;
      if (offset[other] >= at + bytes) break;
      at = std::max(at, offset[other] + aligned(program.buffers[other].bytes));
    }
    offset[buffer] = at;
    total = std::max(total, at + program.buffers[buffer].bytes);
    const auto position = std::upper_bound(placed.begin(), placed.end(), at,
                                           [&](int64_t value, int other) { return value < offset[other]; });
    placed.insert(position, buffer);
  }
  return offset;
}

int Layout::slot_of(int64_t offset) const {
  for (const SlotClass* slots : slot_classes()) {
    const int64_t within = offset - slots->offset;
    if (within >= 0 && within < slots->count * slots->bytes) return static_cast<int>(within / slots->bytes);
  }
  return -1;
}

Layout plan_layout(const ParameterTable& table, const std::vector<const Program*>& programs, int slots,
                   ArenaBudget budget) {
  ZO2_CHECK(slots >= 2, UsageError, "slots: {} is too few; two is the least that lets a copy run beside a visit",
            slots);
  const Program& first = *programs.at(0);
  Layout layout;
  int64_t buffers_bytes = 0;
  for (const Program* program : programs) {
    ZO2_ASSERT(program->tiles.size() == first.tiles.size());
    int64_t bytes = 0;
    layout.buffer_offset.push_back(place_buffers(*program, bytes));
    buffers_bytes = std::max(buffers_bytes, bytes);
  }

  const std::vector<Unit> units = units_of(first);
  layout.slot_class = choose_slot_classes(table, first);
  for (const Unit& unit : units) {
    int64_t at = 0;
    for (int tile = unit.first; tile < unit.first + unit.count; ++tile) {
      layout.offset_in_slot.push_back(at);
      at += aligned(tile_bytes(first, tile));
    }
  }
  std::vector<bool> kept = always_resident(first);
  if (budget.bytes == ArenaBudget::kAll) {
    kept.assign(kept.size(), true);
  } else {
    const int64_t smallest = tiles_bytes(first, &kept) + size_slots(first, units, kept, slots, layout) + buffers_bytes;
    ZO2_CHECK(budget.bytes == ArenaBudget::kSmallest || budget.bytes >= smallest, UsageError,
              "gpu_memory {} is too small: the smallest arena for this model, batch and sequence is {} ({} of {} and "
              "{} of buffers)",
              format_bytes(budget.bytes), format_bytes(smallest), format_bytes(smallest - buffers_bytes),
              first.shape.scheme.resident_embedding ? "slots and embedding" : "slots", format_bytes(buffers_bytes));
    if (budget.bytes != ArenaBudget::kSmallest) {
      // When everything fits without slots, nothing needs them.
      if (buffers_bytes + tiles_bytes(first) <= budget.bytes) {
        kept.assign(kept.size(), true);
      } else {
        choose_resident(first, units, budget.bytes - smallest, kept);
      }
    }
  }

  int64_t at = 0;
  layout.resident_offset.assign(first.tiles.size(), -1);
  for (size_t tile = 0; tile < kept.size(); ++tile) {
    if (!kept[tile]) continue;
    layout.resident_offset[tile] = at;
    at += aligned(tile_bytes(first, static_cast<int>(tile)));
    layout.resident_bytes += tile_bytes(first, static_cast<int>(tile));
  }
  size_slots(first, units, kept, slots, layout);
  for (SlotClass* slot : {&layout.tile_slots, &layout.vector_slots, &layout.head_slot}) {
    slot->offset = at;
    at += slot->count * slot->bytes;
  }
  for (auto& offsets : layout.buffer_offset) {
    for (int64_t& offset : offsets) offset += at;
  }
  layout.arena_bytes = at + buffers_bytes;
  return layout;
}

}  // namespace zo2
