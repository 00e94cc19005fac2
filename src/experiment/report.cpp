#include "experiment/report.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/import.h"
#include "experiment/record_folder.h"
#include "experiment/statistics.h"

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
      const auto speed = counting_figure(record, *find_metric("tokens_per_s"));
      if (speed) cell.tokens_per_s.push_back(*speed);
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

std::vector<State> states_of(const Report& report, const MeasuredCell& cell) {
  std::vector<State> states;
  for (const size_t i : cell.repeats) states.push_back(report.records[i].state);
  return states;
}

// Those of which no repeat got to its end because of an interruption alone, or else for another reason too. That a cell
// does not fit the memory is what it was run to find out.
std::vector<std::string> cells_without_figures(const Report& report, bool interrupted) {
  std::vector<std::string> cells;
  for (const MeasuredCell& cell : report.measured) {
    const std::vector<State> states = states_of(report, cell);
    const auto is_broken = [](State state) { return is_failure(state) && state != State::oom; };
    if (std::ranges::any_of(states, has_figures) || std::ranges::none_of(states, is_broken)) continue;
    const bool alone = std::ranges::all_of(states, [](State state) { return state == State::interrupted; });
    if (alone != interrupted) continue;
    cells.push_back(fmt::format("{} ({})", report.records[cell.first].request.slug, state_counts(states)));
  }
  return cells;
}

std::vector<std::string> remarks_of(const Record& record) {
  std::vector<std::string> texts;
  for (const char* name : {"error", "reason"}) {
    if (record.result.contains(name)) {
      texts.push_back(fmt::format("{}: {}", state_name(record.state), record.result[name].get<std::string>()));
    }
  }
  if (record.state == State::throttled) texts.emplace_back("throttled: its speed is in no verdict");
  for (const Json& warning : record.result.value("warnings", Json::array())) {
    texts.push_back("warning: " + warning.get<std::string>());
  }
  return texts;
}

}  // namespace

std::string state_text(const Report& report, const MeasuredCell& cell) {
  const std::vector<State> states = states_of(report, cell);
  const bool one = std::ranges::all_of(states, [&](State state) { return state == states[0]; });
  return one ? std::string(state_name(states[0])) : state_counts(states);
}

std::optional<double> median_figure(const Report& report, const MeasuredCell& cell, std::string_view metric) {
  std::vector<double> values;
  for (const size_t i : cell.repeats) {
    if (const auto value = counting_figure(report.records[i], *find_metric(metric))) values.push_back(*value);
  }
  return values.empty() ? std::nullopt : std::optional(median(std::move(values)));
}

std::vector<Remark> remarks(const Report& report, const MeasuredCell& cell) {
  std::vector<Remark> list;
  for (const size_t i : cell.repeats) {
    const Record& record = report.records[i];
    for (std::string& text : remarks_of(record)) {
      auto found = std::ranges::find(list, text, &Remark::text);
      if (found == list.end()) found = list.insert(list.end(), Remark{.repeats = {}, .text = std::move(text)});
      found->repeats.push_back(record.request.repeat);
    }
  }
  for (Remark& remark : list) {
    if (remark.repeats.size() == cell.repeats.size()) remark.repeats.clear();
  }
  return list;
}

std::vector<std::string> failed_cells(const Report& report) { return cells_without_figures(report, false); }

std::vector<std::string> interrupted_cells(const Report& report) { return cells_without_figures(report, true); }

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
