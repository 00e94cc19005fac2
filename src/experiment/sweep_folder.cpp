#include "experiment/sweep_folder.h"

#include <chrono>
#include <thread>

#include "base/error.h"
#include "experiment/file_lock.h"
#include "experiment/record.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

void remove_folder(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  ZO2_CHECK(!error, IoError, "cannot remove {}: {}", folder.string(), error.message());
}

fs::path replaced_path(const fs::path& cell_folder, int repeat) { return cell_folder / fmt::format("old-r{}", repeat); }
fs::path lock_path(const fs::path& cell_folder, int repeat) { return cell_folder / fmt::format(".lock-r{}", repeat); }

bool holds(const fs::path& path, const Json& json) {
  try {
    return fs::exists(path) && read_json(path) == json;
  } catch (const Error&) {  // torn or foreign: to be replaced
    return false;
  }
}

}  // namespace

std::optional<RepeatFolder> RepeatFolder::lock(const fs::path& cell_folder, int repeat,
                                               const std::function<bool()>& waiting) {
  make_folder(cell_folder);
  std::optional<File> file = wait_for_lock(lock_path(cell_folder, repeat), waiting);
  if (!file) return std::nullopt;
  RepeatFolder folder(std::move(*file), cell_folder, repeat);
  folder.mend();
  return folder;
}

RepeatFolder::RepeatFolder(File lock, const fs::path& cell_folder, int repeat)
    : lock_(std::move(lock)),
      record_(record_path(cell_folder, repeat)),
      attempt_(attempt_path(cell_folder, repeat)),
      replaced_(replaced_path(cell_folder, repeat)) {}

void RepeatFolder::mend() const {
  if (fs::exists(replaced_) && !fs::exists(record_)) rename_durably(replaced_, record_);
  remove_folder(replaced_);
  remove_folder(attempt_);
}

void RepeatFolder::begin() const {
  remove_folder(attempt_);
  make_folder(attempt_);
}

void RepeatFolder::accept() const {
  if (fs::exists(record_)) rename_durably(record_, replaced_);
  rename_durably(attempt_, record_);
  remove_folder(replaced_);
}

void RepeatFolder::discard() const { remove_folder(attempt_); }

SweepFolder::SweepFolder(fs::path dir, const Experiment& experiment, bool shared) : dir_(std::move(dir)) {
  make_folder(dir_ / "cells");
  if (shared) {
    lock_with_others(to_json(experiment));
  } else {
    lock_alone(to_json(experiment));
  }
  cells_ = cell_folders(dir_);
  for (const Cell& cell : experiment.cells) cells_.emplace(cell.config_hash, dir_ / "cells" / cell.folder_name());
}

void SweepFolder::write_experiment(const Json& experiment) const {
  if (holds(dir_ / "experiment.json", experiment)) return;
  write_file_atomically(dir_ / "experiment.json", experiment.dump(2) + "\n");
}

void SweepFolder::lock_alone(const Json& experiment) {
  lock_ = try_lock(dir_ / ".lock", LockKind::exclusive);
  ZO2_CHECK(lock_, IoError, "another run is using {}: wait for it, choose another --out, or give each a --shard",
            dir_.string());
  write_experiment(experiment);
}

void SweepFolder::lock_with_others(const Json& experiment) {
  // experiment.json changes only while nobody else holds the lock; who starts at the same time tries again.
  for (int attempt = 0; attempt < 100; ++attempt) {
    lock_ = try_lock(dir_ / ".lock", LockKind::shared);
    if (lock_ && holds(dir_ / "experiment.json", experiment)) return;
    lock_.reset();
    if (const auto alone = try_lock(dir_ / ".lock", LockKind::exclusive)) {
      write_experiment(experiment);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  throw IoError(fmt::format("another run with other cells or options is using {}: wait for it, or choose another --out",
                            dir_.string()));
}

std::map<std::string, fs::path> cell_folders(const fs::path& dir) {
  std::map<std::string, fs::path> folders;
  if (!fs::is_directory(dir / "cells")) return folders;
  for (const auto& cell : fs::directory_iterator(dir / "cells")) {
    if (!cell.is_directory()) continue;
    for (const auto& repeat : fs::directory_iterator(cell.path())) {
      if (!fs::exists(repeat.path() / "config.json")) continue;
      try {
        folders.emplace(read_cell_request(repeat.path()).config_hash, cell.path());
      } catch (const Error&) {  // a torn or foreign file: not a cell of ours
      }
      break;
    }
  }
  return folders;
}

fs::path attempt_path(const fs::path& cell_folder, int repeat) { return cell_folder / fmt::format("new-r{}", repeat); }
fs::path record_path(const fs::path& cell_folder, int repeat) { return cell_folder / fmt::format("r{}", repeat); }

bool is_untidy(const fs::path& cell_folder, int repeat) {
  return fs::exists(attempt_path(cell_folder, repeat)) || fs::exists(replaced_path(cell_folder, repeat));
}

bool is_running(const fs::path& cell_folder, int repeat) {
  const fs::path path = lock_path(cell_folder, repeat);
  return fs::exists(path) && !try_lock(path, LockKind::shared);
}

}  // namespace zo2
