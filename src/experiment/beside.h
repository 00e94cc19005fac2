// Figures of other systems, published, measured or imported, beside ours of the same model shape, tie, dtype, batch and
// seq, with the factor between them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiment/metrics.h"
#include "experiment/record.h"
#include "experiment/reference.h"

namespace zo2 {

struct BesideFigure {
  size_t record = 0;  // the first of the cell, as an index
  const Metric* metric = nullptr;
  std::optional<double> ours;  // median of the repeats whose figure counts, in the metric's unit
  bool projected = false;      // ours is a forecast
  ReferenceFigure theirs;
  // How many times better ours is (below 1: worse): with the unit that they print read least favourably to us, which
  // gives the verdict, and most favourably. Absent when the two cannot be compared; `reason` says why.
  std::optional<double> least;
  std::optional<double> most;
  std::string reason;
};

// "better", "worse", "equal" or "NOT-COMPARABLE".
std::string standing(const BesideFigure& figure);

// By metric, in the order of `figures`' first ones; then by cell, in the order of `records`. A figure stands beside our
// cells of the same method; one of MeZO also beside our resident ones. Ours for nvml_step_peak_bytes in a forecast is
// nvml_projected_bytes.
std::vector<BesideFigure> figures_beside(const std::vector<Record>& records,
                                         const std::vector<ReferenceFigure>& figures);

}  // namespace zo2
