// The CPU executor: one compute thread and two copy threads, each running its stream's operations of every pass in
// order and waiting on Progress where the schedule says so.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "runtime/cpu/linalg.h"
#include "runtime/cpu/operations.h"
#include "runtime/cpu/progress.h"
#include "runtime/cpu/region_allocator.h"
#include "runtime/nvtx.h"
#include "runtime/pass.h"

namespace zo2 {
namespace {

using cpu::Arena;
using cpu::Operations;
using cpu::PassAborted;
using cpu::Progress;
using Clock = std::chrono::steady_clock;

constexpr int kStreams = 3;
constexpr int64_t kMaxInFlight = 2;  // passes submitted and not finished: enough to hide the host's work

// A planned pass and how far its operations have come since the executor was made.
struct Line {
  const PlannedPass* planned;
  Progress progress;
  int64_t submitted = 0;  // passes

  explicit Line(const PlannedPass& pass) : planned(&pass), progress(pass.schedule.ops.size()) {}
};

struct Pass {
  Line* line;
  int64_t index;  // among the line's passes
  PassInput input;
  int streams_left = kStreams;

  bool training() const { return line->planned->program.shape.training(); }
};

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings)
      : plan_(plan),
        settings_(settings),
        arena_(plan.layout.arena_bytes),
        operations_(plan, weights, settings_, arena_) {
    for (const PlannedPass* pass : plan.passes()) lines_.try_emplace(pass, *pass);
    for (int stream = 0; stream < kStreams; ++stream) {
      threads_[stream] = std::jthread([this, stream] { work(static_cast<Stream>(stream)); });
    }
  }

  ~CpuExecutor() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    abort_waits();  // a thread in the middle of a pass may wait for one that has already stopped
    for (std::jthread& thread : threads_) thread.join();
  }

  void start(int64_t next_step, std::span<const LogEntry> entries) override {
    drain();
    operations_.start(entries);
    operations_.load_resident();
    next_step_ = next_step;
  }

  void submit(PassInput input) override {
    ZO2_ASSERT(plan_.training && input.step == next_step_);
    check_batch(input.batch, plan_.training->program);
    if (input.last_pass) ++next_step_;
    enqueue(*plan_.training, std::move(input));
  }

  StepResult next_result() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || !results_.empty(); });
    if (results_.empty()) std::rethrow_exception(failure_);
    StepResult result = std::move(results_.front());
    results_.pop_front();
    return result;
  }

  EvaluationResult evaluate(const Batch& batch) override {
    ZO2_ASSERT(plan_.evaluation);
    const PlannedPass& planned = *plan_.evaluation;
    check_batch(batch, planned.program);
    run_apart(planned, batch);
    return {operations_.loss_sum(planned, 0), operations_.logprobs(planned, 0, batch.rows.size())};
  }

  std::vector<int32_t> next_tokens(const Batch& batch) override {
    check_continued(batch, plan_);
    const PlannedPass& planned = batch.positions.empty() ? *plan_.prefill : *plan_.decode;
    run_apart(planned, batch);
    return operations_.next_tokens(planned, static_cast<size_t>(batch.batch));
  }

  int64_t generation_batch() const override { return plan_.settings.generation.batch; }

  void sync_host() override {
    drain();
    operations_.save_resident();
  }

  MemoryMeter memory() const override {
    MemoryMeter meter;
    meter.planned_bytes = plan_.layout.arena_bytes;
    meter.peak_bytes = arena_.peak_bytes();
    meter.library_peak_bytes = cpu::library_peak_bytes();
    return meter;
  }

  std::vector<TraceSpan> trace() override {
    drain();
    std::vector<TraceSpan> spans;
    for (const std::vector<TraceSpan>& stream : traced_) spans.insert(spans.end(), stream.begin(), stream.end());
    align_spans(spans);
    return spans;
  }

 private:
  // A pass of w_t, with no other beside it.
  void run_apart(const PlannedPass& planned, const Batch& batch) {
    drain();
    PassInput input;
    input.batch = batch;
    input.step = next_step_;
    enqueue(planned, std::move(input));
    drain();
  }

  void enqueue(const PlannedPass& planned, PassInput input) {
    Line& line = lines_.at(&planned);
    auto pass = std::make_shared<Pass>(Pass{&line, line.submitted++, std::move(input)});
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return failure_ || unfinished_ < kMaxInFlight; });
      if (failure_) std::rethrow_exception(failure_);
      ++unfinished_;
      for (auto& queue : queues_) queue.push_back(pass);
    }
    changed_.notify_all();
  }

  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || unfinished_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

  void work(Stream stream) {
    auto& queue = queues_[static_cast<int>(stream)];
    if (stream == Stream::compute) cpu::set_threads(settings_.threads > 0 ? settings_.threads : cpu::default_threads());
    while (true) {
      std::shared_ptr<Pass> pass;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || failure_ || !queue.empty(); });
        if (stopping_ || failure_) return;
        pass = std::move(queue.front());
        queue.pop_front();
      }
      try {
        run(stream, *pass);
      } catch (const PassAborted&) {
        return;
      } catch (...) {
        fail(std::current_exception());
        return;
      }
      {
        const std::lock_guard lock(mutex_);
        if (stream == Stream::compute && pass->training() && pass->input.last_pass) {
          results_.push_back(operations_.take_result());
        }
        if (--pass->streams_left == 0) --unfinished_;
      }
      changed_.notify_all();
    }
  }

  void run(Stream stream, const Pass& pass) {
    const PlannedPass& planned = *pass.line->planned;
    Progress& progress = pass.line->progress;
    const bool training = pass.training();
    const bool traced = training && settings_.trace.contains(pass.input.step);
    std::optional<NvtxRange> step;
    if (training && stream == Stream::compute) step.emplace("step", static_cast<uint64_t>(pass.input.step));
    const std::vector<ScheduledOp>& ops = planned.schedule.ops;
    for (int at = 0; at < static_cast<int>(ops.size()); ++at) {
      if (ops[at].stream != stream) continue;
      if (left_out(plan_, planned, ops[at], pass.input)) {
        progress.complete(at, pass.index);
        continue;
      }
      for (const Dependency& after : ops[at].after) {
        if (pass.index >= after.passes_ago) progress.wait(after.op, pass.index - after.passes_ago);
      }
      const Op& op = planned.program.ops[ops[at].op];
      const NvtxRange range(op_name(op.kind).data(), nvtx_payload(op.tile, plan_.layout.slot_of(ops[at].tile_offset)));
      const double begin_ms = traced ? now_ms() : 0;
      const bool moved = operations_.run(planned, ops[at], pass.input);
      // Before the operation counts as done, so that what waits for it begins after its end.
      if (traced && (moved || !is_copy(op.kind))) record(planned.program, ops[at], pass.input.step, begin_ms);
      progress.complete(at, pass.index);
    }
  }

  double now_ms() const { return std::chrono::duration<double, std::milli>(Clock::now() - made_).count(); }

  // By the thread of the operation's stream; times are since the executor was made.
  void record(const Program& program, const ScheduledOp& scheduled, int64_t step, double begin_ms) {
    const Op& op = program.ops[scheduled.op];
    TraceSpan span;
    span.end_ms = now_ms();
    span.begin_ms = begin_ms;
    span.kind = op.kind;
    span.stream = scheduled.stream;
    span.step = step;
    span.tile = op.tile;
    span.slot = plan_.layout.slot_of(scheduled.tile_offset);
    if (is_copy(op.kind)) span.bytes = program.tiles[op.tile].count() * program.shape.elt_bytes;
    traced_[static_cast<int>(scheduled.stream)].push_back(span);
  }

  void fail(std::exception_ptr failure) {
    {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::move(failure);
    }
    changed_.notify_all();
    abort_waits();
  }

  void abort_waits() {
    for (auto& [pass, line] : lines_) line.progress.abort();
  }

  const Plan& plan_;
  const ExecutorSettings settings_;
  Arena arena_;
  Operations operations_;
  std::map<const PlannedPass*, Line> lines_;  // of the plan's passes
  int64_t next_step_ = 0;
  const Clock::time_point made_ = Clock::now();
  std::vector<TraceSpan> traced_[kStreams];  // each by its stream's thread; read when every pass has ended

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Pass>> queues_[kStreams];
  std::deque<StepResult> results_;
  int64_t unfinished_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::jthread threads_[kStreams];  // last: they use all of the above
};

}  // namespace

std::unique_ptr<Executor> make_cpu_executor(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings) {
  ZO2_ASSERT(weights.dtype() == plan.settings.dtype);
  return std::make_unique<CpuExecutor>(plan, weights, settings);
}

AttentionWorkspace measured_cpu_attention(DType dtype, int threads) {
  return [=](const ModelConfig& config, const PassShape& shape) {
    if (threads > 0) cpu::set_threads(threads);
    return cpu::measure_attention_workspace(dtype, shape.batch, shape.seq, config.num_heads, config.head_dim());
  };
}

}  // namespace zo2
