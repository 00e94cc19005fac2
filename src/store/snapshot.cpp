#include "store/snapshot.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "store/checkpoint_writer.h"
#include "store/parallel.h"
#include "store/safetensors.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr int kSnapshotVersion = 1;
constexpr std::string_view kPrefix = "snapshot-";
constexpr std::string_view kAside = ".tmp";
constexpr const char* kWeightsName = "weights.safetensors";
constexpr const char* kInfoName = "snapshot.json";

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ZO2_CHECK(descriptor >= 0, IoError, "cannot open {}: {}", folder.string(), std::strerror(errno));
  const int result = ::fsync(descriptor);
  ::close(descriptor);
  ZO2_CHECK(result == 0, IoError, "cannot sync {}: {}", folder.string(), std::strerror(errno));
}

void remove_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  ZO2_CHECK(!error, IoError, "cannot remove {}: {}", folder.string(), error.message());
}

fs::path replaced_name(const fs::path& folder) { return folder.string() + ".old" + std::string(kAside); }

// A folder with a final name is whole to readers, so it loses that name before it loses a file.
void remove_snapshot(const fs::path& folder) {
  const fs::path aside = replaced_name(folder);
  remove_folder(aside);
  rename_durably(folder, aside);
  remove_folder(aside);
}

// The step in "snapshot-00000040", or -1.
int64_t step_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return -1;
  const char* begin = name.data() + kPrefix.size();
  const char* end = name.data() + name.size();
  int64_t step = -1;
  const auto [rest, code] = std::from_chars(begin, end, step);
  return code == std::errc() && rest == end && end - begin >= 8 ? step : -1;
}

struct Found {
  int64_t step;
  fs::path folder;
};

// Folders with a final name, newest first; and whatever else begins with snapshot- and ends in .tmp.
std::vector<Found> list(const fs::path& run, std::vector<fs::path>* leftovers = nullptr) {
  std::vector<Found> found;
  std::error_code error;
  for (fs::directory_iterator entry(run, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (!name.starts_with(kPrefix) || !entry->is_directory(ignored)) continue;
    if (const int64_t step = step_of(name); step >= 0) found.push_back({step, entry->path()});
    if (leftovers != nullptr && name.ends_with(kAside)) leftovers->push_back(entry->path());
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.step > b.step; });
  return found;
}

// Throws Error or Json::exception when it cannot be used.
SnapshotInfo read_info(const Found& found) {
  const Json json = read_json(found.folder / kInfoName);
  ZO2_CHECK(json.at("version").get<int>() == kSnapshotVersion, UsageError, "version {}", json.at("version").dump());
  SnapshotInfo info;
  info.folder = found.folder;
  info.next_step = json.at("next_step").get<int64_t>();
  info.dtype = parse_dtype(json.at("dtype").get<std::string>());
  info.parameter_table_hash = json.at("parameter_table_hash").get<std::string>();
  info.weights_hash = json.at("weights_hash").get<std::string>();
  ZO2_CHECK(info.next_step == found.step, UsageError, "its next_step is {}", info.next_step);
  ZO2_CHECK(fs::is_regular_file(found.folder / kWeightsName), UsageError, "{} is missing", kWeightsName);
  return info;
}

std::optional<SnapshotInfo> usable(const Found& found) {
  try {
    return read_info(found);
  } catch (const std::exception& error) {
    spdlog::warn("snapshot {} is passed over: {}", found.folder.string(), error.what());
    return std::nullopt;
  }
}

void write_weights(const fs::path& file, const HostWeights& weights) {
  std::vector<TensorSpec> specs;
  for (const Weight& weight : weights.table().weights) {
    specs.push_back({weight.name, weights.dtype(), {weight.rows, weight.cols}});
  }
  write_safetensors(file, specs, [&](size_t index, int64_t first_byte, std::span<std::byte> out) {
    std::memcpy(out.data(), weights.data(static_cast<int>(index)) + first_byte, out.size());
  });
}

}  // namespace

SnapshotInfo write_snapshot(const fs::path& run, int64_t next_step, const HostWeights& weights) {
  SnapshotInfo info;
  info.folder = run / fmt::format("{}{:08}", kPrefix, next_step);
  info.next_step = next_step;
  info.dtype = weights.dtype();
  info.parameter_table_hash = parameter_table_hash(weights.table());
  info.weights_hash = weights_hash(weights);
  const Json json{{"version", kSnapshotVersion},
                  {"next_step", next_step},
                  {"dtype", dtype_name(info.dtype)},
                  {"parameter_table_hash", info.parameter_table_hash},
                  {"weights_hash", info.weights_hash}};

  const fs::path aside = info.folder.string() + std::string(kAside);
  remove_folder(aside);
  std::error_code error;
  fs::create_directories(aside, error);
  ZO2_CHECK(!error, IoError, "cannot create folder {}: {}", aside.string(), error.message());
  try {
    write_weights(aside / kWeightsName, weights);
    write_file_atomically(aside / kInfoName, json.dump(2) + "\n");
    sync_folder(aside);
  } catch (...) {
    fs::remove_all(aside, error);
    throw;
  }
  // A folder cannot be renamed over another that has files.
  const fs::path replaced = replaced_name(info.folder);
  remove_folder(replaced);
  if (fs::exists(info.folder, error)) rename_durably(info.folder, replaced);
  rename_durably(aside, info.folder);
  remove_folder(replaced);
  return info;
}

std::optional<SnapshotInfo> newest_snapshot(const fs::path& run, int64_t last_step) {
  for (const Found& found : list(run)) {
    if (found.step > last_step) continue;
    if (auto info = usable(found)) return info;
  }
  return std::nullopt;
}

void load_snapshot(const SnapshotInfo& snapshot, HostWeights& weights) {
  const std::string where = snapshot.folder.string();
  ZO2_CHECK(snapshot.dtype == weights.dtype(), UsageError, "snapshot {} is in {}, this run in {}", where,
            dtype_name(snapshot.dtype), dtype_name(weights.dtype()));
  ZO2_CHECK(snapshot.parameter_table_hash == parameter_table_hash(weights.table()), UsageError,
            "snapshot {} is of another model: its parameters are not those of this run", where);
  const Checkpoint file = Checkpoint::open(snapshot.folder / kWeightsName);
  std::vector<const TensorView*> views;
  for (const Weight& weight : weights.table().weights) {
    const TensorView* view = file.find(weight.name);
    ZO2_CHECK(view != nullptr, UsageError, "snapshot {}: no weight '{}'", where, weight.name);
    ZO2_CHECK(view->dtype == weights.dtype() && view->shape == std::vector<int64_t>({weight.rows, weight.cols}),
              UsageError, "snapshot {}: weight '{}' has shape {} in {}, expected [{}, {}]", where, weight.name,
              format_shape(view->shape), dtype_name(view->dtype), weight.rows, weight.cols);
    views.push_back(view);
  }
  parallel_for(std::min(4, hardware_threads()), weights.count(), [&](int64_t i) {
    const TensorView& view = *views[static_cast<size_t>(i)];
    if (view.bytes > 0) std::memcpy(weights.data(static_cast<int>(i)), view.data, static_cast<size_t>(view.bytes));
  });
  ZO2_CHECK(weights_hash(weights) == snapshot.weights_hash, UsageError,
            "snapshot {} is damaged: its weights do not have the hash that {} says", where, kInfoName);
}

void prune_snapshots(const fs::path& run, int keep) {
  std::vector<fs::path> leftovers;
  int kept = 0;
  for (const Found& found : list(run, &leftovers)) {
    // An unusable one does not count towards `keep`, and is of no use to anyone.
    if (kept < keep && usable(found)) {
      ++kept;
    } else {
      remove_snapshot(found.folder);
    }
  }
  for (const fs::path& leftover : leftovers) remove_folder(leftover);
}

}  // namespace zo2
