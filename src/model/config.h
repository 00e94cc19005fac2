// The shape of a language model: by name (opt-1.3b) or from a Hugging Face config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/json.h"

namespace zo2 {

struct ModelConfig {
  std::string name;    // "opt-1.3b", or the folder's name
  std::string family;  // "opt"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t ffn_dim = 0;
  int64_t max_positions = 0;
  int64_t word_embed_proj_dim = 0;  // width of the embedding; projected to hidden_size when it differs
  bool norm_before = true;          // pre-layer-norm; false for opt-350m
  bool final_norm = true;           // a norm after the last layer
  bool tie_embeddings = true;       // the head is the token table
  double init_std = 0.02;

  int64_t head_dim() const { return hidden_size / num_heads; }
};

// The published OPT shapes (arXiv 2205.01068, table 1; 350m as its checkpoint has it). Throws UsageError with the
// nearest known names for an unknown one.
ModelConfig model_by_name(const std::string& name);
std::vector<std::string> known_models();

// Reads config.json of a Hugging Face checkpoint. Throws UsageError for an unsupported architecture, activation or
// shape (say, heads that do not divide hidden_size).
ModelConfig model_from_json(const Json& config, const std::string& name);
ModelConfig model_from_folder(const std::filesystem::path& folder);

// The config.json that transformers loads such a checkpoint with.
Json to_hugging_face_json(const ModelConfig& config, DType dtype);

}  // namespace zo2
