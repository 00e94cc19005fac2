// Which memory an operation reads and writes. check_schedule (schedule.h) compares accesses to find what a schedule
// leaves without an order; memory_order finds the order that they ask for, and no more.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "program/schedule.h"

namespace zo2 {

// What a range of memory holds. Scratch buffers hold one tile at a time, so a tag names both.
struct Tag {
  int buffer = -1;
  int tile = -1;
  bool operator==(const Tag&) const = default;
};

// Memory spaces: the arena, and the host copy of each weight.
struct Access {
  int space = -1;  // -1: arena; else a weight
  int64_t begin = 0;
  int64_t end = 0;
  bool read = false;
  bool write = false;
  Tag tag;

  bool overlaps(const Access& other) const { return space == other.space && begin < other.end && other.begin < end; }
};

// A tile's base at an offset of the arena, and a buffer of a program (as far as a tile fills it, where one is given);
// neither read nor written yet.
Access access_of_tile(const Program& program, int tile, int64_t offset);
Access access_of_buffer(const Program& program, const std::vector<int64_t>& offsets, int buffer, int tile = -1);

// `program_index` picks the buffer offsets of the layout.
std::vector<Access> accesses_of(const ParameterTable& table, const Program& program, const Layout& layout,
                                int program_index, const ScheduledOp& scheduled);

// Per operation of a schedule, the earlier ones (indices in Schedule::ops, ascending) that must have ended before it
// starts, since one of the two writes memory that the other uses too. Operations for which `exclusive` holds follow one
// another besides: they share memory outside the arena. Those of others that already wait are left out.
std::vector<std::vector<int>> memory_order(const ParameterTable& table, const Program& program, const Layout& layout,
                                           int program_index, const Schedule& schedule,
                                           const std::function<bool(const ScheduledOp&)>& exclusive);

}  // namespace zo2
