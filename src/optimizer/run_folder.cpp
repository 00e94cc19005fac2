#include "optimizer/run_folder.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "runtime/replay.h"
#include "store/snapshot.h"

namespace zo2 {
namespace {

constexpr int kKeepSnapshots = 2;
constexpr const char* kBestFile = "best.json";

StepLogWriter open_log(const std::filesystem::path& folder, const StepLogHeader& header) {
  make_folder(folder);
  const std::filesystem::path path = folder / kStepLogFile;
  return std::filesystem::exists(path) ? StepLogWriter::open(path, header) : StepLogWriter::create(path, header);
}

}  // namespace

std::optional<BestEvaluation> read_best(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kBestFile;
  if (!std::filesystem::exists(path)) return std::nullopt;
  const Json json = read_json(path);
  try {
    return BestEvaluation{json.at("step").get<int64_t>(), number_from_json(json.at("loss"))};
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

RunFolder::RunFolder(std::filesystem::path folder, const StepLogHeader& header, const std::vector<CommitRule>& commits,
                     const ExecutorSettings& settings, HostWeights& weights)
    : folder_(std::move(folder)), log_(open_log(folder_, header)) {
  StepLog log = read_step_log(folder_ / kStepLogFile);
  next_step_ = log.next_step();
  // A step whose pairs are not all there is run again.
  log_.truncate_to(next_step_);
  log.entries.resize(static_cast<size_t>(next_step_ * header.pairs));
  entries_ = std::move(log.entries);
  int64_t from = 0;
  if (const auto snapshot = newest_snapshot(folder_)) {
    ZO2_CHECK(
        snapshot->next_step <= next_step_, UsageError,
        "{} is of step {}, but the log ends at step {}: part of the log is lost; remove that snapshot to go on from "
        "an older one",
        snapshot->folder.string(), snapshot->next_step, next_step_);
    load_snapshot(*snapshot, weights);
    from = snapshot->next_step;
  }
  replay_commits(weights, commits, settings, entries_, header.pairs, from, next_step_);
}

std::optional<BestEvaluation> RunFolder::best() const {
  const std::optional<BestEvaluation> best = read_best(folder_);
  return best && best->step <= next_step_ ? best : std::nullopt;
}

void RunFolder::write_best(const BestEvaluation& best) {
  log_.sync();
  const Json json{{"step", best.step}, {"loss", json_number(best.loss)}};
  write_file_atomically(folder_ / kBestFile, json.dump() + "\n");
}

void RunFolder::write_snapshot(int64_t next_step, const HostWeights& weights) {
  log_.sync();
  zo2::write_snapshot(folder_, next_step, weights);
  prune_snapshots(folder_, kKeepSnapshots);
}

}  // namespace zo2
