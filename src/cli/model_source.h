// Where a command's model comes from: a Hugging Face folder, or a known name with random weights.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "model/config.h"
#include "store/host_weights.h"
#include "store/safetensors.h"

namespace zo2 {

struct ModelSource {
  ModelConfig config;
  std::optional<Checkpoint> checkpoint;  // none: random weights

  // Fills weights from the checkpoint, or at random by the seed.
  void fill(HostWeights& weights, uint64_t seed) const;
};

// `model` is a folder with config.json and safetensors, or a name such as opt-125m. Throws UsageError or IoError.
ModelSource open_model(const std::string& model);

// Writes weights of the source's model as a folder that transformers loads: safetensors, config.json, and the tokenizer
// of the source's checkpoint, if it has one. Throws as save_weights does.
void save_model(const std::filesystem::path& folder, const HostWeights& weights, const ModelSource& source);

}  // namespace zo2
