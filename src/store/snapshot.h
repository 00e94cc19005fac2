// Snapshots: the committed bases of every weight at a step boundary, so that a resumed run need not replay its whole
// log.
//
//   RUN/snapshot-00000040/weights.safetensors   one tensor [rows, cols] a weight, under the weight's name
//   RUN/snapshot-00000040/snapshot.json         version, next_step, dtype, parameter_table_hash, weights_hash
//
// Written as snapshot-00000040.tmp/ and renamed when all of it is on disk; removed by renaming to .tmp first. So a
// folder with a final name is whole, and a kill at any point leaves the snapshots before it usable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>

#include "base/dtype.h"
#include "store/host_weights.h"

namespace zo2 {

struct SnapshotInfo {
  std::filesystem::path folder;
  int64_t next_step = 0;  // the first step that the weights have not seen, by the commit schedule
  DType dtype = DType::f32;
  std::string parameter_table_hash;
  std::string weights_hash;
};

// The weights must not change meanwhile. Replaces a snapshot of the same step. Throws IoError (disk full, folder not
// writable) and then leaves no snapshot of this step that was not there before.
SnapshotInfo write_snapshot(const std::filesystem::path& run, int64_t next_step, const HostWeights& weights);

// The one with the largest next_step up to `last_step`; unfinished and unreadable ones are passed over. None when the
// folder is absent.
std::optional<SnapshotInfo> newest_snapshot(const std::filesystem::path& run,
                                            int64_t last_step = std::numeric_limits<int64_t>::max());

// Throws UsageError when the snapshot is of another table or dtype, or its weights do not have its hash.
void load_snapshot(const SnapshotInfo& snapshot, HostWeights& weights);

// Removes all but the newest `keep` snapshots, and what unfinished ones left behind.
void prune_snapshots(const std::filesystem::path& run, int keep);

}  // namespace zo2
