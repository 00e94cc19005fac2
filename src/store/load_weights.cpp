#include "store/load_weights.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <span>

#include "base/convert.h"
#include "base/error.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr int64_t kChunk = 64 * 1024;  // elements; two float chunks fit the second-level cache
constexpr int kLoadThreads = 2;
constexpr const char* kHeadName = "lm_head.weight";
constexpr std::initializer_list<const char*> kTokenTableNames = {"embed_tokens.weight", "wte.weight"};

bool ends_with_any(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return name.ends_with(ending); });
}

// The name that the checkpoint has for a parameter.
std::optional<std::string> find_name(const Checkpoint& checkpoint, const std::string& name) {
  if (checkpoint.contains(name)) return name;
  constexpr std::string_view kPrefix = "model.";
  if (name.starts_with(kPrefix) && checkpoint.contains(name.substr(kPrefix.size()))) return name.substr(kPrefix.size());
  if (checkpoint.contains("model." + name)) return "model." + name;
  return std::nullopt;
}

const Parameter* find_parameter(const ParameterTable& table, const std::string& name) {
  for (const Parameter& parameter : table.parameters) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

std::vector<int64_t> shape_of(const Parameter& parameter) {
  if (parameter.kind == ParameterKind::vector) return {parameter.cols};
  return {parameter.rows, parameter.cols};
}

std::string described(const Checkpoint& checkpoint, const std::string& name) {
  return fmt::format("{}: tensor '{}'", checkpoint.file_of(name).string(), name);
}

// One parameter's bytes in a weight and in the file.
struct Copy {
  int parameter = 0;
  std::string name;  // in the checkpoint
  TensorView source;
  std::byte* target = nullptr;
};

void copy_converted(const Copy& copy, DType dtype, const Checkpoint& checkpoint) {
  const TensorView& source = copy.source;
  std::vector<float> floats(static_cast<size_t>(std::min(kChunk, source.count())));
  for (int64_t first = 0; first < source.count(); first += kChunk) {
    const int64_t count = std::min(kChunk, source.count() - first);
    const std::byte* in = source.data + first * dtype_bytes(source.dtype);
    std::byte* out = copy.target + first * dtype_bytes(dtype);
    const int64_t bad = first_non_finite(source.dtype, in, count);
    const std::span<float> chunk(floats.data(), static_cast<size_t>(count));
    if (bad >= 0) {
      to_float(source.dtype, in, chunk);
      throw UsageError(fmt::format("{}: element {} is {}: the weights are not finite", described(checkpoint, copy.name),
                                   first + bad, chunk[static_cast<size_t>(bad)]));
    }
    if (source.dtype == dtype) {
      std::memcpy(out, in, static_cast<size_t>(count * dtype_bytes(dtype)));
      continue;
    }
    to_float(source.dtype, in, chunk);
    from_float(dtype, chunk, out);
    const int64_t overflowed = first_non_finite(dtype, out, count);
    ZO2_CHECK(overflowed < 0, UsageError, "{}: element {} is {}, too large for {}: use fp32 or bf16",
              described(checkpoint, copy.name), first + overflowed, chunk[static_cast<size_t>(overflowed)],
              dtype_name(dtype));
  }
}

std::vector<Copy> plan_copies(HostWeights& weights, const Checkpoint& checkpoint) {
  const ParameterTable& table = weights.table();
  const bool tied = find_parameter(table, kHeadName) == nullptr;
  std::vector<Copy> copies;
  for (int w = 0; w < weights.count(); ++w) {
    for (const Segment& segment : table.weights[static_cast<size_t>(w)].segments) {
      const Parameter& parameter = table.parameters[static_cast<size_t>(segment.parameter)];
      auto name = find_name(checkpoint, parameter.name);
      if (!name && tied && ends_with_any(parameter.name, kTokenTableNames)) name = find_name(checkpoint, kHeadName);
      ZO2_CHECK(name || parameter.name != kHeadName, UsageError,
                "{}: no tensor '{}': the checkpoint's head is tied to its token table and the model is configured with "
                "a head of its own; set tie_embeddings: true",
                checkpoint.path().string(), kHeadName);
      ZO2_CHECK(name, UsageError, "{}: no tensor '{}' (nor with 'model.' less or more)", checkpoint.path().string(),
                parameter.name);
      const TensorView* source = checkpoint.find(*name);
      const std::vector<int64_t> expected = shape_of(parameter);
      ZO2_CHECK(source->shape == expected, UsageError, "{} has shape {}, the model needs {}",
                described(checkpoint, *name), format_shape(source->shape), format_shape(expected));
      copies.push_back(
          {segment.parameter, *name, *source, weights.data(w) + segment.offset * dtype_bytes(weights.dtype())});
    }
  }
  return copies;
}

// A tied model's file may repeat the token table under the head's name; anything else there would be lost silently.
void check_tied_head(const Checkpoint& checkpoint, const std::string& head_name, const Copy& table) {
  const TensorView& head = *checkpoint.find(head_name);
  const auto untied = [&](const std::string& how) {
    return UsageError(fmt::format("{} {} '{}': the checkpoint is untied; set tie_embeddings: false",
                                  described(checkpoint, head_name), how, table.name));
  };
  if (head.shape != table.source.shape) throw untied("has another shape than");
  std::vector<float> a(kChunk);
  std::vector<float> b(kChunk);
  for (int64_t first = 0; first < head.count(); first += kChunk) {
    const auto count = static_cast<size_t>(std::min(kChunk, head.count() - first));
    to_float(head.dtype, head.data + first * dtype_bytes(head.dtype), {a.data(), count});
    to_float(table.source.dtype, table.source.data + first * dtype_bytes(table.source.dtype), {b.data(), count});
    if (std::memcmp(a.data(), b.data(), count * sizeof(float)) == 0) continue;
    const auto at = std::mismatch(a.begin(), a.begin() + static_cast<int64_t>(count), b.begin()).first - a.begin();
    throw untied(fmt::format("differs at element {} from", first + at));
  }
}

void check_other_tensors(const HostWeights& weights, const Checkpoint& checkpoint, const std::vector<Copy>& copies) {
  std::set<std::string> used;
  for (const Copy& copy : copies) used.insert(copy.name);
  const bool tied = find_parameter(weights.table(), kHeadName) == nullptr;
  const auto token_table = std::find_if(copies.begin(), copies.end(),
                                        [](const Copy& copy) { return ends_with_any(copy.name, kTokenTableNames); });
  std::vector<std::string> unused;
  for (const std::string& name : checkpoint.names()) {
    if (used.contains(name)) continue;
    const bool head = name == kHeadName || name == std::string("model.") + kHeadName;
    if (tied && head && token_table != copies.end()) {
      check_tied_head(checkpoint, name, *token_table);
    } else if (!ends_with_any(name, {"decoder.version"})) {  // fairseq's version number in published OPT files
      unused.push_back(name);
    }
  }
  if (unused.empty()) return;
  const size_t shown = std::min<size_t>(unused.size(), 10);
  spdlog::warn("{}: {} tensors are not part of the model and were left out: {}{}", checkpoint.path().string(),
               unused.size(), fmt::join(unused.begin(), unused.begin() + static_cast<int64_t>(shown), ", "),
               shown < unused.size() ? ", ..." : "");
}

}  // namespace

void load_weights(HostWeights& weights, const Checkpoint& checkpoint) {
  ZO2_CHECK(weights.kind() == HostWeightsKind::exact, UsageError,
            "{}: a checkpoint cannot be loaded into aliased host weights, where all layers are one and a loss means "
            "nothing: set engine.host_weights: exact, or give a model by name for random weights",
            checkpoint.path().string());
  const std::vector<Copy> copies = plan_copies(weights, checkpoint);
  check_other_tensors(weights, checkpoint, copies);
  parallel_for(kLoadThreads, static_cast<int64_t>(copies.size()),
               [&](int64_t i) { copy_converted(copies[static_cast<size_t>(i)], weights.dtype(), checkpoint); });
}

}  // namespace zo2
