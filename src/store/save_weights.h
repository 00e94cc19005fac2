// Writes weights as a Hugging Face checkpoint that transformers loads.
#pragma once

#include <filesystem>

#include "base/json.h"
#include "store/host_weights.h"

namespace zo2 {

// One tensor per parameter under its Hugging Face name, in alphabetical order, in the weights' dtype; a tied head is
// not stored. `config` becomes config.json. Throws as write_checkpoint does.
void save_weights(const std::filesystem::path& folder, const HostWeights& weights, const Json& config);

}  // namespace zo2
