#include "runtime/cpu/operations.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/cpu/kernels.h"
#include "runtime/cpu/linalg.h"
#include "runtime/pass.h"

namespace zo2::cpu {
namespace {

constexpr int64_t kVisitGrain = 16 * 1024;  // elements a thread takes at least
constexpr int64_t kRowGrain = 4;

template <typename T>
T* as(std::byte* data) {
  return reinterpret_cast<T*>(data);
}

LogSumExp log_sum_exp(std::byte* state, int64_t tokens) {
  auto* data = as<float>(state);
  return {data, data + tokens, data + 2 * tokens};
}

ArgMax arg_max_state(std::byte* state, int64_t batch) { return {as<int32_t>(state), as<float>(state) + batch}; }

}  // namespace

void EntryRing::push(const LogEntry& entry) {
  const size_t keep = static_cast<size_t>(2 * kMaxPendingEntries + 2 * pairs_);
  if (entries_.size() >= 4 * keep) entries_.erase(entries_.begin(), entries_.end() - static_cast<int64_t>(keep));
  entries_.push_back(entry);
}

std::span<const LogEntry> EntryRing::range(int64_t first_step, int64_t end_step) const {
  return entries_between(entries_, pairs_, first_step, end_step);
}

Operations::Operations(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings, Arena& arena)
    : plan_(plan),
      weights_(weights),
      settings_(settings),
      arena_(arena),
      rules_{&plan.table, plan.settings.dtype, &settings},
      elt_bytes_(dtype_bytes(plan.settings.dtype)),
      tiles_of_(plan.table.weights.size()),
      entries_(std::max(1, plan.settings.pairs)),
      last_end_(std::chrono::steady_clock::now()) {
  ZO2_ASSERT(settings.rounded_noise == plan.settings.scheme.noise_buffer);
  const std::vector<Tile>& tiles = plan.any().program.tiles;
  for (size_t tile = 0; tile < tiles.size(); ++tile) tiles_of_[tiles[tile].weight].push_back(static_cast<int>(tile));
}

bool Operations::run(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  const Op& op = planned.program.ops[scheduled.op];
  switch (op.kind) {
    case OpKind::upload: return upload(planned, scheduled);
    case OpKind::download: return download(planned, scheduled, input);
    case OpKind::visit:
    case OpKind::fold: visit(planned, scheduled, input); break;
    case OpKind::noise: noise(planned, op, input); break;
    case OpKind::inputs: inputs(planned, input); break;
    case OpKind::gather: gather(planned, op, input); break;
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

void Operations::start(std::span<const LogEntry> entries) {
  entries_ = EntryRing(std::max(1, plan_.settings.pairs));
  for (const LogEntry& entry : entries) entries_.push(entry);
  last_end_ = std::chrono::steady_clock::now();
}

std::byte* Operations::buffer(const PlannedPass& planned, int buffer, int64_t bytes) const {
  ZO2_ASSERT(bytes <= planned.program.buffers[buffer].bytes);
  return arena_.at(plan_.layout.buffer_offset[planned.layout_index][buffer], bytes);
}

std::byte* Operations::whole(const PlannedPass& planned, int index) const {
  return buffer(planned, index, planned.program.buffers[index].bytes);
}

std::span<const LogEntry> Operations::pending(int weight, const PassInput& input) const {
  return entries_.range(plan_.commits[weight].folded_steps(input.step, input.pass), input.step);
}

const std::byte* Operations::table_row(const Program& program, int weight, int64_t row) const {
  const std::vector<int>& tiles = tiles_of_[weight];
  const int tile = tiles[static_cast<size_t>(row / program.tiles[tiles[0]].rows)];
  const Tile& held = program.tiles[tile];
  if (!plan_.layout.resident(tile)) return weights_.data(weight) + elements_bytes(row * held.cols);
  return arena_.at(plan_.layout.resident_offset[tile] + elements_bytes((row - held.first_row) * held.cols),
                   elements_bytes(held.cols));
}

void Operations::copy_tile(const Tile& tile, int64_t offset, bool to_host) {
  const int64_t bytes = elements_bytes(tile.count());
  std::byte* device = arena_.at(offset, bytes);
  std::byte* host = weights_.data(tile.weight) + elements_bytes(tile.first_element());
  std::memcpy(to_host ? host : device, to_host ? device : host, static_cast<size_t>(bytes));
}

void Operations::copy_resident(bool to_host) {
  const std::vector<Tile>& tiles = plan_.any().program.tiles;
  at::parallel_for(0, static_cast<int64_t>(tiles.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t offset = plan_.layout.resident_offset[tile];
      if (offset >= 0) copy_tile(tiles[tile], offset, to_host);
    }
  });
}

bool Operations::upload(const PlannedPass& planned, const ScheduledOp& scheduled) {
  copy_tile(planned.program.tiles[planned.program.ops[scheduled.op].tile], scheduled.tile_offset, /*to_host=*/false);
  return true;
}

bool Operations::download(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  const Tile& tile = planned.program.tiles[planned.program.ops[scheduled.op].tile];
  if (!planned.program.shape.training() || !commits(plan_, tile.weight, input)) return false;
  copy_tile(tile, scheduled.tile_offset, /*to_host=*/true);
  return true;
}

void Operations::visit(const PlannedPass& planned, const ScheduledOp& scheduled, const PassInput& input) {
  const Op& op = planned.program.ops[scheduled.op];
  const Tile& tile = planned.program.tiles[op.tile];
  const bool training = planned.program.shape.training();
  const bool commit = training && op.last_visit && commits(plan_, tile.weight, input);
  const int64_t bytes = elements_bytes(tile.count());
  std::byte* base = arena_.at(scheduled.tile_offset, bytes);
  const std::byte* z = op.in[0] >= 0 ? buffer(planned, op.in[0], bytes) : nullptr;
  VisitOutput output;
  if (commit) output.base = base;
  for (int side = 0; side < 2; ++side) {
    if (op.out[side] >= 0) output.out[side] = buffer(planned, op.out[side], bytes);
  }
  const std::span<const LogEntry> entries = pending(tile.weight, input);
  at::parallel_for(0, tile.count(), kVisitGrain, [&](int64_t first, int64_t last) {
    VisitOutput part;
    if (output.base) part.base = output.base + elements_bytes(first);
    for (int side = 0; side < 2; ++side) {
      if (output.out[side]) part.out[side] = output.out[side] + elements_bytes(first);
    }
    Direction direction{input.seed, static_cast<uint32_t>(op.pair), settings_.eps};
    if (z) direction.z = z + elements_bytes(first);
    visit_elements(rules_, tile.weight, tile.first_element() + first, last - first, base + elements_bytes(first),
                   entries, training && op.kind == OpKind::visit ? &direction : nullptr, part);
  });
}

void Operations::noise(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  std::byte* out = buffer(planned, op.out[0], elements_bytes(tile.count()));
  at::parallel_for(0, tile.count(), kVisitGrain, [&](int64_t first, int64_t last) {
    write_noise(rules_, tile.weight, tile.first_element() + first, last - first, input.seed,
                static_cast<uint32_t>(op.pair), out + elements_bytes(first));
  });
}

void Operations::inputs(const PlannedPass& planned, const PassInput& input) {
  const Program& program = planned.program;
  const auto copy = [&](int index, const std::vector<int32_t>& values) {
    if (index < 0) return;
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(int32_t));
    std::memcpy(buffer(planned, index, bytes), values.data(), static_cast<size_t>(bytes));
  };
  copy(program.token_ids, input.batch.tokens);
  copy(program.positions, input.batch.positions);
  copy(program.labelled_rows, input.batch.rows);
  copy(program.targets, input.batch.targets);
  if (program.groups >= 0) copy(program.groups, packed_groups(input.batch));
  if (program.losses < 0) return;
  if (input.pass == 0) {
    step_terms_ = 0;
    std::memset(whole(planned, program.losses), 0, static_cast<size_t>(program.buffers[program.losses].bytes));
  }
  step_terms_ += input.batch.terms();
}

void Operations::gather(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const int64_t tokens = input.batch.batch * input.batch.seq;
  const int64_t row_bytes = elements_bytes(op.out_cols);
  const bool training = planned.program.shape.training();
  const Direction direction{input.seed, static_cast<uint32_t>(op.pair), settings_.eps};
  const std::span<const LogEntry> entries = pending(op.weight, input);
  const int32_t* ids = op.in[0] >= 0 ? as<int32_t>(buffer(planned, op.in[0], tokens * 4)) : nullptr;
  std::byte* out[2] = {nullptr, nullptr};
  for (int side = 0; side < planned.program.shape.sides(); ++side) {
    out[side] = buffer(planned, op.out[side], tokens * row_bytes);
  }
  at::parallel_for(0, tokens, kRowGrain, [&](int64_t first, int64_t last) {
    std::vector<std::byte> held(static_cast<size_t>(2 * row_bytes));
    for (int64_t token = first; token < last; ++token) {
      const int64_t row = (ids != nullptr ? ids[token] : token % input.batch.seq) + op.index_offset;
      VisitOutput part;
      for (int side = 0; side < 2; ++side) {
        if (!out[side]) continue;
        part.out[side] = op.accumulate ? held.data() + side * row_bytes : out[side] + token * row_bytes;
      }
      visit_elements(rules_, op.weight, row * op.out_cols, op.out_cols, table_row(planned.program, op.weight, row),
                     entries, training ? &direction : nullptr, part);
      if (!op.accumulate) continue;
      for (int side = 0; side < 2; ++side) {
        if (out[side]) add_rows(rules_.dtype, out[side] + token * row_bytes, part.out[side], op.out_cols);
      }
    }
  });
}

void Operations::layer_norm(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const int64_t rows = rows_of(op, input);
  const std::byte* in = buffer(planned, op.in[0], elements_bytes(rows * op.in_cols));
  std::byte* out = buffer(planned, op.out[0], elements_bytes(rows * op.in_cols));
  const std::byte* vectors = whole(planned, op.vectors);
  at::parallel_for(0, rows, kRowGrain, [&](int64_t first, int64_t last) {
    cpu::layer_norm(rules_.dtype, in, vectors + elements_bytes(op.vector_offset[0]),
                    vectors + elements_bytes(op.vector_offset[1]), out, op.in_cols, first, last);
  });
}

void Operations::linear(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const int64_t rows = rows_of(op, input);
  const std::byte* in = buffer(planned, op.in[0], elements_bytes(rows * op.in_cols));
  const std::byte* weights = buffer(planned, op.weights, elements_bytes(tile.count()));
  std::byte* panel = buffer(planned, op.out[0], elements_bytes(rows * op.out_cols)) + elements_bytes(tile.first_row);
  const auto epilogue = [&] {
    if (op.vectors < 0) return;
    const std::byte* bias = whole(planned, op.vectors) + elements_bytes(op.vector_offset[0] + tile.first_row);
    at::parallel_for(0, rows, kRowGrain, [&](int64_t first, int64_t last) {
      add_bias(rules_.dtype, panel, bias, op.relu, tile.rows, op.out_cols, first, last);
    });
  };
  // Into the residual stream the bias goes first, so that the product's own sum is the last rounding.
  if (op.accumulate) epilogue();
  matmul(rules_.dtype, in, weights, panel, rows, op.in_cols, tile.rows, op.out_cols, op.accumulate);
  if (!op.accumulate) epilogue();
}

void Operations::attention(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Program& program = planned.program;
  const int64_t bytes = elements_bytes(input.batch.batch * input.batch.seq * op.in_cols);
  const std::byte* qkv[3];
  for (int i = 0; i < 3; ++i) qkv[i] = buffer(planned, op.in[i], bytes);
  cpu::attention(rules_.dtype, qkv[0], qkv[1], qkv[2], whole(planned, op.out[0]), program.buffers[op.out[0]].bytes,
                 input.batch.batch, input.batch.seq, program.num_heads, op.in_cols / program.num_heads);
}

void Operations::cache(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Batch& batch = input.batch;
  const int64_t row_bytes = elements_bytes(op.in_cols);
  const int64_t capacity = planned.program.shape.cache_tokens;
  const int32_t* positions = op.in[2] >= 0 ? as<int32_t>(buffer(planned, op.in[2], batch.batch * 4)) : nullptr;
  for (int i = 0; i < 2; ++i) {  // keys, values
    const std::byte* in = buffer(planned, op.in[i], batch.batch * batch.seq * row_bytes);
    std::byte* kept = whole(planned, op.out[i]);
    for (int64_t sequence = 0; sequence < batch.batch; ++sequence) {
      const int64_t first = sequence * capacity + (positions != nullptr ? positions[sequence] : 0);
      std::memcpy(kept + first * row_bytes, in + sequence * batch.seq * row_bytes,
                  static_cast<size_t>(batch.seq * row_bytes));
    }
  }
}

void Operations::cached_attention(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Program& program = planned.program;
  const int64_t batch = input.batch.batch;
  const int64_t heads = program.num_heads;
  const int64_t head_dim = op.in_cols / heads;
  const int64_t sequence_bytes = elements_bytes(program.shape.cache_tokens * op.in_cols);
  const std::byte* q = buffer(planned, op.in[0], elements_bytes(batch * op.in_cols));
  const std::byte* keys = buffer(planned, op.in[1], batch * sequence_bytes);
  const std::byte* values = buffer(planned, op.in[2], batch * sequence_bytes);
  const int32_t* positions = as<int32_t>(buffer(planned, op.in[3], batch * 4));
  std::byte* out = buffer(planned, op.out[0], elements_bytes(batch * op.in_cols));
  at::parallel_for(0, batch * heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t sequence = i / heads;
      const int64_t head = elements_bytes(i % heads * head_dim);
      attend(rules_.dtype, q + elements_bytes(i * head_dim), keys + sequence * sequence_bytes + head,
             values + sequence * sequence_bytes + head, out + elements_bytes(i * head_dim), head_dim, op.in_cols,
             positions[sequence] + 1);
    }
  });
}

void Operations::select_rows(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  const int64_t row_bytes = elements_bytes(op.in_cols);
  const int32_t* index = as<int32_t>(buffer(planned, op.in[1], rows * 4));
  const std::byte* in = whole(planned, op.in[0]);
  std::byte* out = buffer(planned, op.out[0], rows * row_bytes);
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(out + row * row_bytes, in + index[row] * row_bytes, static_cast<size_t>(row_bytes));
  }
}

const float* Operations::logits(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  const std::byte* in = buffer(planned, op.in[0], elements_bytes(rows * op.in_cols));
  auto* logits = as<float>(buffer(planned, op.out[1], rows * tile.rows * 4));
  const std::byte* weights = buffer(planned, op.weights, elements_bytes(tile.count()));
  matmul_to_float(rules_.dtype, in, weights, logits, rows, op.in_cols, tile.rows);
  return logits;
}

void Operations::arg_max(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  const float* scores = logits(planned, op, input);
  const ArgMax state = arg_max_state(whole(planned, op.out[0]), planned.program.shape.batch);
  at::parallel_for(0, rows, 1, [&](int64_t first, int64_t last) {
    update_arg_max(scores, tile.first_row, tile.rows, !op.accumulate, state, first, last);
  });
}

void Operations::head(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const Tile& tile = planned.program.tiles[op.tile];
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  const int32_t* targets = as<int32_t>(buffer(planned, op.in[1], rows * 4));
  const float* scores = logits(planned, op, input);
  const LogSumExp state = log_sum_exp(whole(planned, op.out[0]), planned.program.shape.labelled());
  at::parallel_for(0, rows, kRowGrain, [&](int64_t first, int64_t last) {
    update_log_sum_exp(scores, targets, tile.first_row, tile.rows, !op.accumulate, state, first, last);
  });
}

void Operations::loss(const PlannedPass& planned, const Op& op, const PassInput& input) {
  const auto rows = static_cast<int64_t>(input.batch.rows.size());
  auto* logprobs = as<float>(buffer(planned, op.out[0], rows * 4));
  auto* losses = as<double>(whole(planned, op.out[1]));
  const LogSumExp state = log_sum_exp(whole(planned, op.in[0]), planned.program.shape.labelled());
  const double sum = finish_log_probabilities(state, rows, logprobs);
  if (op.in[1] < 0) {
    losses[op.branch] += sum;
    return;
  }
  const CandidateGroups groups = unpacked_groups(as<int32_t>(whole(planned, op.in[1])), input.batch);
  for (int32_t example = 0; example < static_cast<int32_t>(input.batch.answers.size()); ++example) {
    losses[op.branch] += candidate_loss(logprobs, groups, example, planned.program.shape.objective);
  }
}

void Operations::entry(const PlannedPass& planned, const Op& op, const PassInput& input) {
  if (!planned.program.shape.training() || !input.last_pass) return;
  const auto* losses = as<double>(whole(planned, op.in[0]));
  const int pairs = planned.program.shape.pairs;
  const auto terms = static_cast<double>(step_terms_);
  const EntryRule rule{input.learning_rate, settings_.weight_decay, static_cast<double>(settings_.eps),
                       static_cast<uint32_t>(pairs)};
  StepResult result;
  for (int pair = 0; pair < pairs; ++pair) {
    const double loss_plus = losses[2 * pair] / terms;
    const double loss_minus = losses[2 * pair + 1] / terms;
    const LogEntry entry = log_entry(input.step, pair, input.seed, input.learning_rate, loss_plus, loss_minus,
                                     entry_values(loss_plus, loss_minus, rule, static_cast<uint32_t>(pair)));
    entries_.push(entry);
    result.entries.push_back(entry);
  }
  const auto now = std::chrono::steady_clock::now();
  result.step_ms = std::chrono::duration<double, std::milli>(now - last_end_).count();
  last_end_ = now;
  result_ = std::move(result);
}

StepResult Operations::take_result() {
  ZO2_ASSERT(result_.has_value());
  StepResult result = std::move(*result_);
  result_.reset();
  return result;
}

double Operations::loss_sum(const PlannedPass& planned, int branch) const {
  return as<double>(whole(planned, planned.program.losses))[branch];
}

std::vector<float> Operations::logprobs(const PlannedPass& planned, int branch, size_t count) const {
  const auto* data = as<float>(buffer(planned, planned.program.logprobs[branch], static_cast<int64_t>(count * 4)));
  return {data, data + count};
}

std::vector<int32_t> Operations::next_tokens(const PlannedPass& planned, size_t count) const {
  const int32_t* ids = arg_max_state(whole(planned, planned.program.next_tokens), planned.program.shape.batch).index;
  return {ids, ids + count};
}

}  // namespace zo2::cpu
