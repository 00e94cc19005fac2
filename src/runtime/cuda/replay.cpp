// The step log applied on the device: whole weights, a piece at a time, each through all its commits by the visit
// kernel. Equal to the CPU's (runtime/replay.cpp) to the bit, since the visits are.
#include <algorithm>

#include "base/error.h"
#include "runtime/cuda/describe.h"
#include "runtime/cuda/resources.h"
#include "runtime/cuda/visit.h"
#include "runtime/replay.h"

namespace zo2 {
namespace {

constexpr int64_t kPiece = int64_t{1} << 25;  // elements on the device at once

// The log on the device; any run of at most kRingEntries entries of it is a ring that does not wrap.
class DeviceLog {
 public:
  DeviceLog(std::span<const LogEntry> entries, int pairs)
      : entries_(entries), pairs_(pairs), buffer_(cuda::to_device(converted(entries), "the step log")) {}

  cuda::PendingEntries between(int64_t first_step, int64_t end_step) const {
    const std::span<const LogEntry> found = entries_between(entries_, pairs_, first_step, end_step);
    if (found.empty()) return {};
    ZO2_ASSERT(found.size() <= cuda::kRingEntries);
    const auto* all = reinterpret_cast<const cuda::DeviceEntry*>(buffer_.data());
    return {all + (found.data() - entries_.data()), 0, static_cast<uint32_t>(found.size())};
  }

 private:
  static std::vector<cuda::DeviceEntry> converted(std::span<const LogEntry> entries) {
    std::vector<cuda::DeviceEntry> log;
    log.reserve(entries.size());
    for (const LogEntry& entry : entries) log.push_back(cuda::device_entry(entry));
    return log;
  }

  std::span<const LogEntry> entries_;
  int pairs_;
  cuda::DeviceBuffer buffer_;
};

}  // namespace

void replay_on_cuda(HostWeights& weights, const std::vector<CommitRule>& commits, const ExecutorSettings& settings,
                    std::span<const LogEntry> entries, int pairs, int64_t from, int64_t to,
                    const ReplayProgress& progress) {
  const cuda::VisitRules rules{weights.dtype(), settings.noise, settings.rounding == Rounding::stochastic,
                               settings.rounded_noise};
  const DeviceLog log(entries, pairs);
  const int64_t elt_bytes = dtype_bytes(weights.dtype());
  int64_t all = 0;
  int64_t widest = 0;
  for (int weight = 0; weight < weights.count(); ++weight) {
    if (weights.owner(weight) != weight) continue;
    all += weights.table().weights[weight].count();
    widest = std::max(widest, weights.table().weights[weight].count());
  }
  const cuda::DeviceBuffer piece(std::min(widest, kPiece) * elt_bytes, "a piece of the weights");
  const cuda::Stream stream;
  int64_t done = 0;
  for (int weight = 0; weight < weights.count(); ++weight) {
    if (weights.owner(weight) != weight) continue;
    const CommitRule& rule = commits[weight];
    const std::vector<cuda::VisitSegment> segments = cuda::segments_of(weights.table(), static_cast<size_t>(weight));
    const cuda::DeviceBuffer device_segments = cuda::to_device(segments, "the segments of a weight");
    const int64_t count = weights.table().weights[weight].count();
    for (int64_t first = 0; first < count; first += kPiece) {
      cuda::VisitTile tile;
      tile.first_element = first;
      tile.count = std::min(kPiece, count - first);
      tile.segments = segments.data();
      tile.segment_count = static_cast<int>(segments.size());
      tile.device_segments = reinterpret_cast<const cuda::VisitSegment*>(device_segments.data());
      tile.base = piece.data();
      tile.commit = piece.data();
      std::byte* host = weights.data(weight) + first * elt_bytes;
      const auto bytes = static_cast<size_t>(tile.count * elt_bytes);
      ZO2_CUDA_CHECK(cudaMemcpyAsync(piece.data(), host, bytes, cudaMemcpyHostToDevice, stream));
      int64_t folded = rule.folded_steps(from);
      const auto fold_to = [&](int64_t step) {
        const cuda::PendingEntries pending = log.between(folded, step);
        if (pending.count > 0) cuda::visit(rules, tile, pending, {}, stream);
        folded = std::max(folded, step);
      };
      for (int64_t step = from; step < to; ++step) {
        if (rule.commits_at(step)) fold_to(step);
      }
      fold_to(to);
      ZO2_CUDA_CHECK(cudaMemcpyAsync(host, piece.data(), bytes, cudaMemcpyDeviceToHost, stream));
      cuda::synchronize_device();
      done += tile.count;
      if (progress) progress(done, all);
    }
  }
}

}  // namespace zo2
