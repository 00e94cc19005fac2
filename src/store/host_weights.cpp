#include "store/host_weights.h"

#include <array>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr std::array<const char*, 3> kKindNames{"matrix", "vector", "table"};

const char* kind_name(ParameterKind kind) { return kKindNames.at(static_cast<size_t>(kind)); }

}  // namespace

HostWeights::HostWeights(const ParameterTable& table, DType dtype) : table_(table), dtype_(dtype) {
  for (const Weight& weight : table_.weights) total_bytes_ += weight.count() * dtype_bytes(dtype);
  // All at once first: mappings that nobody touched yet do not show in what is available.
  const std::string purpose = fmt::format("a model of {} parameters in {}", table_.count(), dtype_name(dtype));
  require_host_memory(total_bytes_, purpose);
  buffers_.reserve(table_.weights.size());
  for (const Weight& weight : table_.weights) buffers_.emplace_back(weight.count() * dtype_bytes(dtype), weight.name);
}

void HostWeights::touch(int threads) {
  for (HostBuffer& buffer : buffers_) buffer.touch(threads);
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
  parallel_for(hardware_threads(), weights.count(), [&](int64_t i) {
    Sha256 hash;
    hash.update(weights.data(static_cast<int>(i)), static_cast<size_t>(weights.bytes(static_cast<int>(i))));
    hashes[static_cast<size_t>(i)] = hash.hex_digest();
  });
  std::string text =
      fmt::format("zo2 weights 1\n{}\n{}\n", parameter_table_hash(weights.table()), dtype_name(weights.dtype()));
  for (const std::string& hash : hashes) text += hash + "\n";
  return sha256_hex(text);
}

}  // namespace zo2
