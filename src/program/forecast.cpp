#include "program/forecast.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace zo2 {
namespace {

// Work of one operation: bytes for copies, milliseconds for compute.
class Costs {
 public:
  Costs(const Program& program, const std::vector<CommitRule>& commits, const Hardware& hardware)
      : program_(program), commits_(commits), hardware_(hardware), folded_(folded_tiles(program)) {}

  double copy_bytes(const Op& op, int64_t step) const {
    const Tile& tile = program_.tiles[op.tile];
    if (op.kind == OpKind::download && !commits(tile, step)) return 0;
    if (op.kind == OpKind::upload && folded_[op.tile] && !commits(tile, step)) return 0;  // left out
    return static_cast<double>(tile.count() * program_.shape.elt_bytes);
  }

  double compute_ms(const Op& op, int64_t step) const {
    const double tokens =
        static_cast<double>(op.extent == Extent::tokens ? program_.shape.tokens() : program_.shape.labelled());
    const double elt = static_cast<double>(program_.shape.elt_bytes);
    const double launch = hardware_.launch_us * 1e-3;
    switch (op.kind) {
      case OpKind::visit:
      case OpKind::fold: {
        const Tile& tile = program_.tiles[op.tile];
        if (op.kind == OpKind::fold && !commits(tile, step)) return 0;
        return launch + visit_ms(tile.weight, static_cast<double>(tile.count()), step, op.in[0] >= 0);
      }
      case OpKind::noise: {
        const auto count = static_cast<double>(program_.tiles[op.tile].count());
        return launch + std::max(count * elt / (hardware_.memory_gbps * 1e6), draw_ms(count));
      }
      case OpKind::gather: {
        const double bytes = tokens * static_cast<double>(op.out_cols) * elt;
        return launch + visit_ms(op.weight, tokens * static_cast<double>(op.out_cols), step, false) +
               bytes / (hardware_.upload_gbps * 1e6);
      }
      case OpKind::linear:
      case OpKind::head:
      case OpKind::arg_max: {
        const Tile& tile = program_.tiles[op.tile];
        const double flops = 2 * tokens * static_cast<double>(tile.count());
        const double rate = hardware_.gemm_tflops * tokens / (tokens + hardware_.gemm_ramp_tokens);
        // Bias, ReLU and residual are part of the product; logits are written and read back in float32.
        const double logits_bytes = op.kind != OpKind::linear ? 8 * tokens * static_cast<double>(tile.rows) : 0;
        return launch + flops / (rate * 1e9) + logits_bytes / (hardware_.memory_gbps * 1e6);
      }
      case OpKind::attention: {
        // Causal: half of the two [seq, seq, head_dim] products of every head.
        const double flops = 2 * tokens * static_cast<double>(program_.shape.seq * op.in_cols);
        return launch + flops / (hardware_.attention_tflops * 1e9);
      }
      case OpKind::cache:  // keys and values, read and written
        return launch + 4 * tokens * static_cast<double>(op.in_cols) * elt / (hardware_.memory_gbps * 1e6);
      case OpKind::cached_attention: {  // bound by reading the cache, here a full one
        const auto positions = static_cast<double>(program_.shape.batch * program_.shape.cache_tokens);
        return launch + 2 * positions * static_cast<double>(op.in_cols) * elt / (hardware_.memory_gbps * 1e6);
      }
      case OpKind::layer_norm:
      case OpKind::select_rows:
        return launch + 2 * tokens * static_cast<double>(op.in_cols) * elt / (hardware_.memory_gbps * 1e6);
      default: return launch;
    }
  }

  bool commits(const Tile& tile, int64_t step) const {
    return program_.shape.training() && commits_[tile.weight].commits_at(step);
  }

 private:
  double draw_ms(double numbers) const { return numbers / 2 / (hardware_.visit_gparams * 1e6); }

  // `reads_noise`: the direction comes from a buffer.
  double visit_ms(int weight, double count, int64_t step, bool reads_noise) const {
    const int64_t pending = (step - commits_[weight].folded_steps(step)) * std::max(1, program_.shape.pairs);
    const double draws = static_cast<double>(pending) + (program_.shape.training() && !reads_noise ? 1 : 0);
    const double passes = reads_noise ? 4 : 3;  // over the tile's bytes
    const double memory_ms =
        count * passes * static_cast<double>(program_.shape.elt_bytes) / (hardware_.memory_gbps * 1e6);
    return std::max(memory_ms, draw_ms(count * draws));
  }

  const Program& program_;
  const std::vector<CommitRule>& commits_;
  const Hardware& hardware_;
  std::vector<bool> folded_;  // per tile
};

constexpr int kUpload = 0;
constexpr int kCompute = 1;
constexpr int kDownload = 2;

}  // namespace

Forecast forecast(const Program& program, const Schedule& schedule, const std::vector<CommitRule>& commits,
                  const Hardware& hardware, int steps) {
  ZO2_ASSERT(steps >= 2);
  const Costs costs(program, commits, hardware);
  const int count = static_cast<int>(schedule.ops.size());
  std::array<std::vector<int>, 3> queue;
  for (int at = 0; at < count; ++at) queue[static_cast<int>(schedule.ops[at].stream)].push_back(at);

  // Position of each stream in its endless queue, and the work left of what it runs.
  struct Lane {
    size_t next = 0;
    bool running = false;
    double left = 0;
  };
  std::array<Lane, 3> lanes;
  std::vector<int> done(count, 0);      // passes completed, per operation
  constexpr int64_t kFirstStep = 1024;  // far from the start, so that pending entries are as usual
  double now = 0;
  double first_end = 0;
  double end = 0;
  std::array<double, 3> busy{};

  const auto finish = [&](int s) {
    Lane& lane = lanes[s];
    ++done[queue[s][lane.next % queue[s].size()]];
    ++lane.next;
    lane.running = false;
    if (s == kCompute && lane.next % queue[s].size() == 0) {
      end = now;
      if (lane.next == queue[s].size()) first_end = now;
    }
  };

  const auto start_what_can = [&] {
    for (bool again = true; again;) {
      again = false;
      for (int s = 0; s < 3; ++s) {
        Lane& lane = lanes[s];
        if (lane.running || queue[s].empty()) continue;
        const int pass = static_cast<int>(lane.next / queue[s].size());
        if (pass >= steps) continue;
        const int at = queue[s][lane.next % queue[s].size()];
        const ScheduledOp& scheduled = schedule.ops[at];
        const Op& op = program.ops[scheduled.op];
        const bool left_out = scheduled.rare && !costs.commits(program.tiles[op.tile], kFirstStep + pass);
        const bool ready = std::all_of(scheduled.after.begin(), scheduled.after.end(), [&](const Dependency& after) {
          return done[after.op] > pass - after.passes_ago;
        });
        if (!ready && !left_out) continue;
        lane.left = s == kCompute ? costs.compute_ms(op, kFirstStep + pass) : costs.copy_bytes(op, kFirstStep + pass);
        if (lane.left > 0) {
          lane.running = true;
        } else {
          finish(s);
          again = true;
        }
      }
    }
  };

  const auto rate = [&](int s) {  // work per millisecond
    if (s == kCompute) return 1.0;
    const bool both = lanes[kUpload].running && lanes[kDownload].running;
    if (s == kUpload) return (both ? hardware.duplex_upload_gbps : hardware.upload_gbps) * 1e6;
    return (both ? hardware.duplex_download_gbps : hardware.download_gbps) * 1e6;
  };

  start_what_can();
  while (lanes[0].running || lanes[1].running || lanes[2].running) {
    double step = 1e300;
    for (int s = 0; s < 3; ++s) {
      if (lanes[s].running) step = std::min(step, lanes[s].left / rate(s));
    }
    std::array<double, 3> rates{};
    for (int s = 0; s < 3; ++s) rates[s] = rate(s);
    now += step;
    const bool measuring = done[queue[kCompute].back()] > 0 && done[queue[kCompute].back()] < steps;
    for (int s = 0; s < 3; ++s) {
      Lane& lane = lanes[s];
      if (!lane.running) continue;
      if (measuring) busy[s] += step;
      lane.left -= step * rates[s];
      if (lane.left <= 1e-9 * rates[s]) finish(s);
    }
    start_what_can();
  }
  ZO2_ASSERT(done[queue[kCompute].back()] == steps);
  Forecast result;
  const double measured = steps - 1;
  result.step_ms = (end - first_end) / measured;
  result.upload_ms = busy[kUpload] / measured;
  result.compute_ms = busy[kCompute] / measured;
  result.download_ms = busy[kDownload] / measured;
  return result;
}

}  // namespace zo2
