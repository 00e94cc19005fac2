// The options of `zo2 run` that say which cells: shared with the commands that write a `zo2 run` for later.
#pragma once

#include <CLI/CLI.hpp>

#include "experiment/selection.h"

namespace zo2 {

inline void add_selection_options(CLI::App& command, Selection& selection) {
  command
      .add_option(
          "--only", selection.only,
          "these cells only: a pattern over slugs ('*-zo2-*') or key=value; given often, a cell must match each "
          "key, and one of the patterns")
      ->allow_extra_args(false);
  command.add_option("--exclude", selection.exclude, "leave out the cells that match; may be given often")
      ->allow_extra_args(false);
}

}  // namespace zo2
