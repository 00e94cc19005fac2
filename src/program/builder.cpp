#include "program/builder.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/error.h"

namespace zo2 {

int64_t default_tile_bytes(int64_t hidden_size, int64_t elt_bytes) {
  const int64_t scale = elt_bytes / 2;
  return std::clamp(kHeadRows * hidden_size * elt_bytes, 16 * kMiB * scale, 48 * kMiB * scale);
}

ProgramBuilder::ProgramBuilder(const ParameterTable& table, const PassShape& shape, int64_t hidden_size,
                               int64_t num_heads)
    : table_(table) {
  program_.shape = shape;
  if (shape.tile_bytes == 0) {
    program_.shape.tile_bytes = default_tile_bytes(hidden_size, shape.elt_bytes);
    for (const Weight& weight : table.weights) {
      if (shape.tokens() < kComputeBoundTokens || weight.kind != ParameterKind::matrix) continue;
      program_.shape.tile_bytes = std::max(program_.shape.tile_bytes, kPanelRows * weight.cols * shape.elt_bytes);
    }
  }
  program_.num_heads = num_heads;
  const int64_t tokens = shape.tokens();
  program_.token_ids = buffer("token_ids", BufferKind::integers, tokens * 4);
  program_.labelled_rows = buffer("labelled_rows", BufferKind::integers, shape.labelled() * 4);
  if (shape.generation == Generation::decode) {
    ZO2_ASSERT(shape.seq == 1 && shape.cache_tokens > 0);
    program_.positions = buffer("positions", BufferKind::integers, shape.batch * 4);
  }
  ZO2_ASSERT(!shape.generating() || !shape.training());
  if (shape.generating()) {
    program_.next_tokens = buffer("next_tokens", BufferKind::integers, 2 * shape.batch * 4, /*persistent=*/true);
  } else {
    program_.targets = buffer("targets", BufferKind::integers, shape.labelled() * 4);
    program_.losses = buffer("losses", BufferKind::doubles, shape.branches() * 8, /*persistent=*/true);
  }
  if (shape.training() && shape.objective != Objective::lm) {
    program_.groups = buffer("groups", BufferKind::integers, 3 * shape.batch * 4);
  }
  for (int set = 0; set < shape.scratch_sets; ++set) {
    scratch_.push_back({-1, -1});
    for (int side = 0; side < shape.sides(); ++side) {
      scratch_[set][side] = buffer(side == 0 ? "W+" : "W-", BufferKind::weights, 0, /*persistent=*/true);  // take()
    }
  }
  if (shape.scheme.noise_buffer && shape.training()) noise_ = buffer("z", BufferKind::weights, 0);  // sized by take()
  emit(OpKind::inputs);
}

int ProgramBuilder::buffer(const std::string& name, BufferKind kind, int64_t bytes, bool persistent) {
  program_.buffers.push_back({name, kind, bytes, persistent});
  return static_cast<int>(program_.buffers.size()) - 1;
}

int ProgramBuilder::cache_buffer(const char* name, int64_t cols) {
  const PassShape& shape = program_.shape;
  const int index = buffer(fmt::format("{}.{}", name, caches_), BufferKind::hidden,
                           shape.batch * shape.cache_tokens * cols * shape.elt_bytes, /*persistent=*/true);
  program_.buffers[index].shared = true;
  return index;
}

int ProgramBuilder::tile(int weight, int64_t first_row, int64_t rows) {
  const int block = in_layer_ && blocks() ? layers_ - 1 : -1;
  program_.tiles.push_back({weight, first_row, rows, table_.weights[weight].cols, block});
  return static_cast<int>(program_.tiles.size()) - 1;
}

Op& ProgramBuilder::emit(OpKind kind) {
  program_.ops.emplace_back();
  program_.ops.back().kind = kind;
  return program_.ops.back();
}

int64_t ProgramBuilder::rows_per_tile(const Weight& weight) const {
  // Granularity is about matrices: a table is cut all the same (or not, by Scheme::full_head).
  const bool whole = program_.shape.scheme.granularity != Granularity::tile;
  if (whole && weight.kind != ParameterKind::table) return weight.rows;
  const int64_t row_bytes = weight.cols * program_.shape.elt_bytes;
  int64_t fitting = program_.shape.tile_bytes / row_bytes;
  ZO2_CHECK(fitting >= 1, UsageError, "a tile of {} cannot hold one row of {} ({})",
            format_bytes(program_.shape.tile_bytes), weight.name, format_bytes(row_bytes));
  // Multiples of 64 rows keep panels and copies aligned.
  constexpr int64_t kAlignedRows = 64;
  const bool aligned = fitting >= kAlignedRows;
  if (aligned) fitting -= fitting % kAlignedRows;
  if (weight.kind == ParameterKind::table) return std::min({fitting, kHeadRows, weight.rows});
  // Equal tiles, so that none is a sliver.
  const int64_t tiles = (weight.rows + fitting - 1) / fitting;
  const int64_t even = (weight.rows + tiles - 1) / tiles;
  return std::min(aligned ? align_up(even, kAlignedRows) : even, weight.rows);
}

Activation ProgramBuilder::activation(const std::string& name, int64_t cols, Extent extent) {
  Activation result{{}, cols};
  const int64_t rows = extent == Extent::tokens ? program_.shape.tokens() : program_.shape.labelled();
  const int64_t bytes = rows * cols * program_.shape.elt_bytes;
  for (int branch = 0; branch < program_.shape.branches(); ++branch) {
    result.id.push_back(buffer(fmt::format("{}.{}", name, branch), BufferKind::hidden, bytes));
  }
  return result;
}

void ProgramBuilder::gather(int table_weight, GatherIndex index, int64_t index_offset, const Activation& out,
                            bool accumulate) {
  const int sides = program_.shape.sides();
  for (int branch = 0; branch < program_.shape.branches(); branch += sides) {
    Op& op = emit(OpKind::gather);
    op.weight = table_weight;
    op.branch = branch;
    op.pair = branch / 2;
    op.in[0] = index == GatherIndex::tokens ? program_.token_ids : program_.positions;
    for (int side = 0; side < sides; ++side) op.out[side] = out.id[branch + side];
    op.out_cols = out.cols;
    op.accumulate = accumulate;
    op.index = index;
    op.index_offset = index_offset;
  }
}

template <typename OutOf, typename Use>
void ProgramBuilder::stream(int tile_index, OutOf out_of, Use use) {
  emit(OpKind::upload).tile = tile_index;
  const int sides = program_.shape.sides();
  const int branches = program_.shape.branches();
  for (int branch = 0; branch < branches; branch += sides) {
    if (noise_ >= 0) {
      Op& noise = emit(OpKind::noise);
      noise.tile = tile_index;
      noise.branch = branch;
      noise.pair = branch / 2;
      noise.out[0] = noise_;
    }
    Op& visit = emit(OpKind::visit);
    visit.tile = tile_index;
    visit.in[0] = noise_;
    visit.branch = branch;
    visit.pair = branch / 2;
    visit.last_visit = branch + sides == branches;
    for (int side = 0; side < sides; ++side) visit.out[side] = out_of(branch + side);
    for (int side = 0; side < sides; ++side) use(branch + side);
  }
  emit(OpKind::download).tile = tile_index;
}

template <typename Use>
void ProgramBuilder::stream_rows(int tile_index, Use use) {
  const auto& set = scratch_[static_cast<size_t>(tile_index) % scratch_.size()];
  const auto scratch_of = [&](int branch) { return set[branch % 2]; };
  stream(tile_index, scratch_of, [&](int branch) { use(branch, scratch_of(branch)); });
}

Vectors ProgramBuilder::visit_vectors(int packed_weight) {
  const Weight& weight = table_.weights[packed_weight];
  Vectors vectors{packed_weight, {}};
  for (int branch = 0; branch < program_.shape.branches(); ++branch) {
    vectors.id.push_back(buffer(fmt::format("{}.{}", weight.name, branch), BufferKind::weights,
                                weight.count() * program_.shape.elt_bytes));
  }
  stream(tile(packed_weight, 0, 1), [&](int branch) { return vectors.id[branch]; }, [](int /*branch*/) {});
  return vectors;
}

void ProgramBuilder::layer_norm(const Activation& in, const Vectors& vectors, uint32_t gamma, uint32_t beta,
                                const Activation& out, Extent extent) {
  for (int branch = 0; branch < program_.shape.branches(); ++branch) {
    Op& op = emit(OpKind::layer_norm);
    op.branch = branch;
    op.in[0] = in.id[branch];
    op.out[0] = out.id[branch];
    op.vectors = vectors.id[branch];
    op.vector_offset[0] = table_.offset_of(vectors.weight, gamma);
    op.vector_offset[1] = table_.offset_of(vectors.weight, beta);
    op.in_cols = in.cols;
    op.out_cols = out.cols;
    op.extent = extent;
  }
}

void ProgramBuilder::linear(const Activation& in, int matrix, const Vectors* vectors, const Activation& out,
                            const LinearOptions& options) {
  const Weight& weight = table_.weights[matrix];
  ZO2_ASSERT(weight.cols == in.cols && weight.rows == out.cols);
  const int64_t step = rows_per_tile(weight);
  for (int64_t row = 0; row < weight.rows; row += step) {
    const int index = tile(matrix, row, std::min(step, weight.rows - row));
    stream_rows(index, [&](int branch, int scratch) {
      Op& op = emit(OpKind::linear);
      op.tile = index;
      op.branch = branch;
      op.in[0] = in.id[branch];
      op.out[0] = out.id[branch];
      op.weights = scratch;
      if (options.bias != 0) {
        op.vectors = vectors->id[branch];
        op.vector_offset[0] = table_.offset_of(vectors->weight, options.bias);
      }
      op.in_cols = in.cols;
      op.out_cols = out.cols;
      op.relu = options.relu;
      op.accumulate = options.accumulate;
      op.extent = options.extent;
    });
  }
}

Activation ProgramBuilder::attention(const Activation& q, const Activation& k, const Activation& v,
                                     int64_t workspace_bytes) {
  const bool decode = program_.shape.generation == Generation::decode;
  int keys = -1;
  int values = -1;
  if (program_.shape.cache_tokens > 0) {
    keys = cache_buffer("keys", k.cols);
    values = cache_buffer("values", v.cols);
    ++caches_;
    Op& op = emit(OpKind::cache);
    op.in[0] = k.id[0];
    op.in[1] = v.id[0];
    op.in[2] = program_.positions;
    op.out[0] = keys;
    op.out[1] = values;
    op.in_cols = op.out_cols = k.cols;
    op.accumulate = decode;
  }
  Activation result{{}, q.cols};
  int64_t bytes = program_.shape.tokens() * q.cols * program_.shape.elt_bytes;
  if (!decode) bytes += workspace_bytes;
  for (int branch = 0; branch < program_.shape.branches(); ++branch) {
    result.id.push_back(buffer(fmt::format("attention.{}", branch), BufferKind::attention, bytes));
    Op& op = emit(decode ? OpKind::cached_attention : OpKind::attention);
    op.branch = branch;
    op.in[0] = q.id[branch];
    op.in[1] = decode ? keys : k.id[branch];
    op.in[2] = decode ? values : v.id[branch];
    op.in[3] = program_.positions;
    op.out[0] = result.id[branch];
    op.in_cols = op.out_cols = q.cols;
  }
  return result;
}

Activation ProgramBuilder::select_rows(const Activation& in) {
  Activation rows = activation("labelled", in.cols, Extent::labelled);
  for (int branch = 0; branch < program_.shape.branches(); ++branch) {
    Op& op = emit(OpKind::select_rows);
    op.branch = branch;
    op.in[0] = in.id[branch];
    op.in[1] = program_.labelled_rows;
    op.out[0] = rows.id[branch];
    op.in_cols = op.out_cols = in.cols;
    op.extent = Extent::labelled;
  }
  return rows;
}

void ProgramBuilder::head(const Activation& rows, int table_weight) {
  const Weight& weight = table_.weights[table_weight];
  const int branches = program_.shape.branches();
  const int64_t labelled = program_.shape.labelled();
  program_.vocab_size = weight.rows;
  const int64_t step = program_.shape.scheme.full_head ? weight.rows : rows_per_tile(weight);
  std::vector<int> logits;  // per branch; [L, rows of the tile]
  const bool small = labelled * step * 4 <= kSmallLogitsBytes;
  for (int branch = 0; branch < branches; ++branch) {
    logits.push_back(small || branch == 0 ? buffer("logits", BufferKind::floats, labelled * step * 4) : logits[0]);
  }
  const bool generating = program_.shape.generating();
  std::vector<int> state;  // per branch: running maximum, running sum, target logit; [3, L]
  if (generating) {
    state.push_back(program_.next_tokens);
  } else {
    for (int branch = 0; branch < branches; ++branch) {
      state.push_back(buffer(fmt::format("log_sum_exp.{}", branch), BufferKind::floats, 3 * labelled * 4));
      program_.logprobs.push_back(
          buffer(fmt::format("logprobs.{}", branch), BufferKind::floats, labelled * 4, /*persistent=*/true));
    }
  }
  for (int64_t row = 0; row < weight.rows; row += step) {
    const int index = tile(table_weight, row, std::min(step, weight.rows - row));
    stream_rows(index, [&](int branch, int scratch) {
      Op& op = emit(generating ? OpKind::arg_max : OpKind::head);
      op.tile = index;
      op.branch = branch;
      op.in[0] = rows.id[branch];
      op.in[1] = program_.targets;
      op.out[0] = state[branch];
      op.out[1] = logits[branch];
      op.weights = scratch;
      op.in_cols = rows.cols;
      op.accumulate = row > 0;
      op.extent = Extent::labelled;
    });
  }
  if (generating) return;
  for (int branch = 0; branch < branches; ++branch) {
    Op& op = emit(OpKind::loss);
    op.branch = branch;
    op.in[0] = state[branch];
    op.in[1] = program_.groups;
    op.out[0] = program_.logprobs[branch];
    op.out[1] = program_.losses;
    op.extent = Extent::labelled;
  }
  Op& entry = emit(OpKind::entry);
  entry.in[0] = program_.losses;
}

void ProgramBuilder::fold_table(int table_weight) {
  const Weight& weight = table_.weights[table_weight];
  const int64_t step = rows_per_tile(weight);
  for (int64_t row = 0; row < weight.rows; row += step) {
    // The tile exists in evaluations too, so that training and evaluation number their tiles alike.
    const int index = tile(table_weight, row, std::min(step, weight.rows - row));
    if (!program_.shape.training()) continue;
    emit(OpKind::upload).tile = index;
    Op& op = emit(OpKind::fold);
    op.tile = index;
    op.last_visit = true;
    emit(OpKind::download).tile = index;
  }
}

void ProgramBuilder::begin_layer() {
  ZO2_ASSERT(!in_layer_);
  in_layer_ = true;
  ++layers_;
  layer_begin_ = program_.ops.size();
}

void ProgramBuilder::end_layer() {
  ZO2_ASSERT(in_layer_);
  in_layer_ = false;
  if (!blocks()) return;
  const auto begin = program_.ops.begin() + static_cast<std::ptrdiff_t>(layer_begin_);
  const auto rank = [](const Op& op) { return op.kind == OpKind::upload ? 0 : op.kind == OpKind::download ? 2 : 1; };
  std::stable_sort(begin, program_.ops.end(), [&](const Op& a, const Op& b) { return rank(a) < rank(b); });
}

Program ProgramBuilder::take() {
  int64_t widest_noise = 0;
  std::vector<int64_t> widest(scratch_.size());
  for (const Op& op : program_.ops) {
    if (op.kind != OpKind::visit) continue;
    const int64_t bytes = program_.tiles[op.tile].count() * program_.shape.elt_bytes;
    widest_noise = std::max(widest_noise, bytes);
    for (size_t set = 0; set < scratch_.size(); ++set) {
      if (op.out[0] == scratch_[set][0]) widest[set] = std::max(widest[set], bytes);
    }
  }
  for (size_t set = 0; set < scratch_.size(); ++set) {
    for (int side = 0; side < program_.shape.sides(); ++side) program_.buffers[scratch_[set][side]].bytes = widest[set];
  }
  if (noise_ >= 0) program_.buffers[noise_].bytes = widest_noise;
  return std::move(program_);
}

}  // namespace zo2
