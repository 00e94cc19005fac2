// The CUDA executor: one host thread enqueues each pass, in program order, on a compute, an upload and a download
// stream; events order them. The host waits only for the ends of passes, never inside one.
#include <deque>
#include <map>
#include <optional>

#include "base/error.h"
#include "runtime/cuda/attention.h"
#include "runtime/cuda/operations.h"
#include "runtime/cuda/pass_graphs.h"
#include "runtime/executor.h"
#include "runtime/nvtx.h"
#include "runtime/pass.h"

namespace zo2 {
namespace {

using cuda::EntryResult;
using cuda::Event;

constexpr size_t kPassesInFlight = 4;

// An event for each operation of a planned pass that another stream waits for.
struct Line {
  std::vector<std::optional<Event>> done;

  explicit Line(const PlannedPass& pass) : done(pass.schedule.ops.size()) {
    for (const ScheduledOp& op : pass.schedule.ops) {
      for (const Dependency& after : op.after) {
        if (pass.schedule.ops[after.op].stream != op.stream && !done[after.op]) done[after.op].emplace();
      }
    }
  }
};

// Of a pass in flight: memory that is its own until it has ended.
struct PassSlot {
  cuda::PassMemory memory;
  Event ended;
  bool busy = false;
};

struct TracedOp {
  const PlannedPass* planned;
  const ScheduledOp* op;
  int64_t step;
  bool moved;  // a copy that really copied
  Event begin{true};
  Event end{true};
};

class CudaExecutor final : public Executor {
 public:
  CudaExecutor(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings)
      : plan_(plan),
        settings_(settings),
        operations_(plan, weights, settings_),
        graphs_(plan, operations_.stream_of(Stream::compute)),
        last_end_(true) {
    ZO2_CHECK(!settings.direction_source, UsageError, "directions from elsewhere are for the CPU only");
    cuda::load_libtorch_cuda();
    for (const PlannedPass* pass : plan.passes()) lines_.try_emplace(pass, *pass);
    for (size_t i = 0; i < kPassesInFlight; ++i) slots_.push_back({operations_.make_pass_memory(), Event(), false});
    for (int64_t i = 0; i < cuda::kStepsInFlight; ++i) step_ends_.emplace_back(true);
  }

  ~CudaExecutor() override { cudaDeviceSynchronize(); }  // what is enqueued uses the members

  void start(int64_t next_step, std::span<const LogEntry> entries) override {
    drain();
    operations_.start(next_step, entries);
    next_step_ = finished_ = next_step;
    last_end_.record(operations_.stream_of(Stream::compute));
    cuda::synchronize_device();
  }

  void submit(PassInput input) override {
    ZO2_ASSERT(plan_.training && input.step == next_step_);
    ZO2_ASSERT(next_step_ - finished_ < cuda::kStepsInFlight);
    check_batch(input.batch, plan_.training->program);
    const NvtxRange range("step", static_cast<uint64_t>(input.step));
    enqueue(*plan_.training, input);
    if (!input.last_pass) return;
    Event& end = step_ends_[static_cast<size_t>(input.step % cuda::kStepsInFlight)];
    end.record(operations_.stream_of(Stream::compute));
    inputs_.push_back({input.step, input.seed, input.learning_rate});
    ++next_step_;
  }

  StepResult next_result() override {
    ZO2_ASSERT(!inputs_.empty());
    const StepInput input = inputs_.front();
    inputs_.pop_front();
    Event& end = step_ends_[static_cast<size_t>(input.step % cuda::kStepsInFlight)];
    end.synchronize();
    StepResult result;
    const EntryResult* made = operations_.results(input.step);
    for (int pair = 0; pair < plan_.settings.pairs; ++pair) {
      result.entries.push_back(log_entry(input.step, pair, input.seed, input.learning_rate, made[pair].loss_plus,
                                         made[pair].loss_minus, made[pair].values));
    }
    result.step_ms = static_cast<double>(end.ms_since(last_end_));
    std::swap(last_end_, end);
    finished_ = input.step + 1;
    return result;
  }

  EvaluationResult evaluate(const Batch& batch) override {
    ZO2_ASSERT(plan_.evaluation);
    const PlannedPass& planned = *plan_.evaluation;
    check_batch(batch, planned.program);
    run_apart(planned, batch);
    EvaluationResult result;
    result.logprobs.resize(batch.rows.size());
    const Program& program = planned.program;
    ZO2_CUDA_CHECK(cudaMemcpy(&result.loss_sum, operations_.whole(planned, program.losses), 8, cudaMemcpyDeviceToHost));
    ZO2_CUDA_CHECK(cudaMemcpy(result.logprobs.data(), operations_.whole(planned, program.logprobs[0]),
                              batch.rows.size() * 4, cudaMemcpyDeviceToHost));
    return result;
  }

  std::vector<int32_t> next_tokens(const Batch& batch) override {
    check_continued(batch, plan_);
    const PlannedPass& planned = batch.positions.empty() ? *plan_.prefill : *plan_.decode;
    run_apart(planned, batch);
    std::vector<int32_t> ids(static_cast<size_t>(batch.batch));
    ZO2_CUDA_CHECK(cudaMemcpy(ids.data(), operations_.whole(planned, planned.program.next_tokens), ids.size() * 4,
                              cudaMemcpyDeviceToHost));
    return ids;
  }

  int64_t generation_batch() const override { return plan_.settings.generation.batch; }

  void sync_host() override {
    drain();
    operations_.copy_resident(/*to_host=*/true);
  }

  MemoryMeter memory() const override {
    return {plan_.layout.arena_bytes, operations_.peak_bytes(), cuda::kGemmWorkspaceBytes,
            operations_.link().pinned_bytes(), operations_.link().pin_seconds()};
  }

  double copies_only_ms(int steps) override {
    drain();
    const PlannedPass& planned = *plan_.training;
    const std::vector<ScheduledOp>& ops = planned.schedule.ops;
    cudaStream_t up = operations_.stream_of(Stream::upload);
    cudaStream_t down = operations_.stream_of(Stream::download);
    Event begin(true);
    Event end(true);
    begin.record(up);
    begin.wait_on(down);
    for (int step = 0; step < steps; ++step) {
      PassInput input;
      input.step = next_step_ + step;
      for (size_t index = 0; index < ops.size(); ++index) {
        const ScheduledOp& scheduled = ops[index];
        if (scheduled.stream == Stream::compute || left_out(plan_, planned, scheduled, input)) continue;
        const Op& op = planned.program.ops[scheduled.op];
        // A download gives back what its upload brought, before the slot's next upload.
        if (op.kind == OpKind::download) {
          copied_.record(up);
          copied_.wait_on(down);
        }
        for (const Dependency& after : scheduled.after) {
          const bool copy = ops[after.op].stream != Stream::compute && ops[after.op].stream != scheduled.stream;
          if (copy && line_done(after.op)) line_done(after.op)->wait_on(operations_.stream_of(scheduled.stream));
        }
        operations_.run(planned, scheduled, input, slots_[0].memory);
        if (line_done(index)) line_done(index)->record(operations_.stream_of(scheduled.stream));
      }
    }
    copied_.record(down);
    copied_.wait_on(up);
    end.record(up);
    drain();
    return static_cast<double>(end.ms_since(begin)) / steps;
  }

  std::vector<TraceSpan> trace() override {
    drain();
    std::vector<TraceSpan> spans;
    for (const TracedOp& traced : traced_) {
      const Op& op = traced.planned->program.ops[traced.op->op];
      if (is_copy(op.kind) && !traced.moved) continue;
      TraceSpan span;
      span.kind = op.kind;
      span.stream = traced.op->stream;
      span.step = traced.step;
      span.tile = op.tile;
      span.slot = plan_.layout.slot_of(traced.op->tile_offset);
      if (is_copy(op.kind)) {
        span.bytes = traced.planned->program.tiles[op.tile].count() * dtype_bytes(plan_.settings.dtype);
      }
      span.begin_ms = static_cast<double>(traced.begin.ms_since(traced_.front().begin));
      span.end_ms = static_cast<double>(traced.end.ms_since(traced_.front().begin));
      spans.push_back(span);
    }
    align_spans(spans);
    return spans;
  }

 private:
  struct StepInput {
    int64_t step;
    uint64_t seed;
    double learning_rate;
  };

  std::optional<Event>& line_done(size_t op) { return lines_.at(&*plan_.training).done[op]; }

  void drain() {
    cuda::synchronize_device();
    operations_.link().finish();
    for (PassSlot& slot : slots_) slot.busy = false;
  }

  // A pass of w_t, with no other beside it.
  void run_apart(const PlannedPass& planned, const Batch& batch) {
    drain();
    PassInput input;
    input.batch = batch;
    input.step = next_step_;
    enqueue(planned, input);
    drain();
  }

  void enqueue(const PlannedPass& planned, const PassInput& input) {
    PassSlot& slot = slots_[static_cast<size_t>(passes_++) % slots_.size()];
    if (slot.busy) slot.ended.synchronize();
    const bool traced = planned.program.shape.training() && settings_.trace.contains(input.step);
    if (!planned.graph || traced || !launch_graph(planned, input, slot)) enqueue_ops(planned, input, slot, traced);
    slot.ended.record(operations_.stream_of(Stream::compute));
    slot.busy = true;
  }

  bool launch_graph(const PlannedPass& planned, const PassInput& input, PassSlot& slot) {
    const NvtxRange range("graph", static_cast<uint64_t>(input.step));
    const auto run = [&](const ScheduledOp& op) { operations_.run(planned, op, input, slot.memory); };
    const auto exclusive = [&](const ScheduledOp& op) { return operations_.uses_workspace(planned, op, input); };
    return graphs_.launch(planned, input, run, exclusive);
  }

  void enqueue_ops(const PlannedPass& planned, const PassInput& input, PassSlot& slot, bool traced) {
    Line& line = lines_.at(&planned);
    const std::vector<ScheduledOp>& ops = planned.schedule.ops;
    for (size_t index = 0; index < ops.size(); ++index) {
      const ScheduledOp& scheduled = ops[index];
      if (left_out(plan_, planned, scheduled, input)) continue;  // its event keeps an older record
      const Op& op = planned.program.ops[scheduled.op];
      const NvtxRange range(op_name(op.kind).data(),
                            nvtx_payload(op.tile, plan_.layout.slot_of(scheduled.tile_offset)));
      cudaStream_t stream = operations_.stream_of(scheduled.stream);
      for (const Dependency& after : scheduled.after) {
        if (line.done[after.op] && ops[after.op].stream != scheduled.stream) line.done[after.op]->wait_on(stream);
      }
      if (traced) {
        traced_.push_back({&planned, &scheduled, input.step, false});
        traced_.back().begin.record(stream);
      }
      const bool moved = operations_.run(planned, scheduled, input, slot.memory);
      if (traced) {
        traced_.back().moved = moved;
        traced_.back().end.record(stream);
      }
      if (line.done[index]) line.done[index]->record(stream);
    }
  }

  const Plan& plan_;
  const ExecutorSettings settings_;
  cuda::Operations operations_;
  cuda::PassGraphs graphs_;
  std::map<const PlannedPass*, Line> lines_;  // of the plan's passes
  std::vector<PassSlot> slots_;

  int64_t passes_ = 0;
  int64_t next_step_ = 0;
  int64_t finished_ = 0;          // steps whose results the host has taken
  std::deque<StepInput> inputs_;  // of steps in flight
  std::vector<Event> step_ends_;  // by step
  Event last_end_;
  Event copied_;
  std::deque<TracedOp> traced_;
};

}  // namespace

namespace cuda {

std::string why_unusable() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaErrorInsufficientDriver) {
    return "there is no NVIDIA driver, or one older than CUDA 13 needs (580)";
  }
  if (code != cudaSuccess) {
    cudaGetLastError();
    return fmt::format("{} ({})", cudaGetErrorString(code), cudaGetErrorName(code));
  }
  return count > 0 ? "" : "there is no CUDA device";
}

}  // namespace cuda

std::unique_ptr<Executor> make_cuda_executor(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings) {
  ZO2_ASSERT(weights.dtype() == plan.settings.dtype);
  return std::make_unique<CudaExecutor>(plan, weights, settings);
}

AttentionWorkspace measured_cuda_attention(DType dtype) {
  return [=](const ModelConfig& config, const PassShape& shape) {
    return cuda::measure_attention_workspace(dtype, shape.batch, shape.seq, config.num_heads, config.head_dim());
  };
}

}  // namespace zo2
