// Short names of cells, made of what differs between them.
#pragma once

#include <vector>

#include "experiment/manifest.h"

namespace zo2 {

// Sets every cell's slug: model and method always, then as few of the keys that vary as tell all cells apart, e.g.
// "opt-125m-zo2" or "opt-125m-zo2-seq128". Lower-case letters, digits, '.', '-' and '_' only. Slugs are for people;
// the config hash tells apart cells that still share one.
void assign_slugs(std::vector<Cell>& cells);

}  // namespace zo2
