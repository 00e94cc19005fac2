#include "experiment/record_folder.h"

#include <limits>
#include <set>

#include "base/error.h"

namespace zo2 {

RecordFolder read_record_folder(const std::filesystem::path& dir, bool all) {
  RecordFolder folder;
  folder.records = read_records(dir);
  if (std::filesystem::exists(dir / "experiment.json")) {
    const Json experiment = read_json(dir / "experiment.json");
    folder.name = experiment.value("name", "");
    folder.expectations = expectations_from_json(experiment);
    folder.run_arguments = run_arguments_from_json(experiment);
    std::set<std::string> recorded;
    for (const Record& record : folder.records) recorded.insert(record.request.config_hash);
    std::set<std::string> current;
    std::set<std::string> excluded;
    for (const Json& cell : experiment.value("cells", Json::array())) {
      const auto hash = cell.value("config_hash", "");
      (cell.contains("skipped") ? excluded : current).insert(hash);
      if (!recorded.contains(hash)) folder.not_run.push_back(cell.value("slug", hash));
    }
    const int repeats = experiment.value("repeats", std::numeric_limits<int>::max());
    const auto is_older = [&](const Record& record) {
      const std::string& hash = record.request.config_hash;
      if (excluded.contains(hash)) return record.state != State::skipped;
      return !current.contains(hash) || record.request.repeat >= repeats;
    };
    if (!all && !(current.empty() && excluded.empty())) folder.older_records = std::erase_if(folder.records, is_older);
  }
  ZO2_CHECK(!folder.records.empty(), IoError, "{} holds no ended repeat yet", dir.string());
  if (folder.name.empty()) folder.name = folder.records[0].request.experiment;
  return folder;
}

}  // namespace zo2
