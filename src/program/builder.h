// Builds a Program: what a model family calls to emit itself. Families speak of linears, norms and tables; the builder
// cuts weights into tiles and puts Upload -> Visit -> use -> Download around each, for every direction pair.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "program/ops.h"

namespace zo2 {

// The tile size that serves a hidden size well: 2,048 rows of the widest square matrix, between 16 and 48 MiB
// (measured on an H100: a GEMM into a column panel of 1,024 rows or more runs at full speed).
int64_t default_tile_bytes(int64_t hidden_size, int64_t elt_bytes);

// From so many tokens a pass on, computing takes longer than uploading, and a tile holds at least kPanelRows rows of
// every matrix: a GEMM into 512 columns reaches two thirds of the rate of one into 1,024 (H100).
inline constexpr int64_t kComputeBoundTokens = 8192;
inline constexpr int64_t kPanelRows = 1024;

inline constexpr int64_t kHeadRows = 2048;  // rows of the vocabulary in a tile, at most

// Logits of a tile up to this size have a place for each branch, so that none waits for another's.
inline constexpr int64_t kSmallLogitsBytes = int64_t{1} << 20;

// The activations of all branches under one name: id[branch] is an index in Program::buffers.
struct Activation {
  std::vector<int> id;
  int64_t cols = 0;
};

// The perturbed vectors of one packed weight, per branch.
struct Vectors {
  int weight = -1;
  std::vector<int> id;
};

struct LinearOptions {
  uint32_t bias = 0;  // id of the bias parameter in `vectors`; 0: none
  bool relu = false;
  bool accumulate = false;  // add to `out`
  Extent extent = Extent::tokens;
};

class ProgramBuilder {
 public:
  ProgramBuilder(const ParameterTable& table, const PassShape& shape, int64_t hidden_size, int64_t num_heads);

  Activation activation(const std::string& name, int64_t cols, Extent extent = Extent::tokens);
  // out = or += rows of the table at tokens or positions.
  void gather(int table_weight, GatherIndex index, int64_t index_offset, const Activation& out, bool accumulate);
  Vectors visit_vectors(int packed_weight);
  void layer_norm(const Activation& in, const Vectors& vectors, uint32_t gamma, uint32_t beta, const Activation& out,
                  Extent extent = Extent::tokens);
  // `vectors` may be null when there is no bias.
  void linear(const Activation& in, int matrix, const Vectors* vectors, const Activation& out,
              const LinearOptions& options = {});
  // The result, [tokens, hidden_size], lives in a buffer that also holds `workspace_bytes` for the library. A
  // generating pass keeps k and v in the cache, and a decode attends to that instead of them, without a library.
  Activation attention(const Activation& q, const Activation& k, const Activation& v, int64_t workspace_bytes);
  Activation select_rows(const Activation& in);
  // The head over `table`, then the losses; in a training pass also the step's log entries; in a generating one the
  // next tokens instead.
  void head(const Activation& rows, int table_weight);
  // A table that only gathers read: commits now and then by passes that fold without computing.
  void fold_table(int table_weight);

  // The tiles emitted between them are one layer: with Granularity::block its uploads come before all that reads it and
  // its downloads after.
  void begin_layer();
  void end_layer();

  Program take();

 private:
  int buffer(const std::string& name, BufferKind kind, int64_t bytes, bool persistent = false);
  // A layer's keys or values, [batch, cache_tokens, cols].
  int cache_buffer(const char* name, int64_t cols);
  int tile(int weight, int64_t first_row, int64_t rows);
  int64_t rows_per_tile(const Weight& weight) const;
  bool blocks() const { return program_.shape.scheme.granularity == Granularity::block; }
  Op& emit(OpKind kind);
  // Upload, one visit per pair into out_of(branch), each followed by use(branch) of its branches, Download. Where noise
  // has a buffer, each visit comes after the operation that fills it.
  template <typename OutOf, typename Use>
  void stream(int tile_index, OutOf out_of, Use use);
  // The same for a tile of a matrix or table: visited into the scratch buffers.
  template <typename Use>
  void stream_rows(int tile_index, Use use);

  const ParameterTable& table_;
  Program program_;
  std::vector<std::array<int, 2>> scratch_;  // W+ and W-, [rows of the tile, cols], of each set
  int noise_ = -1;                           // z of the tile in hand, as large as the widest
  int layers_ = 0;                           // begun so far
  int caches_ = 0;                           // attentions whose keys and values are kept, so far
  bool in_layer_ = false;
  size_t layer_begin_ = 0;  // its first operation
};

}  // namespace zo2
