#include "program/access.h"

#include <algorithm>

namespace zo2 {
namespace {

Access access_of_host(const Program& program, int tile) {
  const Tile& t = program.tiles[tile];
  const int64_t begin = t.first_element() * program.shape.elt_bytes;
  return {t.weight, begin, begin + t.count() * program.shape.elt_bytes, false, false, {-1, tile}};
}

}  // namespace

Access access_of_tile(const Program& program, int tile, int64_t offset) {
  const int64_t bytes = program.tiles[tile].count() * program.shape.elt_bytes;
  return {-1, offset, offset + bytes, false, false, {-1, tile}};
}

Access access_of_buffer(const Program& program, const std::vector<int64_t>& offsets, int buffer, int tile) {
  Access access{-1, offsets[buffer], offsets[buffer] + program.buffers[buffer].bytes, false, false, {buffer, tile}};
  if (tile >= 0) access.end = access.begin + program.tiles[tile].count() * program.shape.elt_bytes;
  return access;
}

std::vector<Access> accesses_of(const ParameterTable& table, const Program& program, const Layout& layout,
                                int program_index, const ScheduledOp& scheduled) {
  const Op& op = program.ops[scheduled.op];
  std::vector<Access> list;
  auto add = [&](Access access, bool read, bool write) {
    access.read = read;
    access.write = write;
    list.push_back(access);
  };
  auto add_buffer = [&](int buffer, bool read, bool write, int tile = -1) {
    if (buffer >= 0) add(access_of_buffer(program, layout.buffer_offset[program_index], buffer, tile), read, write);
  };
  const auto base = [&] { return access_of_tile(program, op.tile, scheduled.tile_offset); };
  switch (op.kind) {
    case OpKind::upload:
      add(access_of_host(program, op.tile), true, false);
      add(base(), false, true);
      return list;
    case OpKind::download:
      add(base(), true, false);
      add(access_of_host(program, op.tile), false, true);
      return list;
    case OpKind::visit:
    case OpKind::fold: {
      add(base(), true, op.last_visit);
      add_buffer(op.in[0], true, false, op.tile);
      const bool packed = table.weights[program.tiles[op.tile].weight].kind == ParameterKind::vector;
      for (int out : op.out) add_buffer(out, false, true, packed ? -1 : op.tile);
      return list;
    }
    case OpKind::noise: add_buffer(op.out[0], false, true, op.tile); return list;
    case OpKind::inputs:
      for (int buffer : {program.token_ids, program.positions, program.labelled_rows, program.targets, program.groups,
                         program.losses}) {
        add_buffer(buffer, false, true);
      }
      return list;
    case OpKind::gather:
      for (size_t tile = 0; tile < program.tiles.size(); ++tile) {
        if (program.tiles[tile].weight != op.weight) continue;
        const int index = static_cast<int>(tile);
        const bool resident = layout.resident(index);
        add(resident ? access_of_tile(program, index, layout.resident_offset[tile]) : access_of_host(program, index),
            true, false);
      }
      add_buffer(op.in[0], true, false);
      for (int out : op.out) add_buffer(out, op.accumulate, true);
      return list;
    default: {
      for (int in : op.in) add_buffer(in, true, false);
      add_buffer(op.weights, true, false, op.tile);
      add_buffer(op.vectors, true, false);
      // A tile that is not the first writes its panel beside those of the tiles before it, which must still be there.
      const bool beside = op.kind == OpKind::linear && program.tiles[op.tile].first_row > 0;
      add_buffer(op.out[0], op.accumulate || beside, true);
      // A loss is added to those of the passes before, keys and values to those of the positions before.
      add_buffer(op.out[1], op.kind == OpKind::loss || (op.kind == OpKind::cache && op.accumulate), true);
      return list;
    }
  }
}

std::vector<std::vector<int>> memory_order(const ParameterTable& table, const Program& program, const Layout& layout,
                                           int program_index, const Schedule& schedule,
                                           const std::function<bool(const ScheduledOp&)>& exclusive) {
  const size_t count = schedule.ops.size();
  std::vector<std::vector<Access>> accesses(count);
  std::vector<bool> alone(count);
  std::vector<std::vector<bool>> follows(count, std::vector<bool>(count));  // at all, directly or through others
  std::vector<std::vector<int>> after(count);
  for (size_t at = 0; at < count; ++at) {
    accesses[at] = accesses_of(table, program, layout, program_index, schedule.ops[at]);
    alone[at] = exclusive(schedule.ops[at]);
    for (size_t earlier = at; earlier-- > 0;) {  // the nearest first: it often stands for those before it
      if (follows[at][earlier]) continue;
      const bool conflict = (alone[at] && alone[earlier]) || std::ranges::any_of(accesses[at], [&](const Access& own) {
                              return std::ranges::any_of(accesses[earlier], [&](const Access& other) {
                                return (own.write || other.write) && own.overlaps(other);
                              });
                            });
      if (!conflict) continue;
      after[at].push_back(static_cast<int>(earlier));
      follows[at][earlier] = true;
      for (size_t i = 0; i < earlier; ++i) {
        if (follows[earlier][i]) follows[at][i] = true;
      }
    }
    std::ranges::reverse(after[at]);
  }
  return after;
}

}  // namespace zo2
