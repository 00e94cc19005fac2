// What a folder of `zo2 run` holds, as every command that reads one sees it: the records of its last run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiment/manifest.h"
#include "experiment/record.h"

namespace zo2 {

struct RecordFolder {
  std::string name;  // the experiment's
  std::vector<Record> records;
  size_t older_records = 0;          // left out: see below
  std::vector<std::string> not_run;  // slugs of the last run's cells that have no record yet
  std::vector<Expectation> expectations;
  std::vector<std::string> run_arguments;  // of the `zo2 run` that made it, but for --out; empty where not recorded
};

// Unless `all`, records are left out that DIR's last run did not ask for: of cells that it did not have (another
// variant, another -S) or excluded, and of repeats beyond its number.
// Throws IoError when no record is left.
RecordFolder read_record_folder(const std::filesystem::path& dir, bool all = false);

}  // namespace zo2
