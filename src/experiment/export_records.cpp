#include "experiment/export_records.h"

#include <algorithm>

#include "base/error.h"
#include "experiment/comparable.h"
#include "experiment/config_schema.h"
#include "experiment/metrics.h"

namespace zo2 {
namespace {

std::string text_of(const Json& value) { return value.is_null() ? "" : json_text(value); }

std::string origin_of(const Record& record) {
  if (!record.system().empty()) return record.system();
  return record.state == State::projected ? "projected" : "measured";
}

// null when the record does not have it.
Json metric_of(const Record& record, const Metric& metric) {
  return record.result.value("metrics", Json::object()).value(std::string(metric.name), Json());
}

}  // namespace

Table export_table(const std::vector<Record>& records) {
  Table table{.title = "Records",
              .columns = {"origin", "cell", "config_hash", "repeat", "state", "processor", "git_commit"},
              .rows = {},
              .notes = {}};
  for (const Record& record : records) {
    table.rows.push_back({origin_of(record), record.request.slug, record.request.config_hash,
                          fmt::format("{}", record.request.repeat), std::string(state_name(record.state)),
                          subject_of(record).processor, text_of(record.environment.value("git_commit", Json()))});
  }
  const auto add_column = [&](std::string name, const auto& value_of) {
    table.columns.push_back(std::move(name));
    for (size_t i = 0; i < records.size(); ++i) table.rows[i].push_back(text_of(value_of(records[i])));
  };
  for (const KeySpec& spec : config_schema()) {
    const auto value_of = [&](const Record& record) -> const Json& {
      return config_at(record.request.config, spec.key);
    };
    const bool varies =
        std::ranges::any_of(records, [&](const Record& record) { return value_of(record) != value_of(records[0]); });
    if (varies) add_column(std::string(spec.key), value_of);
  }
  for (const Metric& metric : metric_table()) {
    const auto value_of = [&](const Record& record) { return metric_of(record, metric); };
    const bool any = std::ranges::any_of(records, [&](const Record& record) { return !value_of(record).is_null(); });
    const std::string unit = metric.unit.empty() ? "" : fmt::format(" [{}]", metric.unit);
    if (any) add_column(std::string(metric.name) + unit, value_of);
  }
  return table;
}

}  // namespace zo2
