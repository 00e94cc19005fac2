#include "store/host_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr std::array<const char*, 3> kKindNames{"matrix", "vector", "table"};

const char* kind_name(ParameterKind kind) { return kKindNames.at(static_cast<size_t>(kind)); }

constexpr uint32_t kIdsPerLayer = 64;  // ids below are outside the layers

std::vector<int> find_owners(const ParameterTable& table, HostWeightsKind kind) {
  std::vector<int> owners(table.weights.size());
  std::iota(owners.begin(), owners.end(), 0);
  if (kind == HostWeightsKind::exact) return owners;
  std::map<std::tuple<uint32_t, int64_t, int64_t>, int> first;  // by role, rows, cols
  for (size_t w = 0; w < owners.size(); ++w) {
    const Weight& weight = table.weights[w];
    const uint32_t id = table.parameters[static_cast<size_t>(weight.segments.at(0).parameter)].id;
    if (id < kIdsPerLayer) continue;
    owners[w] = first.try_emplace({id % kIdsPerLayer, weight.rows, weight.cols}, owners[w]).first->second;
  }
  return owners;
}

// Weights that are their own owners, the largest first: a weight is hashed by one thread, and one of the last to start
// would have the others wait.
std::vector<int> hashing_order(const HostWeights& weights) {
  std::vector<int> order;
  for (int w = 0; w < weights.count(); ++w) {
    if (weights.owner(w) == w) order.push_back(w);
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return weights.bytes(a) > weights.bytes(b); });
  return order;
}

}  // namespace

int64_t physical_weight_bytes(const ParameterTable& table, DType dtype, HostWeightsKind kind) {
  const std::vector<int> owners = find_owners(table, kind);
  int64_t bytes = 0;
  for (size_t w = 0; w < owners.size(); ++w) {
    if (owners[w] == static_cast<int>(w)) bytes += table.weights[w].count() * dtype_bytes(dtype);
  }
  return bytes;
}

HostWeights::HostWeights(const ParameterTable& table, DType dtype, HostWeightsKind kind)
    : table_(table),
      dtype_(dtype),
      kind_(kind),
      owners_(find_owners(table, kind)),
      total_bytes_(physical_weight_bytes(table, dtype, HostWeightsKind::exact)),
      physical_bytes_(physical_weight_bytes(table, dtype, kind)) {
  // All at once first: mappings that nobody touched yet do not show in what is available.
  const std::string purpose = fmt::format("a model of {} parameters in {}{}", table_.count(), dtype_name(dtype),
                                          kind == HostWeightsKind::aliased ? ", one layer for all (aliased)," : "");
  require_host_memory(physical_bytes_, purpose);
  buffers_.reserve(owners_.size());
  std::map<int, SharedMemory> shared;  // by owner; the mappings keep the memory
  for (int w = 0; w < static_cast<int>(owners_.size()); ++w) {
    const Weight& weight = table_.weights[static_cast<size_t>(w)];
    const int64_t bytes = weight.count() * dtype_bytes(dtype);
    if (std::count(owners_.begin(), owners_.end(), owner(w)) == 1) {
      buffers_.emplace_back(bytes, weight.name);
    } else {
      buffers_.push_back(HostBuffer::map(shared.try_emplace(owner(w), bytes, weight.name).first->second));
    }
  }
}

void HostWeights::touch(int threads) {
  for (HostBuffer& buffer : buffers_) buffer.touch(threads);
}

void copy_weights(const HostWeights& from, HostWeights& to) {
  ZO2_ASSERT(from.count() == to.count() && from.dtype() == to.dtype() && from.kind() == to.kind());
  for (int weight = 0; weight < from.count(); ++weight) {
    ZO2_ASSERT(from.bytes(weight) == to.bytes(weight));
    std::memcpy(to.data(weight), from.data(weight), static_cast<size_t>(from.bytes(weight)));
  }
}

std::string parameter_table_hash(const ParameterTable& table) {
  Json parameters = Json::array();
  for (const Parameter& parameter : table.parameters) {
    parameters.push_back({{"id", parameter.id},
                          {"name", parameter.name},
                          {"rows", parameter.rows},
                          {"cols", parameter.cols},
                          {"kind", kind_name(parameter.kind)}});
  }
  Json weights = Json::array();
  for (const Weight& weight : table.weights) {
    Json segments = Json::array();
    for (const Segment& segment : weight.segments) segments.push_back(Json::array({segment.parameter, segment.offset}));
    weights.push_back({{"name", weight.name}, {"rows", weight.rows}, {"cols", weight.cols}, {"segments", segments}});
  }
  return sha256_hex(Json{{"parameters", parameters}, {"weights", weights}}.dump());
}

std::string weights_hash(const HostWeights& weights) {
  std::vector<std::string> hashes(static_cast<size_t>(weights.count()));
  const std::vector<int> order = hashing_order(weights);
  parallel_for(hardware_threads(), static_cast<int64_t>(order.size()), [&](int64_t i) {
    const int w = order[static_cast<size_t>(i)];
    Sha256 hash;
    hash.update(weights.data(w), static_cast<size_t>(weights.bytes(w)));
    hashes[static_cast<size_t>(w)] = hash.hex_digest();
  });
  std::string text =
      fmt::format("zo2 weights 1\n{}\n{}\n", parameter_table_hash(weights.table()), dtype_name(weights.dtype()));
  for (int w = 0; w < weights.count(); ++w) text += hashes[static_cast<size_t>(weights.owner(w))] + "\n";
  return sha256_hex(text);
}

}  // namespace zo2
