#include "program/ops.h"

#include <array>

namespace zo2 {

std::string_view op_name(OpKind kind) {
  constexpr std::array<std::string_view, 17> kNames{
      "upload",      "download",   "visit",   "fold",      "noise", "inputs",
      "gather",      "layer_norm", "linear",  "attention", "cache", "cached_attention",
      "select_rows", "head",       "arg_max", "loss",      "entry"};
  return kNames.at(static_cast<size_t>(kind));
}

std::vector<bool> folded_tiles(const Program& program) {
  std::vector<bool> result(program.tiles.size(), false);
  for (const Op& op : program.ops) {
    if (op.kind == OpKind::fold) result[op.tile] = true;
  }
  return result;
}

std::vector<Unit> units_of(const Program& program) {
  std::vector<Unit> units;
  for (int tile = 0; tile < static_cast<int>(program.tiles.size()); ++tile) {
    const int block = program.tiles[tile].block;
    if (tile > 0 && block >= 0 && block == program.tiles[tile - 1].block) {
      ++units.back().count;
    } else {
      units.push_back({tile, 1});
    }
  }
  return units;
}

}  // namespace zo2
