// The CUDA executor: one host thread enqueues each pass, in program order, on a compute, an upload and a download
// stream; events order them. The host waits only for the ends of passes, never inside one.
#include <cmath>
#include <deque>
#include <optional>

#include "base/error.h"
#include "runtime/cuda/attention.h"
#include "runtime/cuda/gemm.h"
#include "runtime/cuda/host_link.h"
#include "runtime/cuda/layers.h"
#include "runtime/cuda/visit.h"
#include "runtime/executor.h"
#include "runtime/nvtx.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

using cuda::DeviceBuffer;
using cuda::DeviceEntry;
using cuda::EntryResult;
using cuda::Event;
using cuda::kRingEntries;
using cuda::PendingEntries;
using cuda::PinnedBuffer;

constexpr size_t kPassesInFlight = 4;
constexpr int64_t kStepsInFlight = 8;  // results that the host has not yet taken

template <typename T>
T* as(std::byte* data) {
  return reinterpret_cast<T*>(data);
}

// A planned pass and an event for each of its operations that another stream waits for.
struct Line {
  const PlannedPass* planned;
  std::vector<std::optional<Event>> done;

  explicit Line(const PlannedPass& pass) : planned(&pass), done(pass.schedule.ops.size()) {
    for (const ScheduledOp& op : pass.schedule.ops) {
      for (const Dependency& after : op.after) {
        if (pass.schedule.ops[after.op].stream != op.stream && !done[after.op]) done[after.op].emplace();
      }
    }
  }
};

// Page-locked copies of a pass's inputs, kept until the pass has ended.
struct PassSlot {
  PinnedBuffer words;                // tokens, rows, targets
  std::vector<PinnedBuffer> packed;  // per gather of the program, where the host packs
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
        weights_(weights),
        settings_(settings),
        rules_{plan.settings.dtype, settings.noise, settings.rounding == Rounding::stochastic, settings.rounded_noise},
        elt_bytes_(dtype_bytes(plan.settings.dtype)),
        pairs_(std::max(1, plan.settings.pairs)),
        arena_(plan.layout.arena_bytes, "the device arena"),
        ring_(kRingEntries * sizeof(DeviceEntry), "the ring of log entries"),
        results_(kStepsInFlight * pairs_ * static_cast<int64_t>(sizeof(EntryResult))),
        link_(weights, settings.host, plan.any().program.tiles.size(),
              settings.threads > 0 ? settings.threads : hardware_threads()),
        last_end_(true) {
    ZO2_ASSERT(settings.rounded_noise == plan.settings.scheme.noise_buffer);
    ZO2_CHECK(!settings.direction_source, UsageError, "directions from elsewhere are for the CPU only");
    for (const Op& op : plan.any().program.ops) {
      ZO2_CHECK(op.kind != OpKind::layer_norm || op.in_cols <= cuda::kMostNormCols, UsageError,
                "hidden size {} is beyond the {} that the CUDA layer norm can hold", op.in_cols, cuda::kMostNormCols);
    }
    cuda::load_libtorch_cuda();
    if (plan.training) training_.emplace(*plan.training);
    if (plan.evaluation) evaluation_.emplace(*plan.evaluation);
    describe_weights();
    for (size_t i = 0; i < kPassesInFlight; ++i) slots_.push_back(make_slot());
    for (int64_t i = 0; i < kStepsInFlight; ++i) step_ends_.emplace_back(true);
  }

  ~CudaExecutor() override { cudaDeviceSynchronize(); }  // what is enqueued uses the members

  void start(int64_t next_step, std::span<const LogEntry> entries) override {
    drain();
    const size_t keep = std::min(entries.size(), static_cast<size_t>(2 * kMaxPendingEntries + pairs_));
    std::vector<DeviceEntry> ring(kRingEntries);
    for (const LogEntry& entry : entries.last(keep)) {
      ring[(ring_position(entry.step) + entry.pair) % kRingEntries] = {entry.seed, entry.alpha, entry.decay, entry.step,
                                                                       entry.pair};
    }
    ZO2_CUDA_CHECK(cudaMemcpy(ring_.data(), ring.data(), ring.size() * sizeof(DeviceEntry), cudaMemcpyHostToDevice));
    oldest_entry_ = entries.empty() ? next_step : static_cast<int64_t>(entries.last(keep).front().step);
    next_step_ = finished_ = next_step;
    copy_resident(/*to_host=*/false);
    last_end_.record(compute_);
    cuda::synchronize_device();
  }

  void submit(PassInput input) override {
    ZO2_ASSERT(training_.has_value() && input.step == next_step_);
    ZO2_ASSERT(next_step_ - finished_ < kStepsInFlight);
    check_batch(input.batch, training_->planned->program);
    const NvtxRange range("step", static_cast<uint64_t>(input.step));
    enqueue(*training_, input);
    if (!input.last_pass) return;
    Event& end = step_ends_[static_cast<size_t>(input.step % kStepsInFlight)];
    end.record(compute_);
    inputs_.push_back({input.step, input.seed, input.learning_rate});
    ++next_step_;
  }

  StepResult next_result() override {
    ZO2_ASSERT(!inputs_.empty());
    const StepInput input = inputs_.front();
    inputs_.pop_front();
    Event& end = step_ends_[static_cast<size_t>(input.step % kStepsInFlight)];
    end.synchronize();
    StepResult result;
    const EntryResult* made = results_.as<EntryResult>() + input.step % kStepsInFlight * pairs_;
    for (int64_t pair = 0; pair < pairs_; ++pair) {
      LogEntry entry;
      entry.step = static_cast<uint32_t>(input.step);
      entry.pair = static_cast<uint16_t>(pair);
      entry.seed = input.seed;
      entry.loss_plus = made[pair].loss_plus;
      entry.loss_minus = made[pair].loss_minus;
      entry.projected_gradient = made[pair].projected_gradient;
      entry.learning_rate = input.learning_rate;
      entry.alpha = made[pair].alpha;
      entry.decay = made[pair].decay;
      if (made[pair].non_finite != 0) entry.flags = kLogNonFinite;
      result.entries.push_back(entry);
    }
    result.step_ms = static_cast<double>(end.ms_since(last_end_));
    std::swap(last_end_, end);
    finished_ = input.step + 1;
    return result;
  }

  EvaluationResult evaluate(const Batch& batch) override {
    ZO2_ASSERT(evaluation_.has_value());
    const PlannedPass& planned = *evaluation_->planned;
    check_batch(batch, planned.program);
    drain();
    PassInput input;
    input.batch = batch;
    input.step = next_step_;
    enqueue(*evaluation_, input);
    drain();
    EvaluationResult result;
    result.logprobs.resize(batch.rows.size());
    const Program& program = planned.program;
    ZO2_CUDA_CHECK(cudaMemcpy(&result.loss_sum, whole(planned, program.losses), 8, cudaMemcpyDeviceToHost));
    ZO2_CUDA_CHECK(cudaMemcpy(result.logprobs.data(), whole(planned, program.logprobs[0]), batch.rows.size() * 4,
                              cudaMemcpyDeviceToHost));
    return result;
  }

  void sync_host() override {
    drain();
    copy_resident(/*to_host=*/true);
  }

  MemoryMeter memory() const override {
    return {plan_.layout.arena_bytes, peak_bytes_, cuda::kGemmWorkspaceBytes, link_.pinned_bytes(),
            link_.pin_seconds()};
  }

  double copies_only_ms(int steps) override {
    drain();
    const PlannedPass& planned = *training_->planned;
    const std::vector<ScheduledOp>& ops = planned.schedule.ops;
    Event begin(true);
    Event end(true);
    begin.record(upload_);
    begin.wait_on(download_);
    for (int step = 0; step < steps; ++step) {
      PassInput input;
      input.step = next_step_ + step;
      for (size_t index = 0; index < ops.size(); ++index) {
        const ScheduledOp& scheduled = ops[index];
        if (scheduled.stream == Stream::compute || left_out(planned, scheduled, input)) continue;
        const Op& op = planned.program.ops[scheduled.op];
        // A download gives back what its upload brought, before the slot's next upload.
        if (op.kind == OpKind::download) {
          copied_.record(upload_);
          copied_.wait_on(download_);
        }
        for (const Dependency& after : scheduled.after) {
          const bool copy = ops[after.op].stream != Stream::compute && ops[after.op].stream != scheduled.stream;
          if (copy && line_done(after.op)) line_done(after.op)->wait_on(stream_of(scheduled.stream));
        }
        run(planned, scheduled, input, slots_[0]);
        if (line_done(index)) line_done(index)->record(stream_of(scheduled.stream));
      }
    }
    copied_.record(download_);
    copied_.wait_on(upload_);
    end.record(upload_);
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
      if (is_copy(op.kind)) span.bytes = bytes_of(traced.planned->program.tiles[op.tile].count());
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

  std::optional<Event>& line_done(size_t op) { return training_->done[op]; }

  int64_t bytes_of(int64_t elements) const { return elements * elt_bytes_; }

  static int64_t tokens_of(const PassInput& input) { return input.batch.batch * input.batch.seq; }

  static int64_t rows_of(const Op& op, const PassInput& input) {
    return op.extent == Extent::tokens ? tokens_of(input) : static_cast<int64_t>(input.batch.rows.size());
  }

  // Segments of each weight on the host and the device, and where the tiles of each gathered table are.
  void describe_weights() {
    const Program& program = plan_.any().program;
    segment_first_.assign(plan_.table.weights.size(), 0);
    for (size_t weight = 0; weight < plan_.table.weights.size(); ++weight) {
      segment_first_[weight] = segments_.size();
      for (const Segment& segment : plan_.table.weights[weight].segments) {
        const Parameter& parameter = plan_.table.parameters[segment.parameter];
        segments_.push_back({segment.offset, parameter.count(), parameter.id, parameter.decays()});
      }
    }
    device_segments_ = to_device(segments_, "descriptions of parameters");
    tables_.resize(plan_.table.weights.size());
    last_tile_.assign(plan_.table.weights.size(), -1);
    for (size_t tile = 0; tile < program.tiles.size(); ++tile) {
      const Tile& held = program.tiles[tile];
      const bool resident = plan_.layout.resident(static_cast<int>(tile));
      last_tile_[held.weight] = static_cast<int>(tile);
      Table& table = tables_[held.weight];
      if (table.tiles.empty()) table.rows_per_tile = held.rows;
      const std::byte* mapped = link_.mapped(held.weight);
      table.tiles.push_back(resident            ? arena_.data() + plan_.layout.resident_offset[tile]
                            : mapped != nullptr ? mapped + bytes_of(held.first_element())
                                                : nullptr);
      table.all_reachable = table.all_reachable && table.tiles.back() != nullptr;
    }
    for (const Op& op : program.ops) {
      if (op.kind != OpKind::gather) continue;
      Table& table = tables_[op.weight];
      if (table.device.size() == 0) table.device = to_device(table.tiles, "places of table rows");
    }
  }

  template <typename T>
  DeviceBuffer to_device(const std::vector<T>& values, const char* what) const {
    DeviceBuffer buffer(static_cast<int64_t>(values.size() * sizeof(T)), what);
    ZO2_CUDA_CHECK(cudaMemcpy(buffer.data(), static_cast<const void*>(values.data()), values.size() * sizeof(T),
                              cudaMemcpyHostToDevice));
    return buffer;
  }

  PassSlot make_slot() const {
    PassSlot slot;
    int64_t tokens = 0;
    size_t gathers = 0;
    std::vector<int64_t> packed_bytes;
    for (const auto* line : {&training_, &evaluation_}) {
      if (!line->has_value()) continue;
      const Program& program = (*line)->planned->program;
      tokens = std::max(tokens, program.shape.tokens());
      gathers = 0;
      for (const Op& op : program.ops) {
        if (op.kind != OpKind::gather) continue;
        if (gathers == packed_bytes.size()) packed_bytes.push_back(0);
        if (!tables_[op.weight].all_reachable) {
          packed_bytes[gathers] = std::max(packed_bytes[gathers], bytes_of(program.shape.tokens() * op.out_cols));
        }
        ++gathers;
      }
    }
    slot.words = PinnedBuffer(3 * tokens * 4);
    for (int64_t bytes : packed_bytes) slot.packed.emplace_back(bytes);
    return slot;
  }

  void drain() {
    cuda::synchronize_device();
    link_.finish();
    for (PassSlot& slot : slots_) slot.busy = false;
  }

  void copy_resident(bool to_host) {
    const std::vector<Tile>& tiles = plan_.any().program.tiles;
    for (size_t tile = 0; tile < tiles.size(); ++tile) {
      const int64_t offset = plan_.layout.resident_offset[tile];
      if (offset < 0) continue;
      const int64_t bytes = bytes_of(tiles[tile].count());
      std::byte* device = at(offset, bytes);
      std::byte* host = weights_.data(tiles[tile].weight) + bytes_of(tiles[tile].first_element());
      ZO2_CUDA_CHECK(cudaMemcpyAsync(to_host ? host : device, to_host ? device : host, static_cast<size_t>(bytes),
                                     to_host ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, compute_));
    }
    cuda::synchronize_device();
  }

  uint32_t ring_position(int64_t step) const { return static_cast<uint32_t>(step * pairs_ % kRingEntries); }

  PendingEntries pending(int weight, const PassInput& input) const {
    const int64_t first = plan_.commits[weight].folded_steps(input.step, input.pass);
    if (first >= input.step) return {as<DeviceEntry>(ring_.data()), 0, 0};
    ZO2_ASSERT(first >= oldest_entry_);
    return {as<DeviceEntry>(ring_.data()), ring_position(first), static_cast<uint32_t>((input.step - first) * pairs_)};
  }

  bool commits(int weight, const PassInput& input) const {
    const CommitRule& rule = plan_.commits[weight];
    return input.pass == 0 && rule.commits_at(input.step) && rule.folded_steps(input.step) < input.step;
  }

  // Whether the operation has nothing to do in this pass; see ScheduledOp::rare. Its event keeps the record of a pass
  // in which it had.
  bool left_out(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) const {
    return scheduled.rare && !commits(planned.program.tiles[planned.program.ops[scheduled.op].tile].weight, input);
  }

  // Arena memory [offset, offset + bytes).
  std::byte* at(int64_t offset, int64_t bytes) {
    ZO2_ASSERT(offset >= 0 && bytes >= 0 && offset + bytes <= arena_.size());
    peak_bytes_ = std::max(peak_bytes_, offset + bytes);
    return arena_.data() + offset;
  }

  std::byte* buffer(const PlannedPass& planned, int index, int64_t bytes) {
    ZO2_ASSERT(bytes <= planned.program.buffers[index].bytes);
    return at(plan_.layout.buffer_offset[planned.layout_index][index], bytes);
  }

  std::byte* whole(const PlannedPass& planned, int index) {
    return buffer(planned, index, planned.program.buffers[index].bytes);
  }

  cudaStream_t stream_of(Stream stream) const {
    return stream == Stream::compute ? compute_ : stream == Stream::upload ? upload_ : download_;
  }

  void enqueue(Line& line, const PassInput& input) {
    const PlannedPass& planned = *line.planned;
    PassSlot& slot = slots_[static_cast<size_t>(passes_++) % slots_.size()];
    if (slot.busy) slot.ended.synchronize();
    gathers_ = 0;
    const bool traced = planned.program.shape.training() && settings_.trace.contains(input.step);
    const std::vector<ScheduledOp>& ops = planned.schedule.ops;
    for (size_t index = 0; index < ops.size(); ++index) {
      const ScheduledOp& scheduled = ops[index];
      if (left_out(planned, scheduled, input)) continue;
      const Op& op = planned.program.ops[scheduled.op];
      const NvtxRange range(op_name(op.kind).data(),
                            nvtx_payload(op.tile, plan_.layout.slot_of(scheduled.tile_offset)));
      cudaStream_t stream = stream_of(scheduled.stream);
      for (const Dependency& after : scheduled.after) {
        if (line.done[after.op] && ops[after.op].stream != scheduled.stream) line.done[after.op]->wait_on(stream);
      }
      if (traced) {
        traced_.push_back({&planned, &scheduled, input.step, false});
        traced_.back().begin.record(stream);
      }
      const bool moved = run(planned, scheduled, input, slot);
      if (traced) {
        traced_.back().moved = moved;
        traced_.back().end.record(stream);
      }
      if (line.done[index]) line.done[index]->record(stream);
    }
    slot.ended.record(compute_);
    slot.busy = true;
  }

  // Whether a copy copied anything.
  bool run(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input, PassSlot& slot) {
    const Op& op = planned.program.ops[scheduled.op];
    switch (op.kind) {
      case OpKind::upload: return upload(planned, scheduled);
      case OpKind::download: return download(planned, scheduled, input);
      case OpKind::visit:
      case OpKind::fold: visit(planned, scheduled, input); break;
      case OpKind::noise: noise(planned, op, input); break;
      case OpKind::inputs: inputs(planned, input, slot); break;
      case OpKind::gather: gather(planned, op, input, slot); break;
      case OpKind::layer_norm: layer_norm(planned, op, input); break;
      case OpKind::linear: linear(planned, op, input); break;
      case OpKind::attention: attention(planned, op, input); break;
      case OpKind::select_rows: select_rows(planned, op, input); break;
      case OpKind::head: head(planned, op, input); break;
      case OpKind::loss: loss(planned, op, input); break;
      case OpKind::entry: entry(planned, op, input); break;
    }
    return false;
  }

  bool upload(const PlannedPass& planned, const ScheduledOp& scheduled) {
    const int index = planned.program.ops[scheduled.op].tile;
    const Tile& tile = planned.program.tiles[index];
    const int64_t bytes = bytes_of(tile.count());
    link_.upload(index, tile.weight, bytes_of(tile.first_element()), at(scheduled.tile_offset, bytes), bytes, upload_);
    return true;
  }

  bool download(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
    const int index = planned.program.ops[scheduled.op].tile;
    const Tile& tile = planned.program.tiles[index];
    if (!planned.program.shape.training() || !commits(tile.weight, input)) return false;
    const int64_t bytes = bytes_of(tile.count());
    link_.download(index, tile.weight, bytes_of(tile.first_element()), at(scheduled.tile_offset, bytes), bytes,
                   download_);
    return true;
  }

  cuda::Direction direction(const PlannedPass& planned, const Op& op, const PassInput& input) const {
    const bool present = planned.program.shape.training() && op.kind != OpKind::fold;
    return {input.seed, static_cast<uint32_t>(op.pair), settings_.eps, present, nullptr};
  }

  // What a visit goes over; where it reads and writes is left out.
  cuda::VisitTile describe(const Tile& tile) const {
    const size_t first = segment_first_[tile.weight];
    cuda::VisitTile described;
    described.first_element = tile.first_element();
    described.count = tile.count();
    described.segments = segments_.data() + first;
    described.device_segments = as<cuda::VisitSegment>(device_segments_.data()) + first;
    described.segment_count = static_cast<int>(plan_.table.weights[tile.weight].segments.size());
    return described;
  }

  void visit(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
    const Op& op = planned.program.ops[scheduled.op];
    const Tile& tile = planned.program.tiles[op.tile];
    const bool commit = planned.program.shape.training() && op.last_visit && commits(tile.weight, input);
    const int64_t bytes = bytes_of(tile.count());
    std::byte* base = at(scheduled.tile_offset, bytes);
    cuda::VisitTile visited = describe(tile);
    visited.base = base;
    if (commit) visited.commit = base;
    for (int side = 0; side < 2; ++side) {
      if (op.out[side] >= 0) visited.out[side] = buffer(planned, op.out[side], bytes);
    }
    cuda::Direction along = direction(planned, op, input);
    if (op.in[0] >= 0) along.z = buffer(planned, op.in[0], bytes);
    cuda::visit(rules_, visited, pending(tile.weight, input), along, compute_);
  }

  void noise(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const Tile& tile = planned.program.tiles[op.tile];
    cuda::write_noise(rules_, describe(tile), input.seed, static_cast<uint32_t>(op.pair),
                      buffer(planned, op.out[0], bytes_of(tile.count())), compute_);
  }

  void inputs(const PlannedPass& planned, const PassInput& input, PassSlot& slot) {
    const Program& program = planned.program;
    auto* words = slot.words.as<int32_t>();
    const auto copy = [&](int index, const std::vector<int32_t>& values) {
      std::copy(values.begin(), values.end(), words);
      const auto count = static_cast<int64_t>(values.size());
      cuda::copy_words(words, as<int32_t>(buffer(planned, index, count * 4)), count, compute_);
      words += count;
    };
    copy(program.token_ids, input.batch.tokens);
    copy(program.labelled_rows, input.batch.rows);
    copy(program.targets, input.batch.targets);
    if (input.pass == 0) {
      step_tokens_ = 0;
      const int64_t bytes = program.buffers[program.losses].bytes;
      ZO2_CUDA_CHECK(cudaMemsetAsync(buffer(planned, program.losses, bytes), 0, static_cast<size_t>(bytes), compute_));
    }
    step_tokens_ += static_cast<int64_t>(input.batch.rows.size());
  }

  void gather(const PlannedPass& planned, const Op& op, const PassInput& input, PassSlot& slot) {
    const Table& table = tables_[op.weight];
    const int64_t tokens = tokens_of(input);
    const int64_t seq = input.batch.seq;
    PinnedBuffer& packed = slot.packed[gathers_++];
    if (!table.all_reachable) {
      std::vector<const std::byte*> rows(static_cast<size_t>(tokens));
      for (int64_t token = 0; token < tokens; ++token) {
        const int64_t row = op.index == GatherIndex::tokens ? input.batch.tokens[static_cast<size_t>(token)]
                                                            : token % seq + op.index_offset;
        const bool reachable = table.tiles[static_cast<size_t>(row / table.rows_per_tile)] != nullptr;
        rows[static_cast<size_t>(token)] = reachable ? nullptr : weights_.data(op.weight) + bytes_of(row * op.out_cols);
      }
      link_.pack(std::move(rows), bytes_of(op.out_cols), packed.as(), last_tile_[op.weight], compute_);
    }
    cuda::GatherTable gathered;
    gathered.tiles = as<const std::byte*>(table.device.data());
    gathered.packed = packed.as();
    gathered.rows_per_tile = table.rows_per_tile;
    gathered.cols = op.out_cols;
    gathered.parameter_id = segments_[segment_first_[op.weight]].id;
    std::byte* out[2] = {nullptr, nullptr};
    for (int side = 0; side < planned.program.shape.sides(); ++side) {
      out[side] = buffer(planned, op.out[side], bytes_of(tokens * op.out_cols));
    }
    const int32_t* ids = op.in[0] >= 0 ? as<int32_t>(buffer(planned, op.in[0], tokens * 4)) : nullptr;
    cuda::gather(rules_, gathered, ids, op.index_offset, seq, tokens, pending(op.weight, input),
                 direction(planned, op, input), op.accumulate, out, compute_);
  }

  void layer_norm(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const int64_t rows = rows_of(op, input);
    const int64_t bytes = bytes_of(rows * op.in_cols);
    const std::byte* vectors = whole(planned, op.vectors);
    cuda::layer_norm(rules_.dtype, buffer(planned, op.in[0], bytes), vectors + bytes_of(op.vector_offset[0]),
                     vectors + bytes_of(op.vector_offset[1]), buffer(planned, op.out[0], bytes), rows, op.in_cols,
                     compute_);
  }

  void linear(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const Tile& tile = planned.program.tiles[op.tile];
    const int64_t rows = rows_of(op, input);
    cuda::GemmShape shape;
    shape.dtype = rules_.dtype;
    shape.rows = rows;
    shape.in_cols = op.in_cols;
    shape.out_cols = tile.rows;
    shape.stride = op.out_cols;
    shape.column = tile.first_row;
    shape.bias = op.vectors >= 0;
    shape.relu = op.relu;
    shape.accumulate = op.accumulate;
    const std::byte* bias =
        shape.bias ? whole(planned, op.vectors) + bytes_of(op.vector_offset[0] + tile.first_row) : nullptr;
    gemm_.run(shape, buffer(planned, op.in[0], bytes_of(rows * op.in_cols)),
              buffer(planned, op.weights, bytes_of(tile.count())), bias,
              buffer(planned, op.out[0], bytes_of(rows * op.out_cols)) + bytes_of(tile.first_row), compute_);
  }

  void attention(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const Program& program = planned.program;
    const int64_t bytes = bytes_of(tokens_of(input) * op.in_cols);
    const std::byte* qkv[3];
    for (int i = 0; i < 3; ++i) qkv[i] = buffer(planned, op.in[i], bytes);
    cuda::attention(rules_.dtype, qkv[0], qkv[1], qkv[2], whole(planned, op.out[0]), program.buffers[op.out[0]].bytes,
                    input.batch.batch, input.batch.seq, program.num_heads, op.in_cols / program.num_heads, compute_);
  }

  void select_rows(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const auto rows = static_cast<int64_t>(input.batch.rows.size());
    cuda::select_rows(whole(planned, op.in[0]), as<int32_t>(buffer(planned, op.in[1], rows * 4)),
                      buffer(planned, op.out[0], bytes_of(rows * op.in_cols)), rows, bytes_of(op.in_cols), compute_);
  }

  cuda::LogSumExp log_sum_exp(const PlannedPass& planned, int index) {
    auto* data = as<float>(whole(planned, index));
    const int64_t tokens = planned.program.shape.tokens();
    return {data, data + tokens, data + 2 * tokens};
  }

  void head(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const Tile& tile = planned.program.tiles[op.tile];
    const auto rows = static_cast<int64_t>(input.batch.rows.size());
    std::byte* logits = buffer(planned, op.out[1], rows * tile.rows * 4);
    cuda::GemmShape shape;
    shape.dtype = rules_.dtype;
    shape.rows = rows;
    shape.in_cols = op.in_cols;
    shape.out_cols = shape.stride = tile.rows;
    shape.float_out = true;
    gemm_.run(shape, buffer(planned, op.in[0], bytes_of(rows * op.in_cols)),
              buffer(planned, op.weights, bytes_of(tile.count())), nullptr, logits, compute_);
    cuda::update_log_sum_exp(as<float>(logits), as<int32_t>(buffer(planned, op.in[1], rows * 4)), tile.first_row,
                             tile.rows, !op.accumulate, log_sum_exp(planned, op.out[0]), rows, compute_);
  }

  void loss(const PlannedPass& planned, const Op& op, const PassInput& input) {
    const auto rows = static_cast<int64_t>(input.batch.rows.size());
    cuda::finish_log_probabilities(log_sum_exp(planned, op.in[0]), rows,
                                   as<float>(buffer(planned, op.out[0], rows * 4)),
                                   as<double>(whole(planned, op.out[1])) + op.branch, compute_);
  }

  void entry(const PlannedPass& planned, const Op& op, const PassInput& input) {
    if (!planned.program.shape.training() || !input.last_pass) return;
    cuda::EntryInput made;
    made.seed = input.seed;
    made.learning_rate = input.learning_rate;
    made.weight_decay = settings_.weight_decay;
    made.eps = static_cast<double>(settings_.eps);
    made.tokens = static_cast<double>(step_tokens_);
    made.step = static_cast<uint32_t>(input.step);
    made.pairs = static_cast<uint32_t>(pairs_);
    cuda::make_entries(as<double>(whole(planned, op.in[0])), made, as<DeviceEntry>(ring_.data()),
                       ring_position(input.step), results_.as<EntryResult>() + input.step % kStepsInFlight * pairs_,
                       compute_);
  }

  // A table that gathers read: where its tiles are, null for those that the host must pack.
  struct Table {
    std::vector<const std::byte*> tiles;
    DeviceBuffer device;  // the same, for kernels
    int64_t rows_per_tile = 1;
    bool all_reachable = true;
  };

  const Plan& plan_;
  HostWeights& weights_;
  const ExecutorSettings settings_;
  const cuda::VisitRules rules_;
  const int64_t elt_bytes_;
  const int64_t pairs_;

  DeviceBuffer arena_;
  DeviceBuffer ring_;
  PinnedBuffer results_;  // [kStepsInFlight, pairs] EntryResult
  std::vector<cuda::VisitSegment> segments_;
  DeviceBuffer device_segments_;
  std::vector<size_t> segment_first_;  // per weight, in segments_
  std::vector<Table> tables_;          // per weight
  std::vector<int> last_tile_;         // per weight
  cuda::Stream compute_;
  cuda::Stream upload_;
  cuda::Stream download_;
  cuda::HostLink link_;
  cuda::Gemm gemm_;
  std::optional<Line> training_;
  std::optional<Line> evaluation_;
  std::vector<PassSlot> slots_;

  int64_t passes_ = 0;
  size_t gathers_ = 0;
  int64_t next_step_ = 0;
  int64_t finished_ = 0;      // steps whose results the host has taken
  int64_t oldest_entry_ = 0;  // the first step in the ring
  int64_t step_tokens_ = 0;   // labelled tokens of the step's passes so far
  int64_t peak_bytes_ = 0;
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
