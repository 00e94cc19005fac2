#include "cli/model_source.h"

#include "base/error.h"
#include "store/load_weights.h"

namespace zo2 {

void ModelSource::fill(HostWeights& weights, uint64_t seed) const {
  if (checkpoint) {
    load_weights(weights, *checkpoint);
  } else {
    initialise_weights(weights, seed, config.init_std);
  }
}

ModelSource open_model(const std::string& model) {
  ModelSource source;
  if (std::filesystem::is_directory(model)) {
    source.config = model_from_folder(model);
    source.checkpoint = Checkpoint::open(model);
  } else {
    source.config = model_by_name(model);
  }
  return source;
}

}  // namespace zo2
