#include "cli/model_source.h"

#include "base/file.h"
#include "base/json.h"
#include "store/load_weights.h"
#include "store/save_weights.h"

namespace zo2 {
namespace {

// What tokenizers of transformers read, and its defaults of generation.
constexpr const char* kCopiedFiles[] = {
    "tokenizer.json",          "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "generation_config.json"};

}  // namespace

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

void save_model(const std::filesystem::path& folder, const HostWeights& weights, const ModelSource& source) {
  save_weights(folder, weights, to_hugging_face_json(source.config, weights.dtype()));
  if (!source.checkpoint) return;
  for (const char* name : kCopiedFiles) {
    const std::filesystem::path file = source.checkpoint->path() / name;
    if (std::filesystem::is_regular_file(file)) write_file_atomically(folder / name, read_file(file));
  }
}

}  // namespace zo2
