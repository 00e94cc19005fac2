#include "program/ops.h"

namespace zo2 {

std::vector<bool> folded_tiles(const Program& program) {
  std::vector<bool> result(program.tiles.size(), false);
  for (const Op& op : program.ops) {
    if (op.kind == OpKind::fold) result[op.tile] = true;
  }
  return result;
}

}  // namespace zo2
