// The weights of a model in host memory: the bases that tiles are copied from and that commits are written to.
//
// One mapping a weight (host_memory.h), so sizes are exact and a range of rows is contiguous. A weight is
// [rows, cols] row-major in the store's dtype; packed vectors lie one after another as their segments say
// (program/parameters.h). Filled by load_weights or initialise_weights (load_weights.h).
//
// Aliased weights run a model that the machine has no memory for, at its true device and link cost: every weight has a
// mapping (address, page tables, registration) of its own, but the weights of all layers map the memory of one. What a
// layer commits shows in every other, so losses mean nothing.
//
// Threads: accessors are safe from any thread; who writes which bytes when is the schedule's business, which knows
// nothing of aliases: a layer may read bytes that another writes at that moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "program/parameters.h"
#include "store/host_memory.h"

namespace zo2 {

// exact: every weight has memory of its own.
// aliased: weights of layers (parameter id layer * 64 + role, layer >= 1) with the same role of their first parameter
// and the same shape share the memory of the first of them, that of layer 1; weights outside the layers are exact.
enum class HostWeightsKind : uint8_t { exact, aliased };

// What the weights take without the sharing of aliases counted twice: HostWeights::physical_bytes() before there are
// any.
int64_t physical_weight_bytes(const ParameterTable& table, DType dtype, HostWeightsKind kind);

class HostWeights {
 public:
  // Copies the table. All weights are zero. Throws OutOfMemoryError when physical_bytes() are not available.
  HostWeights(const ParameterTable& table, DType dtype, HostWeightsKind kind = HostWeightsKind::exact);

  int count() const { return static_cast<int>(buffers_.size()); }  // number of weights
  std::byte* data(int weight) { return buffers_.at(static_cast<size_t>(weight)).data(); }
  const std::byte* data(int weight) const { return buffers_.at(static_cast<size_t>(weight)).data(); }
  int64_t bytes(int weight) const { return buffers_.at(static_cast<size_t>(weight)).size(); }
  int64_t total_bytes() const { return total_bytes_; }        // of all weights: what the model needs when exact
  int64_t physical_bytes() const { return physical_bytes_; }  // shared memory counts once
  HostWeightsKind kind() const { return kind_; }
  // The lowest weight that has the same memory: `weight` itself unless it is an alias. Loops over distinct memory take
  // only weights that are their own owners.
  int owner(int weight) const { return owners_.at(static_cast<size_t>(weight)); }
  DType dtype() const { return dtype_; }
  const ParameterTable& table() const { return table_; }

  // Makes all pages present in every mapping; loading and initialising do so too, but for aliases.
  void touch(int threads);

 private:
  ParameterTable table_;
  DType dtype_;
  HostWeightsKind kind_;
  std::vector<int> owners_;
  int64_t total_bytes_ = 0;
  int64_t physical_bytes_ = 0;
  std::vector<HostBuffer> buffers_;
};

// Copies all weights; table, dtype and kind must be equal.
void copy_weights(const HostWeights& from, HostWeights& to);

// SHA-256 in hex of the canonical JSON of the table: ids, names, shapes and kinds of the parameters, and how they are
// packed into weights (the order of weights decides commits, so a log is only good for an equal one).
std::string parameter_table_hash(const ParameterTable& table);

// SHA-256 in hex over the parameter table hash, the dtype and the SHA-256 of every weight, which several threads take;
// an alias has its owner's.
std::string weights_hash(const HostWeights& weights);

}  // namespace zo2
