// The weights of a model in host memory: the bases that tiles are copied from and that commits are written to.
//
// One mapping a weight (host_memory.h), so sizes are exact and a range of rows is contiguous. A weight is
// [rows, cols] row-major in the store's dtype; packed vectors lie one after another as their segments say
// (program/parameters.h). Filled by load_weights or initialise_weights (load_weights.h).
//
// Threads: accessors are safe from any thread; who writes which bytes when is the schedule's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "program/parameters.h"
#include "store/host_memory.h"

namespace zo2 {

class HostWeights {
 public:
  // Copies the table. All weights are zero. Throws OutOfMemoryError when the whole does not fit.
  HostWeights(const ParameterTable& table, DType dtype);

  int count() const { return static_cast<int>(buffers_.size()); }  // number of weights
  std::byte* data(int weight) { return buffers_.at(static_cast<size_t>(weight)).data(); }
  const std::byte* data(int weight) const { return buffers_.at(static_cast<size_t>(weight)).data(); }
  int64_t bytes(int weight) const { return buffers_.at(static_cast<size_t>(weight)).size(); }
  int64_t total_bytes() const { return total_bytes_; }
  DType dtype() const { return dtype_; }
  const ParameterTable& table() const { return table_; }

  // Makes all pages present; loading and initialising do so too.
  void touch(int threads);

 private:
  ParameterTable table_;
  DType dtype_;
  int64_t total_bytes_ = 0;
  std::vector<HostBuffer> buffers_;
};

// SHA-256 in hex of the canonical JSON of the table: ids, names, shapes and kinds of the parameters, and how they are
// packed into weights (the order of weights decides commits, so a log is only good for an equal one).
std::string parameter_table_hash(const ParameterTable& table);

// SHA-256 in hex over the parameter table hash, the dtype and the SHA-256 of every weight, which several threads take.
std::string weights_hash(const HostWeights& weights);

}  // namespace zo2
