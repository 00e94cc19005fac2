// A pass over the model as data: operations over named buffers and tiles, in program order. Passes train, evaluate, or
// generate (a prefill of prompts, then decodes of one token a sequence).
//
// A model family emits a Program once (model/family.h); the layout, the schedule, the forecast and every executor
// read that same list. A pass is cyclic: the next pass runs the same list again. One branch is one set of
// activations: a pass of w_t has one, a training pass has two for each direction pair (w_t + eps z, w_t - eps z).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "program/parameters.h"

namespace zo2 {

// A range of rows of one weight in the canonical [out, in] layout: contiguous in host memory.
struct Tile {
  int weight = 0;
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  int block = -1;  // the tiles of a block are consecutive and move together; -1: alone

  int64_t first_element() const { return first_row * cols; }
  int64_t count() const { return rows * cols; }
};

enum class BufferKind : uint8_t {
  hidden,     // activations in the weights' dtype
  weights,    // perturbed weights of the tile in hand, in the weights' dtype
  floats,     // float32
  doubles,    // float64
  integers,   // int32
  attention,  // the output of an attention, followed by the workspace its library asks for
};

struct Buffer {
  std::string name;
  BufferKind kind = BufferKind::hidden;
  int64_t bytes = 0;
  bool persistent = false;  // keeps its contents from pass to pass
  bool shared = false;      // and is the same memory in every program that has one of its name
};

enum class OpKind : uint8_t {
  upload,            // host tile -> slot                                       (upload stream)
  download,          // slot -> host tile, when the tile commits in this pass    (download stream)
  visit,             // base + pending entries -> w_t; out[side] = w_t +- eps z; w_t -> base when it commits
  fold,              // the same without outputs: commits a table that no visit streams
  noise,             // the direction's z of the tile, in the weights' dtype -> out, for the visit that follows
  inputs,            // token ids, labelled rows and targets of this pass -> buffers
  gather,            // rows of a table, folded and perturbed as a visit does; out[side] = or += them
  layer_norm,        // out = norm(in) * gamma + beta
  linear,            // out[:, rows of the tile] = or += in W^T + bias, relu
  attention,         // out = softmax(q k^T / sqrt(head_dim), causal) v
  cache,             // the pass's keys and values -> the layer's cache, at their positions
  cached_attention,  // attention of each sequence's one query over the cache up to its position
  select_rows,       // out = the labelled rows of in
  head,              // online log-sum-exp over the tile's rows of the vocabulary
  arg_max,           // online arg-max over them: the greedy next tokens
  loss,              // log-probabilities and the sum of losses of one branch, by the objective
  entry,             // losses -> projected gradients -> the step's log entries
};

enum class GatherIndex : uint8_t { tokens, positions };

// Which tokens an operation runs over.
enum class Extent : uint8_t { tokens, labelled };

// One record for all kinds: fields that a kind does not use keep their defaults. Buffers are indices in
// Program::buffers, -1 for none. Shapes: T = batch x seq tokens, L = labelled tokens (PassShape::labelled at most).
struct Op {
  OpKind kind = OpKind::inputs;
  int tile = -1;            // upload, download, visit, fold, noise, linear, head, arg_max: index in Program::tiles
  int weight = -1;          // gather: the table
  int branch = 0;           // which activations; visit and gather: the first of their (one or two) branches
  int pair = 0;             // visit, noise, gather: the direction
  bool last_visit = false;  // visit, fold: the one of this tile that commits

  // Activations read. attention: q, k, v; cache: k, v, positions; cached_attention: q, cached keys and values,
  // positions; head, arg_max: rows, targets, running state as out; visit: z, when it was written out.
  int in[4] = {-1, -1, -1, -1};
  int out[2] = {-1, -1};                // buffers written; visit and gather: one per side
  int weights = -1;                     // linear, head, arg_max: the perturbed tile [rows, cols]
  int vectors = -1;                     // layer_norm, linear: the perturbed vectors of the layer
  int64_t vector_offset[2] = {-1, -1};  // elements in `vectors`: bias, or gamma and beta

  int64_t in_cols = 0;   // width of `in`
  int64_t out_cols = 0;  // width of `out` (a tile writes the panel [first_row, first_row + rows))
  bool accumulate = false;
  bool relu = false;
  Extent extent = Extent::tokens;
  GatherIndex index = GatherIndex::tokens;
  int64_t index_offset = 0;  // OPT looks position i up in row i + 2
};

enum class Granularity : uint8_t {
  tile,    // ranges of rows
  matrix,  // whole matrices
  block,   // whole matrices, and all weights of a layer move as one
};

// What the published scheme (arXiv 2503.12668) does otherwise, one idea each. The defaults are ours; every other value
// is an ablation.
struct Scheme {
  Granularity granularity = Granularity::tile;
  bool full_head = false;           // the head's table is one tile, so that the logits are [tokens, vocab_size]
  bool resident_embedding = false;  // the tables that gathers read are on the device, whatever the budget
  // The direction's z of a visited tile is written to a buffer in the weights' dtype, which the visit reads. Pending
  // entries and gathers still draw theirs in registers, rounded to that dtype, so that every reader sees one z.
  bool noise_buffer = false;
};

// What a training step's loss is (docs/design.md): the mean over labelled tokens, or over examples whose candidates are
// sequences of the batch (runtime/candidate_loss.h).
enum class Objective : uint8_t {
  lm,          // -log-probability of a labelled token
  candidates,  // cross-entropy over an example's candidates
  error_rate,  // whether the likeliest candidate is wrong: not differentiable, which costs these methods nothing
};

// What a pass of w_t makes, where it is no evaluation of losses: the greedy next token of every sequence.
enum class Generation : uint8_t {
  none,
  prefill,  // whole prompts; fills the cache
  decode,   // one token a sequence, at its own position; reads the cache and adds to it
};

// Everything that fixes the shape of a pass.
struct PassShape {
  int64_t batch = 1;
  int64_t seq = 1;
  int pairs = 1;           // direction pairs; 0: a pass of w_t
  int64_t elt_bytes = 2;   // of the weights' dtype
  int64_t tile_bytes = 0;  // upper bound of a tile; 0 becomes default_tile_bytes in Program::shape
  Scheme scheme;
  Objective objective = Objective::lm;  // of training
  Generation generation = Generation::none;
  int64_t cache_tokens = 0;  // of a sequence whose keys and values are kept, when generating; 0: none are
  int64_t labels = 0;        // most labelled tokens, unless generating; 0: every token may have a label
  // Places for W+ and W-: with two, a tile can be visited while the one before it is multiplied.
  int scratch_sets = 1;

  int64_t tokens() const { return batch * seq; }
  bool training() const { return pairs > 0; }
  bool generating() const { return generation != Generation::none; }
  int64_t labelled() const {  // most rows that are scored
    return generating() ? batch : labels > 0 ? std::min(labels, tokens()) : tokens();
  }
  int branches() const { return training() ? 2 * pairs : 1; }
  int sides() const { return training() ? 2 : 1; }
};

struct Program {
  PassShape shape;
  std::vector<Tile> tiles;
  std::vector<Buffer> buffers;
  std::vector<Op> ops;
  int64_t num_heads = 1;
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  // Well-known buffers, for the executor: written by `inputs`, read back at the end.
  int token_ids = -1;         // [T] int32
  int positions = -1;         // [batch] int32; decode
  int labelled_rows = -1;     // [L] int32
  int targets = -1;           // [L] int32; unless generating
  int groups = -1;            // [3, batch] int32: Batch's sequence_ends, example_ends, answers; objectives but lm
  std::vector<int> logprobs;  // per branch, [L] float32
  int losses = -1;            // [branches] float64: sums over the passes of a step; unless generating
  int next_tokens = -1;       // [2, batch], when generating: int32 ids, and their logits in float32
};

// Whether an operation moves a tile or computes.
constexpr bool is_copy(OpKind kind) { return kind == OpKind::upload || kind == OpKind::download; }

std::string_view op_name(OpKind kind);

// Per tile: whether no visit streams it, so that it moves only when it commits.
std::vector<bool> folded_tiles(const Program& program);

// What moves as one: the tiles [first, first + count), which are those of a block, or one alone.
struct Unit {
  int first = 0;
  int count = 1;
};
std::vector<Unit> units_of(const Program& program);

}  // namespace zo2
