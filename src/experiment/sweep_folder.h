// The folder that `zo2 run --out` writes: who may write into it, where each repeat lies, and how a new record takes the
// place of an old one. record.h describes the files.
//
//   DIR/.lock                          held by the runner; by several when each runs a shard
//   DIR/cells/<slug>-<hash8>/.lock-r<k>  held by whoever runs this repeat
//   DIR/cells/<slug>-<hash8>/new-r<k>  the repeat while it runs; renamed to r<k> once its record is complete
//   DIR/cells/<slug>-<hash8>/old-r<k>  the record that is being replaced, for the moment of renaming
// A process may die at any time: the next one to run the repeat puts an old record back, or throws a half one away.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "experiment/manifest.h"

namespace zo2 {

// One repeat, locked against other runners for as long as this lives.
class RepeatFolder {
 public:
  // Waits for the lock (`waiting`: see file_lock.h) and mends what a dead runner left; nullopt when the wait was ended.
  static std::optional<RepeatFolder> lock(const std::filesystem::path& cell_folder, int repeat,
                                          const std::function<bool()>& waiting);

  const std::filesystem::path& record() const { return record_; }    // r<k>: a complete record, or not there
  const std::filesystem::path& attempt() const { return attempt_; }  // new-r<k>
  void begin() const;                                                // makes the attempt's folder, empty
  void accept() const;                                               // the attempt becomes the record
  void discard() const;                                              // the attempt is thrown away

 private:
  RepeatFolder(File lock, const std::filesystem::path& cell_folder, int repeat);
  void mend() const;

  File lock_;
  std::filesystem::path record_, attempt_, replaced_;
};

class SweepFolder {
 public:
  // Locks DIR and writes experiment.json. With `shared` other runners may be there at the same time, as long as they
  // run the same experiment. Throws IoError when it is in use, or cannot be written.
  SweepFolder(std::filesystem::path dir, const Experiment& experiment, bool shared);

  // A cell keeps its folder when its slug changes.
  const std::filesystem::path& cell_folder(const Cell& cell) const { return cells_.at(cell.config_hash); }

 private:
  void lock_alone(const Json& experiment);
  void lock_with_others(const Json& experiment);
  void write_experiment(const Json& experiment) const;

  std::filesystem::path dir_;
  std::optional<File> lock_;
  std::map<std::string, std::filesystem::path> cells_;  // by config hash
};

// The folders of the cells under DIR/cells, by config hash, as far as a repeat in them says which it is. Empty when
// there is no such folder.
std::map<std::string, std::filesystem::path> cell_folders(const std::filesystem::path& dir);

std::filesystem::path record_path(const std::filesystem::path& cell_folder, int repeat);   // r<k>
std::filesystem::path attempt_path(const std::filesystem::path& cell_folder, int repeat);  // new-r<k>
// Whether this repeat runs, or a runner that died has left something for RepeatFolder::lock() to mend.
bool is_untidy(const std::filesystem::path& cell_folder, int repeat);
// Whether some process runs this repeat now.
bool is_running(const std::filesystem::path& cell_folder, int repeat);

}  // namespace zo2
