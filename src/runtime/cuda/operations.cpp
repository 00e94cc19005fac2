#include "runtime/cuda/operations.h"

#include <algorithm>

#include "base/error.h"
#include "runtime/cuda/attention.h"
#include "runtime/cuda/describe.h"
#include "runtime/pass.h"
#include "store/parallel.h"

namespace zo2::cuda {
namespace {

template <typename T>
T* as(std::byte* data) {
  return reinterpret_cast<T*>(data);
}

int64_t tokens_of(const PassInput& input) { return input.batch.batch * input.batch.seq; }

}  // namespace

Operations::Operations(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings)
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
            settings.threads > 0 ? settings.threads : hardware_threads()) {
  ZO2_ASSERT(settings.rounded_noise == plan.settings.scheme.noise_buffer);
  for (const Op& op : plan.any().program.ops) {
    ZO2_CHECK(op.kind != OpKind::layer_norm || op.in_cols <= kMostNormCols, UsageError,
              "hidden size {} is beyond the {} that the CUDA layer norm can hold", op.in_cols, kMostNormCols);
  }
  ZO2_CHECK(plan.settings.generation.cache_tokens() <= kMostCacheTokens, UsageError,
            "{} positions of a sequence are beyond the {} that the CUDA attention over a cache can hold",
            plan.settings.generation.cache_tokens(), kMostCacheTokens);
  describe_weights();
}

void Operations::start(int64_t next_step, std::span<const LogEntry> entries) {
  const size_t keep = std::min(entries.size(), static_cast<size_t>(2 * kMaxPendingEntries + pairs_));
  std::vector<DeviceEntry> ring(kRingEntries);
  for (const LogEntry& entry : entries.last(keep)) {
    ring[(ring_position(entry.step) + entry.pair) % kRingEntries] = device_entry(entry);
  }
  ZO2_CUDA_CHECK(cudaMemcpy(ring_.data(), ring.data(), ring.size() * sizeof(DeviceEntry), cudaMemcpyHostToDevice));
  oldest_entry_ = entries.empty() ? next_step : static_cast<int64_t>(entries.last(keep).front().step);
  copy_resident(/*to_host=*/false);
}

cudaStream_t Operations::stream_of(zo2::Stream stream) const {
  return stream == zo2::Stream::compute ? compute_ : stream == zo2::Stream::upload ? upload_ : download_;
}

EntryResult* Operations::results(int64_t step) const {
  return results_.as<EntryResult>() + step % kStepsInFlight * pairs_;
}

void Operations::describe_weights() {
  const Program& program = plan_.any().program;
  segment_first_.assign(plan_.table.weights.size(), 0);
  for (size_t weight = 0; weight < plan_.table.weights.size(); ++weight) {
    segment_first_[weight] = segments_.size();
    const std::vector<VisitSegment> own = segments_of(plan_.table, weight);
    segments_.insert(segments_.end(), own.begin(), own.end());
  }
  device_segments_ = to_device(segments_, "descriptions of parameters");
  tables_.resize(plan_.table.weights.size());
  for (size_t tile = 0; tile < program.tiles.size(); ++tile) {
    const Tile& held = program.tiles[tile];
    const bool resident = plan_.layout.resident(static_cast<int>(tile));
    Table& table = tables_[held.weight];
    if (!resident) table.last_tile = static_cast<int>(tile);
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

PassMemory Operations::make_pass_memory() const {
  int64_t words = 0;
  std::vector<int64_t> packed_bytes;
  for (const PlannedPass* pass : plan_.passes()) {
    const Program& program = pass->program;
    words = std::max(words, 3 * program.shape.tokens() + (program.groups < 0 ? 0 : 3 * program.shape.batch));
    size_t gathers = 0;
    for (const Op& op : program.ops) {
      if (op.kind != OpKind::gather) continue;
      if (gathers == packed_bytes.size()) packed_bytes.push_back(0);
      if (!tables_[op.weight].all_reachable) {
        packed_bytes[gathers] = std::max(packed_bytes[gathers], bytes_of(program.shape.tokens() * op.out_cols));
      }
      ++gathers;
    }
  }
  PassMemory memory;
  memory.words = PinnedBuffer(words * 4);
  for (int64_t bytes : packed_bytes) memory.packed.emplace_back(bytes);
  return memory;
}

void Operations::copy_resident(bool to_host) {
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

std::byte* Operations::at(int64_t offset, int64_t bytes) {
  ZO2_ASSERT(offset >= 0 && bytes >= 0 && offset + bytes <= arena_.size());
  peak_bytes_ = std::max(peak_bytes_, offset + bytes);
  return arena_.data() + offset;
}

std::byte* Operations::buffer(const PlannedPass& planned, int index, int64_t bytes) {
  ZO2_ASSERT(bytes <= planned.program.buffers[index].bytes);
  return at(plan_.layout.buffer_offset[planned.layout_index][index], bytes);
}

std::byte* Operations::whole(const PlannedPass& planned, int index) {
  return buffer(planned, index, planned.program.buffers[index].bytes);
}

uint32_t Operations::ring_position(int64_t step) const { return static_cast<uint32_t>(step * pairs_ % kRingEntries); }

PendingEntries Operations::pending(int weight, const PassInput& input) const {
  const int64_t first = plan_.commits[weight].folded_steps(input.step, input.pass);
  if (first >= input.step) return {as<DeviceEntry>(ring_.data()), 0, 0};
  ZO2_ASSERT(first >= oldest_entry_);
  return {as<DeviceEntry>(ring_.data()), ring_position(first), static_cast<uint32_t>((input.step - first) * pairs_)};
}

bool Operations::run(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input,
                     PassMemory& memory) {
  const Op& op = planned.program.ops[scheduled.op];
  switch (op.kind) {
    case OpKind::upload: return upload(planned, scheduled);
    case OpKind::download: return download(planned, scheduled, input);
    case OpKind::visit:
    case OpKind::fold: visit(planned, scheduled, input); break;
    case OpKind::noise: noise(planned, op, input); break;
    case OpKind::inputs: inputs(planned, input, memory); break;
    case OpKind::gather: gather(planned, op, input, memory); break;
    case OpKind::layer_norm: layer_norm(planned, op, input); break;
    case OpKind::linear: linear(planned, op, input); break;
    case OpKind::attention: attention(planned, op, input); break;
    case OpKind::cache: cache(planned, op, input); break;
    case OpKind::cached_attention: cached_attention(planned, op, input); break;
    case OpKind::select_rows: select_rows(planned, op, input); break;
    case OpKind::head: head(planned, op, input); break;
    case OpKind::arg_max: arg_max(planned, op, input); break;
    case OpKind::loss: loss(planned, op, input); break;
    case OpKind::entry: entry(planned, op, input); break;
  }
  return false;
}

bool Operations::upload(const PlannedPass& planned, const ScheduledOp& scheduled) {
  const int index = planned.program.ops[scheduled.op].tile;
  const Tile& tile = planned.program.tiles[index];
  const int64_t bytes = bytes_of(tile.count());
  link_.upload(index, tile.weight, bytes_of(tile.first_element()), at(scheduled.tile_offset, bytes), bytes, upload_);
  return true;
}

bool Operations::download(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  const int index = planned.program.ops[scheduled.op].tile;
  const Tile& tile = planned.program.tiles[index];
  if (!planned.program.shape.training() || !commits(plan_, tile.weight, input)) return false;
  const int64_t bytes = bytes_of(tile.count());
  link_.download(index, tile.weight, bytes_of(tile.first_element()), at(scheduled.tile_offset, bytes), bytes,
                 download_);
  return true;
}

cuda::Direction Operations::direction(const PlannedPass& planned, const Op& op, const PassInput& input) const {
  const bool present = planned.program.shape.training() && op.kind != OpKind::fold;
  return {input.seed, static_cast<uint32_t>(op.pair), settings_.eps, present, nullptr};
}

cuda::VisitTile Operations::describe(const Tile& tile) const {
  const size_t first = segment_first_[tile.weight];
  cuda::VisitTile described;
  described.first_element = tile.first_element();
  described.count = tile.count();
  described.segments = segments_.data() + first;
  described.device_segments = as<cuda::VisitSegment>(device_segments_.data()) + first;
  described.segment_count = static_cast<int>(plan_.table.weights[tile.weight].segments.size());
  return described;
}

void Operations::visit(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  const Op& op = planned.program.ops[scheduled.op];
  const Tile& tile = planned.program.tiles[op.tile];
  const bool commit = planned.program.shape.training() && op.last_visit && commits(plan_, tile.weight, input);
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

void Operations::noise(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  cuda::write_noise(rules_, describe(tile), input.seed, static_cast<uint32_t>(op.pair),
                    buffer(planned, op.out[0], bytes_of(tile.count())), compute_);
}

void Operations::inputs(const PlannedPass& planned, const PassInput& input, PassMemory& memory) {
  const Program& program = planned.program;
  gathers_ = 0;
  auto* words = memory.words.as<int32_t>();
  const auto copy = [&](int index, const std::vector<int32_t>& values) {
    if (index < 0) return;
    std::copy(values.begin(), values.end(), words);
    const auto count = static_cast<int64_t>(values.size());
    cuda::copy_words(words, as<int32_t>(buffer(planned, index, count * 4)), count, compute_);
    words += count;
  };
  copy(program.token_ids, input.batch.tokens);
  copy(program.positions, input.batch.positions);
  copy(program.labelled_rows, input.batch.rows);
  copy(program.targets, input.batch.targets);
  if (program.groups >= 0) copy(program.groups, packed_groups(input.batch));
  if (program.losses < 0) return;
  if (input.pass == 0) {
    step_terms_ = 0;
    const int64_t bytes = program.buffers[program.losses].bytes;
    ZO2_CUDA_CHECK(cudaMemsetAsync(buffer(planned, program.losses, bytes), 0, static_cast<size_t>(bytes), compute_));
  }
  step_terms_ += input.batch.terms();
}

void Operations::gather(const PlannedPass& planned, const Op& op, const PassInput& input, PassMemory& memory) {
  const Table& table = tables_[op.weight];
  const int64_t tokens = tokens_of(input);
  const int64_t seq = input.batch.seq;
  PinnedBuffer& packed = memory.packed[gathers_++];
  if (!table.all_reachable) {
    std::vector<const std::byte*> rows(static_cast<size_t>(tokens));
    for (int64_t token = 0; token < tokens; ++token) {
      const int64_t row = gathered_row(op, input.batch, token);
      const bool reachable = table.tiles[static_cast<size_t>(row / table.rows_per_tile)] != nullptr;
      rows[static_cast<size_t>(token)] = reachable ? nullptr : weights_.data(op.weight) + bytes_of(row * op.out_cols);
    }
    link_.pack(std::move(rows), bytes_of(op.out_cols), packed.as(), table.last_tile, compute_);
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

void Operations::layer_norm(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const int64_t rows = rows_of(op, input);
  const int64_t bytes = bytes_of(rows * op.in_cols);
  const std::byte* vectors = whole(planned, op.vectors);
  cuda::layer_norm(rules_.dtype, buffer(planned, op.in[0], bytes), vectors + bytes_of(op.vector_offset[0]),
                   vectors + bytes_of(op.vector_offset[1]), buffer(planned, op.out[0], bytes), rows, op.in_cols,
                   compute_);
}

GemmShape Operations::product(const PlannedPass& planned, const Op& op, const PassInput& input) const {
  const Tile& tile = planned.program.tiles[op.tile];
  GemmShape shape;
  shape.dtype = rules_.dtype;
  shape.rows = rows_of(op, input);
  shape.in_cols = op.in_cols;
  shape.out_cols = tile.rows;
  if (op.kind == OpKind::linear) {
    shape.stride = op.out_cols;
    shape.column = tile.first_row;
    shape.bias = op.vectors >= 0;
    shape.relu = op.relu;
    shape.accumulate = op.accumulate;
  } else {  // logits of the tile
    shape.stride = tile.rows;
    shape.float_out = true;
  }
  return shape;
}

bool Operations::uses_workspace(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  const Op& op = planned.program.ops[scheduled.op];
  const bool multiplies = op.kind == OpKind::linear || op.kind == OpKind::head || op.kind == OpKind::arg_max;
  return multiplies && gemm_.uses_workspace(product(planned, op, input));
}

void Operations::linear(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const GemmShape shape = product(planned, op, input);
  const std::byte* bias =
      shape.bias ? whole(planned, op.vectors) + bytes_of(op.vector_offset[0] + tile.first_row) : nullptr;
  gemm_.run(shape, buffer(planned, op.in[0], bytes_of(shape.rows * op.in_cols)),
            buffer(planned, op.weights, bytes_of(tile.count())), bias,
            buffer(planned, op.out[0], bytes_of(shape.rows * op.out_cols)) + bytes_of(tile.first_row), compute_);
}

void Operations::attention(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Program& program = planned.program;
  const int64_t bytes = bytes_of(tokens_of(input) * op.in_cols);
  const std::byte* qkv[3];
  for (int i = 0; i < 3; ++i) qkv[i] = buffer(planned, op.in[i], bytes);
  cuda::attention(rules_.dtype, qkv[0], qkv[1], qkv[2], whole(planned, op.out[0]), program.buffers[op.out[0]].bytes,
                  input.batch.batch, input.batch.seq, program.num_heads, op.in_cols / program.num_heads, compute_);
}

void Operations::cache(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const int64_t batch = input.batch.batch;
  const int64_t seq = input.batch.seq;
  const int32_t* positions = op.in[2] >= 0 ? as<int32_t>(buffer(planned, op.in[2], batch * 4)) : nullptr;
  for (int i = 0; i < 2; ++i) {  // keys, values
    cuda::keep_rows(buffer(planned, op.in[i], bytes_of(batch * seq * op.in_cols)), positions, whole(planned, op.out[i]),
                    batch, seq, planned.program.shape.cache_tokens, bytes_of(op.in_cols), compute_);
  }
}

void Operations::cached_attention(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Program& program = planned.program;
  const int64_t batch = input.batch.batch;
  cuda::CachedAttention shape;
  shape.q = buffer(planned, op.in[0], bytes_of(batch * op.in_cols));
  shape.keys = whole(planned, op.in[1]);
  shape.values = whole(planned, op.in[2]);
  shape.positions = as<int32_t>(buffer(planned, op.in[3], batch * 4));
  shape.out = buffer(planned, op.out[0], bytes_of(batch * op.in_cols));
  shape.batch = batch;
  shape.heads = program.num_heads;
  shape.head_dim = op.in_cols / program.num_heads;
  shape.capacity = program.shape.cache_tokens;
  cuda::cached_attention(rules_.dtype, shape, compute_);
}

void Operations::select_rows(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  cuda::select_rows(whole(planned, op.in[0]), as<int32_t>(buffer(planned, op.in[1], rows * 4)),
                    buffer(planned, op.out[0], bytes_of(rows * op.in_cols)), rows, bytes_of(op.in_cols), compute_);
}

cuda::LogSumExp Operations::log_sum_exp(const PlannedPass& planned, int index) {
  auto* data = as<float>(whole(planned, index));
  const int64_t rows = planned.program.shape.labelled();
  return {data, data + rows, data + 2 * rows};
}

const float* Operations::logits(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const GemmShape shape = product(planned, op, input);
  std::byte* logits = buffer(planned, op.out[1], shape.rows * tile.rows * 4);
  gemm_.run(shape, buffer(planned, op.in[0], bytes_of(shape.rows * op.in_cols)),
            buffer(planned, op.weights, bytes_of(tile.count())), nullptr, logits, compute_);
  return as<float>(logits);
}

void Operations::head(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  const float* scores = logits(planned, op, input);
  cuda::update_log_sum_exp(scores, as<int32_t>(buffer(planned, op.in[1], rows * 4)), tile.first_row, tile.rows,
                           !op.accumulate, log_sum_exp(planned, op.out[0]), rows, compute_);
}

void Operations::arg_max(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const float* scores = logits(planned, op, input);
  std::byte* state = whole(planned, op.out[0]);
  cuda::update_arg_max(scores, tile.first_row, tile.rows, !op.accumulate,
                       {as<int32_t>(state), as<float>(state) + planned.program.shape.batch},
                       static_cast<int64_t>(input.batch.rows.size()), compute_);
}

void Operations::loss(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  auto* logprobs = as<float>(buffer(planned, op.out[0], rows * 4));
  double* loss = as<double>(whole(planned, op.out[1])) + op.branch;
  const bool lm = op.in[1] < 0;
  cuda::finish_log_probabilities(log_sum_exp(planned, op.in[0]), rows, logprobs, lm ? loss : nullptr, compute_);
  if (lm) return;
  cuda::add_candidate_losses(logprobs, unpacked_groups(as<int32_t>(whole(planned, op.in[1])), input.batch),
                             static_cast<int32_t>(input.batch.answers.size()), planned.program.shape.objective, loss,
                             compute_);
}

void Operations::entry(const PlannedPass& planned, const Op& op, const PassInput& input) {
  if (!planned.program.shape.training() || !input.last_pass) return;
  cuda::EntryInput made;
  made.rule = {input.learning_rate, settings_.weight_decay, static_cast<double>(settings_.eps),
               static_cast<uint32_t>(pairs_)};
  made.seed = input.seed;
  made.terms = static_cast<double>(step_terms_);
  made.step = static_cast<uint32_t>(input.step);
  cuda::make_entries(as<double>(whole(planned, op.in[0])), made, as<DeviceEntry>(ring_.data()),
                     ring_position(input.step), results_.as<EntryResult>() + input.step % kStepsInFlight * pairs_,
                     compute_);
}

}  // namespace zo2::cuda
