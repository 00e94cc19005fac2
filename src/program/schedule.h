// Which stream runs an operation, in which slot, and what it waits for.
//
// Each stream runs its operations in program order. A dependency names an operation of another stream, in the same
// pass or in the pass before. An upload waits until its slot is free (the visit of the tile before it there, and that
// tile's download) and until its own download of the pass before has ended; a visit waits for its upload; a download
// for its visit; a gather for the downloads of its table. The tiles of a block share a slot and move as one: the first
// upload waits until the block before was visited and downloaded, every visit waits for the last upload, every download
// for the last visit.
#pragma once

#include <string>
#include <vector>

#include "program/layout.h"

namespace zo2 {

enum class Stream : uint8_t { upload, compute, download };

struct Dependency {
  int op = 0;          // index in Schedule::ops
  int passes_ago = 0;  // 0: of the same pass; 1: of the one before
  bool operator==(const Dependency&) const = default;
};

struct ScheduledOp {
  int op = 0;  // index in Program::ops
  Stream stream = Stream::compute;
  int64_t tile_offset = -1;  // where the tile's base is in the arena (slot or resident place); -1: no tile
  // Moves or folds a tile that no visit streams: in a pass in which its weight does not commit it is left out, with its
  // waits, and counts as done.
  bool rare = false;
  std::vector<Dependency> after;
};

struct Schedule {
  std::vector<ScheduledOp> ops;
};

// `overlap` false makes every operation wait for the one before it (an ablation).
Schedule make_schedule(const Program& program, const Layout& layout, bool overlap = true);

// Unrolls two passes and returns what is wrong, empty when nothing is: operations that touch the same memory (arena or
// host tile) without an order between them, reads of memory that holds something else or was never written, waits
// that never end. `program_index` picks the buffer offsets of the layout.
std::vector<std::string> check_schedule(const ParameterTable& table, const Program& program, const Layout& layout,
                                        int program_index, const Schedule& schedule);

}  // namespace zo2
