#include "experiment/beside.h"

#include <algorithm>

#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/statistics.h"

namespace zo2 {
namespace {

struct OurCell {
  size_t first;
  std::vector<const Record*> repeats;
  Subject subject;
};

std::vector<OurCell> our_cells(const std::vector<Record>& records) {
  std::vector<OurCell> cells;
  for (const std::vector<size_t>& repeats : by_cell(records)) {
    const auto first = std::ranges::find_if(repeats, [&](size_t i) { return has_figures(records[i].state); });
    if (first == repeats.end()) continue;
    OurCell cell{*first, {}, subject_of(records[*first])};
    for (size_t i : repeats) {
      if (has_figures(records[i].state)) cell.repeats.push_back(&records[i]);
    }
    cells.push_back(std::move(cell));
  }
  return cells;
}

bool rivals(const ReferenceFigure& figure, const Record& ours) {
  const Json& method = config_at(ours.request.config, "method.name");
  return method == figure.method || (figure.method == "mezo" && method == "resident");
}

// Fills in ours; says why there is none that counts.
void add_ours(const OurCell& cell, BesideFigure& beside) {
  beside.projected = cell.repeats[0]->state == State::projected;
  const bool forecast_memory = beside.projected && beside.metric->name == "nvml_step_peak_bytes";
  const Metric& metric = forecast_memory ? *find_metric("nvml_projected_bytes") : *beside.metric;
  std::vector<double> counting;
  std::optional<double> first;
  for (const Record* record : cell.repeats) {
    const auto value = record->metric(metric.name);
    if (!value) continue;
    if (!first) first = value;
    const std::string reason = spoiled(*record, metric);
    if (reason.empty()) {
      counting.push_back(*value);
    } else {
      beside.reason = reason;
    }
  }
  if (!counting.empty()) {
    beside.ours = median(std::move(counting));
    beside.reason.clear();
  } else {
    beside.ours = first;
  }
  if (beside.projected && metric.depends == Depends::speed) beside.reason = "ours is a forecast";
}

void add_factor(const Subject& ours, BesideFigure& beside) {
  if (beside.reason.empty()) beside.reason = difference(ours, subject_of(beside.theirs), *beside.metric);
  if (beside.metric->depends == Depends::loss) beside.reason = "a loss or a score is not judged by a factor";
  if (beside.metric->better == Better::neither) beside.reason = "no direction of it is better";
  if (*beside.ours <= 0) beside.reason = "ours is not above 0";
  if (!beside.reason.empty()) return;
  const auto [least, most] = beside.theirs.readings();
  const bool higher = beside.metric->better == Better::higher;
  beside.least = higher ? *beside.ours / most : least / *beside.ours;
  beside.most = higher ? *beside.ours / least : most / *beside.ours;
}

}  // namespace

std::string standing(const BesideFigure& figure) {
  if (!figure.least) return "NOT-COMPARABLE";
  if (*figure.least == 1) return "equal";
  return *figure.least > 1 ? "better" : "worse";
}

std::vector<BesideFigure> figures_beside(const std::vector<Record>& records,
                                         const std::vector<ReferenceFigure>& figures) {
  const std::vector<OurCell> cells = our_cells(records);
  std::vector<const Metric*> metrics;
  for (const ReferenceFigure& figure : figures) {
    const Metric* metric = find_metric(figure.metric);
    ZO2_ASSERT(metric != nullptr);
    if (std::ranges::find(metrics, metric) == metrics.end()) metrics.push_back(metric);
  }
  std::vector<BesideFigure> list;
  for (const Metric* metric : metrics) {
    for (const OurCell& cell : cells) {
      for (const ReferenceFigure& figure : figures) {
        if (figure.metric != metric->name || !rivals(figure, records[cell.first]) ||
            !same_shape(subject_of(figure), cell.subject)) {
          continue;
        }
        BesideFigure beside;
        beside.record = cell.first;
        beside.metric = metric;
        beside.theirs = figure;
        add_ours(cell, beside);
        if (!beside.ours) continue;
        add_factor(cell.subject, beside);
        list.push_back(std::move(beside));
      }
    }
  }
  return list;
}

}  // namespace zo2
