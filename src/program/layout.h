// The device arena, laid out before the run: slots, resident tiles, and the buffers of each program.
//
// The arena is one allocation:
//   [resident tiles][slots for tiles][slots for packed vectors][slot of a full head][buffers of the program in hand]
// Programs that take turns (training, evaluation) share the last part; in those that have shared buffers (the cache of
// a generation) it begins with them, at the same places. Every offset is a multiple of 256 bytes.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "program/ops.h"

namespace zo2 {

inline constexpr int64_t kArenaAlignment = 256;

// How much of the device the arena may take. The default is the least that runs.
struct ArenaBudget {
  static constexpr int64_t kSmallest = 0;
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();  // every tile resident
  int64_t bytes = kSmallest;
};

struct SlotClass {
  int count = 0;
  int64_t bytes = 0;   // of one slot
  int64_t offset = 0;  // of the first; the others follow
  int64_t offset_of(int slot) const { return offset + slot * bytes; }
};

struct Layout {
  int64_t arena_bytes = 0;
  int64_t resident_bytes = 0;                       // tiles only
  SlotClass tile_slots;                             // of a tile; with Granularity::block, of a whole layer
  SlotClass vector_slots;                           // packed vectors are small: a ring of their own
  SlotClass head_slot;                              // a full head's table is wide and moves once a pass: one slot
  std::vector<int> slot_class;                      // per tile: index in slot_classes()
  std::vector<int64_t> offset_in_slot;              // per tile: 0, or where a tile of a block lies in its slot
  std::vector<int64_t> resident_offset;             // per tile; -1: streamed
  std::vector<std::vector<int64_t>> buffer_offset;  // per program, per buffer

  std::array<const SlotClass*, 3> slot_classes() const { return {&tile_slots, &vector_slots, &head_slot}; }
  bool resident(int tile) const { return resident_offset[tile] >= 0; }
  // The slot, within its class, that arena byte `offset` lies in; -1: none (a resident tile, a buffer, no tile at all).
  int slot_of(int64_t offset) const;
};

// Lays the programs out together; all must have equal tiles. With a budget in bytes, as many tiles (or whole blocks) as
// fit are kept resident, spread evenly over the pass so that the link never idles; with Scheme::resident_embedding the
// tables that gathers read are, whatever the budget. Throws UsageError when the budget is below the
// smallest arena (the message gives that).
Layout plan_layout(const ParameterTable& table, const std::vector<const Program*>& programs, int slots,
                   ArenaBudget budget);

// Offsets for buffers such that no two that live at the same time overlap, shared ones first and one after another;
// sets `total` to the bytes used.
std::vector<int64_t> place_buffers(const Program& program, int64_t& total);

}  // namespace zo2
