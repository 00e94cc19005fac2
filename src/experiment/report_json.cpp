// The report as JSON: `zo2 report --format json`, `zo2 check --json`. A measured cell's "metrics" are medians of the
// figures that count (comparable.h); "repeats" has every record's own.
#include <algorithm>
#include <cmath>

#include "experiment/config_schema.h"
#include "experiment/report.h"

namespace zo2 {
namespace {

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json measured_json(const Report& report, const MeasuredCell& cell) {
  const Record& record = report.records[cell.first];
  Json states = Json::array();
  Json repeats = Json::array();
  Json warnings = Json::array();
  for (const size_t index : cell.repeats) {
    const Record& one = report.records[index];
    states.push_back(state_name(one.state));
    Json entry{{"repeat", one.request.repeat}, {"state", state_name(one.state)}};
    for (const char* name : {"metrics", "warnings", "error", "reason"}) {
      if (one.result.contains(name)) entry[name] = one.result[name];
    }
    repeats.push_back(std::move(entry));
    for (const Json& warning : one.result.value("warnings", Json::array())) {
      if (std::ranges::find(warnings, warning) == warnings.end()) warnings.push_back(warning);
    }
  }
  Json medians = Json::object();
  for (const Metric& metric : metric_table()) {
    const auto value = median_figure(report, cell, metric.name);
    if (value)
      medians[std::string(metric.name)] = metric.unit == "bytes" ? Json(std::llround(*value)) : json_number(*value);
  }
  return {{"cell", record.request.slug},       {"config_hash", record.request.config_hash},
          {"config", record.request.config},   {"states", std::move(states)},
          {"tokens_per_s", cell.tokens_per_s}, {"median_tokens_per_s", or_null(cell.median_tokens_per_s)},
          {"metrics", std::move(medians)},     {"chosen", record.result.value("chosen", Json::object())},
          {"warnings", std::move(warnings)},   {"repeats", std::move(repeats)}};
}

Json beside_json(const Report& report, const BesideFigure& figure) {
  const Record& record = report.records[figure.record];
  const ReferenceFigure& theirs = figure.theirs;
  return {{"cell", record.request.slug},
          {"config_hash", record.request.config_hash},
          {"metric", figure.metric->name},
          {"ours", or_null(figure.ours)},
          {"projected", figure.projected},
          {"theirs",
           {{"system", theirs.system},
            {"origin", theirs.origin},
            {"value", theirs.value},
            {"unit", theirs.unit},
            {"gpu", theirs.gpu},
            {"link", theirs.link},
            {"commit", theirs.commit},
            {"source", theirs.source},
            {"how_read", theirs.how_read}}},
          {"times_better_least", or_null(figure.least)},
          {"times_better_most", or_null(figure.most)},
          {"verdict", standing(figure)},
          {"reason", figure.reason}};
}

}  // namespace

Json verdicts_json(const Report& report) {
  Json json{{"equality", Json::array()},
            {"expectations", Json::array()},
            {"not_run", report.not_run},
            {"failed", failed_cells(report)},
            {"interrupted", interrupted_cells(report)}};
  for (const EqualityVerdict& verdict : report.equality) {
    json["equality"].push_back({{"left", verdict.left},
                                {"right", verdict.right},
                                {"verdict", verdict_name(verdict.verdict)},
                                {"reason", verdict.reason},
                                {"steps", verdict.steps}});
  }
  for (const ExpectationVerdict& verdict : report.expectations) {
    json["expectations"].push_back({{"cell", verdict.slug},
                                    {"metric", verdict.expectation.metric},
                                    {"at_most", or_null(verdict.expectation.at_most)},
                                    {"at_least", or_null(verdict.expectation.at_least)},
                                    {"value", or_null(verdict.value)},
                                    {"verdict", verdict_name(verdict.verdict)},
                                    {"reason", verdict.reason},
                                    {"source", verdict.expectation.source}});
  }
  json["beside"] = Json::array();
  for (const BesideFigure& figure : report.beside) json["beside"].push_back(beside_json(report, figure));
  const VerdictCounts counts = count_verdicts(report.equality, report.expectations);
  for (Verdict verdict : {Verdict::pass, Verdict::fail, Verdict::not_comparable, Verdict::missing}) {
    json["counts"][std::string(verdict_name(verdict))] = counts.of(verdict);
  }
  return json;
}

Json to_json(const Report& report) {
  Json json = verdicts_json(report);
  json["schema"] = 1;
  json["name"] = report.name;
  json["older_records"] = report.older_records;
  json["measured"] = Json::array();
  for (const MeasuredCell& cell : report.measured) json["measured"].push_back(measured_json(report, cell));
  json["ratios"] = Json::array();
  for (const SpeedRatio& ratio : report.ratios) {
    json["ratios"].push_back({{"methods", ratio.methods},
                              {"metric", "tokens_per_s"},
                              {"numerator", ratio.numerator},
                              {"denominator", ratio.denominator},
                              {"value", ratio.value}});
  }
  json["projected"] = Json::array();
  for (size_t index : report.projected) {
    const Record& record = report.records[index];
    json["projected"].push_back({{"cell", record.request.slug},
                                 {"config_hash", record.request.config_hash},
                                 {"config", record.request.config},
                                 {"metrics", record.result.value("metrics", Json::object())},
                                 {"chosen", record.result.value("chosen", Json::object())}});
  }
  return json;
}

}  // namespace zo2
