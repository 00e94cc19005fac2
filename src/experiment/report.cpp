#include "experiment/report.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "experiment/config_schema.h"

namespace zo2 {
namespace {

const std::string& method_of(const Record& record) {
  return config_at(record.request.config, "method.name").get_ref<const std::string&>();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<MeasuredCell> measured_cells(const std::vector<Record>& records) {
  std::vector<MeasuredCell> cells;
  std::map<std::string, size_t> by_hash;
  for (size_t i = 0; i < records.size(); ++i) {
    const Record& record = records[i];
    if (record.state == State::projected) continue;
    const auto [found, fresh] = by_hash.emplace(record.request.config_hash, cells.size());
    if (fresh) cells.push_back({.first = i, .repeats = {}, .tokens_per_s = {}, .median_tokens_per_s = {}});
    MeasuredCell& cell = cells[found->second];
    if (record.state == State::ok && records[cell.first].state != State::ok) cell.first = i;
    cell.repeats.push_back(i);
    const auto speed = record.metric("tokens_per_s");
    if (record.state == State::ok && speed) cell.tokens_per_s.push_back(*speed);
  }
  for (MeasuredCell& cell : cells) {
    if (!cell.tokens_per_s.empty()) cell.median_tokens_per_s = median(cell.tokens_per_s);
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

bool same_shape(const ReferenceFigure& figure, const Json& config) {
  const Json& tied = config_at(config, "model.tie_embeddings");
  return config_at(config, "model.name") == figure.model && config_at(config, "engine.dtype") == figure.dtype &&
         config_at(config, "data.batch") == figure.batch && config_at(config, "data.seq") == figure.seq &&
         (tied.is_null() || tied.get<bool>()) == figure.tie_embeddings;
}

std::vector<ProjectedCell> projected_cells(const std::vector<Record>& records,
                                           const std::vector<ReferenceFigure>& figures) {
  std::vector<ProjectedCell> cells;
  for (size_t i = 0; i < records.size(); ++i) {
    if (records[i].state != State::projected) continue;
    ProjectedCell cell;
    cell.record = i;
    for (const ReferenceFigure& figure : figures) {
      if (figure.system != "python-zo2" || !same_shape(figure, records[i].request.config)) continue;
      const bool memory = figure.metric == "nvml_step_peak_bytes";
      if (memory && figure.origin == "published") cell.published_memory = figure;
      if (memory && figure.origin == "measured") cell.measured_memory = figure;
      if (figure.metric == "tokens_per_s" && figure.origin == "measured") cell.measured_speed = figure;
    }
    const auto ours = records[i].metric("nvml_projected_bytes");
    if (cell.published_memory && ours && *ours > 0) {
      const auto bytes = cell.published_memory->bytes();
      if (bytes) {
        cell.ratio_least = bytes->least / *ours;
        cell.ratio_most = bytes->most / *ours;
      }
    }
    cells.push_back(std::move(cell));
  }
  return cells;
}

}  // namespace

Report build_report(const std::filesystem::path& dir, const std::vector<ReferenceFigure>& figures, bool all) {
  Report report;
  report.records = read_records(dir);
  std::vector<Expectation> expectations;
  if (std::filesystem::exists(dir / "experiment.json")) {
    const Json experiment = read_json(dir / "experiment.json");
    report.name = experiment.value("name", "");
    expectations = expectations_from_json(experiment);
    std::set<std::string> current;
    for (const Json& cell : experiment.value("cells", Json::array())) current.insert(cell.value("config_hash", ""));
    if (!all && !current.empty()) {
      report.older_records = std::erase_if(
          report.records, [&](const Record& record) { return !current.contains(record.request.config_hash); });
    }
  }
  ZO2_CHECK(!report.records.empty(), IoError, "{} holds no ended repeat yet", dir.string());
  if (report.name.empty()) report.name = report.records[0].request.experiment;
  report.expectations = check_expectations(report.records, expectations);
  report.measured = measured_cells(report.records);
  report.equality = check_equality(report.records);
  report.ratios = speed_ratios(report.records, report.measured);
  report.projected = projected_cells(report.records, figures);
  return report;
}

Json to_json(const Report& report) {
  const auto optional = [](const auto& value) { return value ? Json(*value) : Json(nullptr); };
  Json json{{"schema", 1}, {"name", report.name}, {"older_records", report.older_records}};
  json["measured"] = Json::array();
  for (const MeasuredCell& cell : report.measured) {
    const Record& record = report.records[cell.first];
    Json states = Json::array();
    for (size_t index : cell.repeats) states.push_back(state_name(report.records[index].state));
    json["measured"].push_back({{"cell", record.request.slug},
                                {"config_hash", record.request.config_hash},
                                {"config", record.request.config},
                                {"states", std::move(states)},
                                {"tokens_per_s", cell.tokens_per_s},
                                {"metrics", record.result.value("metrics", Json::object())},
                                {"chosen", record.result.value("chosen", Json::object())},
                                {"warnings", record.result.value("warnings", Json::array())}});
  }
  json["equality"] = Json::array();
  for (const EqualityVerdict& verdict : report.equality) {
    json["equality"].push_back({{"left", verdict.left},
                                {"right", verdict.right},
                                {"verdict", verdict_name(verdict.verdict)},
                                {"reason", verdict.reason},
                                {"steps", verdict.steps}});
  }
  json["ratios"] = Json::array();
  for (const SpeedRatio& ratio : report.ratios) {
    json["ratios"].push_back({{"methods", ratio.methods},
                              {"metric", "tokens_per_s"},
                              {"numerator", ratio.numerator},
                              {"denominator", ratio.denominator},
                              {"value", ratio.value}});
  }
  json["projected"] = Json::array();
  for (const ProjectedCell& cell : report.projected) {
    const Record& record = report.records[cell.record];
    Json entry{{"cell", record.request.slug},
               {"config_hash", record.request.config_hash},
               {"model", config_at(record.request.config, "model.name")},
               {"metrics", record.result.value("metrics", Json::object())},
               {"ratio_least", optional(cell.ratio_least)},
               {"ratio_most", optional(cell.ratio_most)}};
    const auto add = [&](const char* name, const std::optional<ReferenceFigure>& figure) {
      if (!figure) return;
      entry[name] = {{"value", figure->value}, {"unit", figure->unit}, {"source", figure->source}};
    };
    add("published_memory", cell.published_memory);
    add("measured_memory", cell.measured_memory);
    add("measured_speed", cell.measured_speed);
    json["projected"].push_back(std::move(entry));
  }
  json["expectations"] = Json::array();
  for (const ExpectationVerdict& verdict : report.expectations) {
    json["expectations"].push_back({{"cell", verdict.slug},
                                    {"metric", verdict.expectation.metric},
                                    {"at_most", optional(verdict.expectation.at_most)},
                                    {"at_least", optional(verdict.expectation.at_least)},
                                    {"value", optional(verdict.value)},
                                    {"verdict", verdict_name(verdict.verdict)},
                                    {"source", verdict.expectation.source}});
  }
  return json;
}

}  // namespace zo2
