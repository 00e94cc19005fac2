#include "program/schedule.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace zo2 {
namespace {

Stream stream_of(OpKind kind) {
  if (kind == OpKind::upload) return Stream::upload;
  return kind == OpKind::download ? Stream::download : Stream::compute;
}

// What the schedule needs of one unit: its place, and the operations on its tiles. Each stream runs in order, so a
// first or last one stands for all.
struct Moves {
  int64_t slot_offset = -1;
  int first_upload = -1;
  int last_upload = -1;
  int last_visit = -1;
  int last_download = -1;
  int before = -1;     // the unit that its slot holds before it, cyclically
  bool wraps = false;  // that one was there in the pass before
};

}  // namespace

Schedule make_schedule(const Program& program, const Layout& layout, bool overlap) {
  Schedule schedule;
  const std::vector<Unit> units = units_of(program);
  std::vector<int> unit_of(program.tiles.size());  // per tile
  for (size_t unit = 0; unit < units.size(); ++unit) {
    std::fill_n(unit_of.begin() + units[unit].first, units[unit].count, static_cast<int>(unit));
  }
  const std::vector<bool> folded = folded_tiles(program);
  std::vector<Moves> moves(units.size());
  std::vector<int64_t> tile_offset = layout.resident_offset;

  // Streams, places, and which operations serve which unit.
  const auto classes = layout.slot_classes();
  std::array<int, 3> next_slot{};
  std::array<std::vector<std::vector<int>>, 3> order;  // per slot class, per slot: units in program order
  for (size_t c = 0; c < classes.size(); ++c) order[c].resize(classes[c]->count);
  for (int index = 0; index < static_cast<int>(program.ops.size()); ++index) {
    const Op& op = program.ops[index];
    if (is_copy(op.kind) && layout.resident(op.tile)) continue;
    const int at = static_cast<int>(schedule.ops.size());
    ScheduledOp scheduled{index, stream_of(op.kind), -1, false, {}};
    scheduled.rare = op.tile >= 0 && folded[op.tile];
    if (op.kind == OpKind::upload) {
      const int unit = unit_of[op.tile];
      Moves& moved = moves[unit];
      if (moved.first_upload < 0) {
        const int c = layout.slot_class[op.tile];
        const int slot = next_slot[c]++ % classes[c]->count;
        moved.slot_offset = classes[c]->offset_of(slot);
        moved.first_upload = at;
        order[c][slot].push_back(unit);
      }
      moved.last_upload = at;
      tile_offset[op.tile] = moved.slot_offset + layout.offset_in_slot[op.tile];
    } else if (op.kind == OpKind::download) {
      moves[unit_of[op.tile]].last_download = at;
    } else if (op.kind == OpKind::visit || op.kind == OpKind::fold) {
      moves[unit_of[op.tile]].last_visit = at;
    }
    if (is_copy(op.kind) || op.kind == OpKind::visit || op.kind == OpKind::fold) {
      scheduled.tile_offset = tile_offset[op.tile];
    }
    schedule.ops.push_back(std::move(scheduled));
  }

  // A slot is free after the unit before it, cyclically, was visited and downloaded.
  for (const auto& slots : order) {
    for (const auto& users : slots) {
      for (size_t i = 0; i < users.size(); ++i) {
        moves[users[i]].before = users[i == 0 ? users.size() - 1 : i - 1];
        moves[users[i]].wraps = i == 0;
      }
    }
  }

  for (int at = 0; at < static_cast<int>(schedule.ops.size()); ++at) {
    ScheduledOp& scheduled = schedule.ops[at];
    const Op& op = program.ops[scheduled.op];
    auto wait_for = [&](int other, int passes_ago) {
      if (other >= 0) scheduled.after.push_back({other, passes_ago});
    };
    if (!overlap && at > 0) wait_for(at - 1, 0);
    if (!overlap && at == 0) wait_for(static_cast<int>(schedule.ops.size()) - 1, 1);
    switch (op.kind) {
      case OpKind::upload: {
        const int unit = unit_of[op.tile];
        if (at != moves[unit].first_upload) break;
        // The unit before it in the slot; and where that one is left out of most passes, the one before that too.
        int user = unit;
        int passes_ago = 0;
        do {
          passes_ago += moves[user].wraps ? 1 : 0;
          user = moves[user].before;
          wait_for(moves[user].last_visit, passes_ago);
          wait_for(moves[user].last_download, passes_ago);
        } while (user != unit && folded[units[user].first]);
        if (moves[unit].before != unit) wait_for(moves[unit].last_download, 1);
        break;
      }
      case OpKind::visit:
      case OpKind::fold:
        if (!layout.resident(op.tile)) wait_for(moves[unit_of[op.tile]].last_upload, 0);
        break;
      case OpKind::download: wait_for(moves[unit_of[op.tile]].last_visit, 0); break;
      case OpKind::gather: {
        // The download stream runs in order: its last download of this table is enough.
        int last = -1;
        for (size_t tile = 0; tile < program.tiles.size(); ++tile) {
          if (program.tiles[tile].weight == op.weight) last = std::max(last, moves[unit_of[tile]].last_download);
        }
        wait_for(last, last > at ? 1 : 0);
        break;
      }
      default: break;
    }
  }
  return schedule;
}

}  // namespace zo2
