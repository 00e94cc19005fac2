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
    for (int buffer : {op.in[0], op.in[1], op.in[2], op.out[0], op.out[1], op.weights, op.vectors}) {
      if (buffer >= 0) lives[buffer].touch(index);
    }
    if (op.kind == OpKind::inputs) {
      for (int buffer : {program.token_ids, program.labelled_rows, program.targets}) lives[buffer].touch(index);
    }
  }
  for (size_t buffer = 0; buffer < lives.size(); ++buffer) {
    if (program.buffers[buffer].persistent) lives[buffer] = {0, static_cast<int>(program.ops.size())};
  }
  return lives;
}

int64_t tile_bytes(const Program& program, int tile) { return program.tiles[tile].count() * program.shape.elt_bytes; }

// Chooses resident tiles for `spare` bytes: walks the pass and keeps a tile whenever the kept share has fallen behind
// the share that fits, so that the streamed tiles between two kept ones are about equal in bytes everywhere. Tiles that
// a pass uploads every time come first; tables that are folded now and then gain little from residency.
std::vector<bool> choose_resident(const Program& program, int64_t spare) {
  const std::vector<bool> rare = folded_tiles(program);
  std::vector<bool> kept(program.tiles.size(), false);
  for (bool wanted : {false, true}) {
    int64_t total = 0;
    for (size_t tile = 0; tile < kept.size(); ++tile) {
      if (rare[tile] == wanted) total += aligned(tile_bytes(program, static_cast<int>(tile)));
    }
    if (total == 0) continue;
    const double share = std::min(1.0, static_cast<double>(spare) / static_cast<double>(total));
    double owed = 0;
    for (size_t tile = 0; tile < kept.size(); ++tile) {
      if (rare[tile] != wanted) continue;
      const int64_t bytes = aligned(tile_bytes(program, static_cast<int>(tile)));
      owed += share * static_cast<double>(bytes);
      if (bytes <= spare && owed >= static_cast<double>(bytes) * (1 - 1e-9)) {
        kept[tile] = true;
        owed -= static_cast<double>(bytes);
        spare -= bytes;
      }
    }
  }
  return kept;
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
  std::vector<int> placed;  // by offset
  total = 0;
  for (int buffer : order) {
    const int64_t bytes = aligned(program.buffers[buffer].bytes);
    if (bytes == 0 || lives[buffer].last < 0) continue;
    int64_t at = 0;
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

  std::vector<bool> kept(first.tiles.size(), budget.bytes == ArenaBudget::kAll);
  const auto size_slots = [&] {
    layout.tile_slots = layout.vector_slots = {};
    for (size_t tile = 0; tile < kept.size(); ++tile) {
      if (kept[tile]) continue;
      const bool packed = table.weights[first.tiles[tile].weight].kind == ParameterKind::vector;
      SlotClass& slot = packed ? layout.vector_slots : layout.tile_slots;
      slot.count = packed ? 2 : slots;
      slot.bytes = std::max(slot.bytes, aligned(tile_bytes(first, static_cast<int>(tile))));
    }
    return layout.tile_slots.count * layout.tile_slots.bytes + layout.vector_slots.count * layout.vector_slots.bytes;
  };
  if (budget.bytes != ArenaBudget::kAll) {
    const int64_t smallest = size_slots() + buffers_bytes;
    ZO2_CHECK(
        budget.bytes == ArenaBudget::kSmallest || budget.bytes >= smallest, UsageError,
        "gpu_memory {} is too small: the smallest arena for this model, batch and sequence is {} ({} of slots and "
        "{} of buffers)",
        format_bytes(budget.bytes), format_bytes(smallest), format_bytes(smallest - buffers_bytes),
        format_bytes(buffers_bytes));
    if (budget.bytes != ArenaBudget::kSmallest) {
      int64_t all = buffers_bytes;
      for (size_t tile = 0; tile < kept.size(); ++tile) all += aligned(tile_bytes(first, static_cast<int>(tile)));
      // When everything fits without slots, nothing needs them.
      if (all <= budget.bytes) {
        kept.assign(kept.size(), true);
      } else {
        kept = choose_resident(first, budget.bytes - smallest);
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
  size_slots();
  layout.tile_slots.offset = at;
  at += layout.tile_slots.count * layout.tile_slots.bytes;
  layout.vector_slots.offset = at;
  at += layout.vector_slots.count * layout.vector_slots.bytes;
  for (auto& offsets : layout.buffer_offset) {
    for (int64_t& offset : offsets) offset += at;
  }
  layout.arena_bytes = at + buffers_bytes;
  return layout;
}

}  // namespace zo2
