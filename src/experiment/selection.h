// Which repeats of an experiment a command runs: `--only`, `--exclude`, `--shard`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "experiment/manifest.h"

namespace zo2 {

// Part `index`, from 1, of `count` parts.
struct Shard {
  int index = 1;
  int count = 1;
};
Shard parse_shard(std::string_view text);  // "2/4"; throws UsageError

// A selector is `key=value`, a dotted key of the configuration with a value as in a manifest, or else a shell pattern
// over the cell's slug or its folder's name ("*-zo2-*").
struct Selection {
  // A cell must match, for every key that is named, one of the values given for it, and one of the patterns if any.
  std::vector<std::string> only{};
  std::vector<std::string> exclude{};  // a cell that matches any of these is left out
  Shard shard{};
};

// Those of the experiment's turns() that are selected.
//
// Shards are dealt out in turn over the selected repeats in the order cell by cell, so that they are disjoint, complete
// together, and stay as they are when cells are added at the end. With as many shards as repeats each shard has every
// cell once, and no cell is always on the faster machine. All shards must be given the same selectors.
//
// Throws UsageError that lists what is wrong with the selectors, or the cells when none is selected.
std::vector<Turn> select_repeats(const Experiment& experiment, const Selection& selection);

}  // namespace zo2
