#include "experiment/report.h"

#include <algorithm>

#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/import.h"
#include "experiment/record_folder.h"

namespace zo2 {
namespace {

const std::string& method_of(const Record& record) {
  return config_at(record.request.config, "method.name").get_ref<const std::string&>();
}

std::vector<MeasuredCell> measured_cells(const std::vector<Record>& records) {
  std::vector<MeasuredCell> cells;
  for (const std::vector<size_t>& repeats : by_cell(records)) {
    MeasuredCell cell;
    for (size_t i : repeats) {
      const Record& record = records[i];
      if (record.state == State::projected) continue;
      cell.repeats.push_back(i);
      const auto speed = has_figures(record.state) ? record.metric("tokens_per_s") : std::nullopt;
      if (speed && spoiled(record, *find_metric("tokens_per_s")).empty()) cell.tokens_per_s.push_back(*speed);
    }
    if (cell.repeats.empty()) continue;
    const auto good = std::ranges::find_if(cell.repeats, [&](size_t i) { return has_figures(records[i].state); });
    cell.first = good == cell.repeats.end() ? cell.repeats.front() : *good;
    if (!cell.tokens_per_s.empty()) cell.median_tokens_per_s = median(cell.tokens_per_s);
    cells.push_back(std::move(cell));
  }
  return cells;
}

std::vector<SpeedRatio> speed_ratios(const std::vector<Record>& records, const std::vector<MeasuredCell>& cells) {
  std::vector<SpeedRatio> ratios;
  for (const MeasuredCell& above : cells) {
    for (const MeasuredCell& below : cells) {
      const Record& a = records[above.first];
      const Record& b = records[below.first];
      const std::string methods = method_of(a) + "/" + method_of(b);
      const bool wanted = methods == "zo2/resident" || methods == "zo2/mezo" || methods == "resident/mezo";
      if (!wanted || !above.median_tokens_per_s || !below.median_tokens_per_s ||
          numeric_core(a.request.config) != numeric_core(b.request.config)) {
        continue;
      }
      ratios.push_back(
          {methods, a.request.slug, b.request.slug, *above.median_tokens_per_s / *below.median_tokens_per_s});
    }
  }
  return ratios;
}

}  // namespace

Report build_report(const std::filesystem::path& dir, const std::vector<ReferenceFigure>& figures, bool all) {
  RecordFolder folder = read_record_folder(dir, all);
  Report report;
  report.name = std::move(folder.name);
  report.records = std::move(folder.records);
  report.older_records = folder.older_records;
  report.not_run = std::move(folder.not_run);
  report.run_arguments = std::move(folder.run_arguments);
  report.expectations = check_expectations(report.records, folder.expectations);
  report.measured = measured_cells(report.records);
  report.equality = check_equality(report.records);
  report.ratios = speed_ratios(report.records, report.measured);
  for (size_t i = 0; i < report.records.size(); ++i) {
    if (report.records[i].state == State::projected) report.projected.push_back(i);
  }
  std::vector<ReferenceFigure> all_figures = figures;
  for (ReferenceFigure& figure : figures_of(read_imported_records(dir))) all_figures.push_back(std::move(figure));
  report.beside = figures_beside(report.records, all_figures);
  return report;
}

}  // namespace zo2
