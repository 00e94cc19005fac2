#include "program/schedule.h"

#include <algorithm>

#include "base/error.h"

namespace zo2 {
namespace {

Stream stream_of(OpKind kind) {
  if (kind == OpKind::upload) return Stream::upload;
  return kind == OpKind::download ? Stream::download : Stream::compute;
}

// What happened last in one slot: the operations that must end before the slot is written again.
struct Occupant {
  int last_visit = -1;
  int download = -1;
};

}  // namespace

Schedule make_schedule(const ParameterTable& table, const Program& program, const Layout& layout, bool overlap) {
  Schedule schedule;
  const size_t tiles = program.tiles.size();
  std::vector<int> upload_of(tiles, -1);
  std::vector<int> visit_of(tiles, -1);
  std::vector<int> download_of(tiles, -1);
  std::vector<int64_t> tile_offset = layout.resident_offset;

  // Streams, places, and which operations serve which tile.
  int next_slot[2] = {0, 0};
  std::vector<std::vector<int>> order[2];  // per slot class, per slot: tiles in program order
  const SlotClass* classes[2] = {&layout.tile_slots, &layout.vector_slots};
  for (int c = 0; c < 2; ++c) order[c].resize(classes[c]->count);
  for (int index = 0; index < static_cast<int>(program.ops.size()); ++index) {
    const Op& op = program.ops[index];
    if (is_copy(op.kind) && layout.resident(op.tile)) continue;
    const int at = static_cast<int>(schedule.ops.size());
    ScheduledOp scheduled{index, stream_of(op.kind), -1, {}};
    if (op.kind == OpKind::upload) {
      const int c = table.weights[program.tiles[op.tile].weight].kind == ParameterKind::vector ? 1 : 0;
      const int slot = next_slot[c]++ % classes[c]->count;
      tile_offset[op.tile] = classes[c]->offset_of(slot);
      order[c][slot].push_back(op.tile);
      upload_of[op.tile] = at;
    } else if (op.kind == OpKind::download) {
      download_of[op.tile] = at;
    } else if ((op.kind == OpKind::visit || op.kind == OpKind::fold) && op.last_visit) {
      visit_of[op.tile] = at;
    }
    if (is_copy(op.kind) || op.kind == OpKind::visit || op.kind == OpKind::fold) {
      scheduled.tile_offset = tile_offset[op.tile];
    }
    schedule.ops.push_back(std::move(scheduled));
  }

  // A slot is free after the tile before it, cyclically, was visited and downloaded.
  std::vector<int> before(tiles, -1);
  std::vector<bool> wraps(tiles, false);
  for (const auto& slots : order) {
    for (const auto& users : slots) {
      for (size_t i = 0; i < users.size(); ++i) {
        before[users[i]] = users[i == 0 ? users.size() - 1 : i - 1];
        wraps[users[i]] = i == 0;
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
        const int tile = before[op.tile];
        const int passes_ago = wraps[op.tile] ? 1 : 0;
        wait_for(visit_of[tile], passes_ago);
        wait_for(download_of[tile], passes_ago);
        if (tile != op.tile) wait_for(download_of[op.tile], 1);
        break;
      }
      case OpKind::visit:
      case OpKind::fold:
        if (!layout.resident(op.tile)) wait_for(upload_of[op.tile], 0);
        break;
      case OpKind::download: wait_for(visit_of[op.tile], 0); break;
      case OpKind::gather: {
        // The download stream runs in order: its last download of this table is enough.
        int last = -1;
        for (size_t tile = 0; tile < tiles; ++tile) {
          if (program.tiles[tile].weight == op.weight) last = std::max(last, download_of[tile]);
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
