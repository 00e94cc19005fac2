// JSON Schemas (draft 2020-12) of the files of a record (record.h), made from the tables that write and check them: the
// keys of the configuration (config_schema.h) and the metrics (metrics.h). schema/*.json and docs/reference are
// generated from these (reference_pages.h), so that none of them drifts.
#pragma once

#include <span>
#include <string_view>

#include "base/json.h"

namespace zo2 {

struct RecordFile {
  std::string_view name;    // of the file: "result.json"
  std::string_view title;   // what is in it, one line
  std::string_view schema;  // "result": schema/result.schema.json
  Json (*make_schema)();
};

// In the order in which a run writes them. The schema of samples.jsonl is that of one line.
std::span<const RecordFile> record_files();

}  // namespace zo2
