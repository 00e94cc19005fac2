#include "model/config.h"

#include <algorithm>

#include "base/error.h"

namespace zo2 {
namespace {

struct NamedShape {
  const char* name;
  int64_t layers, heads, hidden;
};

// arXiv 2205.01068, table 1.
constexpr NamedShape kOptShapes[] = {
    {"opt-125m", 12, 12, 768},  {"opt-350m", 24, 16, 1024}, {"opt-1.3b", 24, 32, 2048},
    {"opt-2.7b", 32, 32, 2560}, {"opt-6.7b", 32, 32, 4096}, {"opt-13b", 40, 40, 5120},
    {"opt-30b", 48, 56, 7168},  {"opt-66b", 64, 72, 9216},  {"opt-175b", 96, 96, 12288}};

void check_shape(const ModelConfig& config) {
  auto positive = [&](int64_t value, const char* key) {
    ZO2_CHECK(value > 0 && value < (int64_t{1} << 31), UsageError, "{}: {} is {}; it must be a positive number",
              config.name, key, value);
  };
  positive(config.vocab_size, "vocab_size");
  positive(config.hidden_size, "hidden_size");
  positive(config.num_layers, "num_hidden_layers");
  positive(config.num_heads, "num_attention_heads");
  positive(config.ffn_dim, "ffn_dim");
  positive(config.max_positions, "max_position_embeddings");
  positive(config.word_embed_proj_dim, "word_embed_proj_dim");
  ZO2_CHECK(config.hidden_size % config.num_heads == 0, UsageError,
            "{}: num_attention_heads {} does not divide hidden_size {}", config.name, config.num_heads,
            config.hidden_size);
}

// json converts 64.5 and true to integers; a shape is neither.
int64_t whole_number(const Json& json, const char* key) {
  const Json& value = json.at(key);
  ZO2_CHECK(value.is_number_integer(), UsageError, "config.json: {} is {}; it must be a whole number", key,
            value.dump());
  return value.get<int64_t>();
}

}  // namespace

std::vector<std::string> known_models() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kOptShapes) names.emplace_back(shape.name);
  return names;
}

ModelConfig model_by_name(const std::string& name) {
  for (const NamedShape& shape : kOptShapes) {
    if (name != shape.name) continue;
    ModelConfig config;
    config.name = name;
    config.family = "opt";
    config.vocab_size = 50272;
    config.hidden_size = shape.hidden;
    config.num_layers = shape.layers;
    config.num_heads = shape.heads;
    config.ffn_dim = 4 * shape.hidden;
    config.max_positions = 2048;
    config.word_embed_proj_dim = shape.hidden;
    if (name == "opt-350m") {  // its checkpoint: norms after, a 512-wide embedding, no last norm
      config.word_embed_proj_dim = 512;
      config.norm_before = false;
      config.final_norm = false;
    }
    return config;
  }
  throw UsageError(fmt::format("unknown model '{}': name a folder with a config.json, or one of {}", name,
                               fmt::join(known_models(), ", ")));
}

ModelConfig model_from_json(const Json& json, const std::string& name) {
  ModelConfig config;
  config.name = name;
  try {
    config.family = json.value("model_type", "");
    ZO2_CHECK(config.family == "opt", UsageError, "{}: model_type '{}' is not supported; supported: opt", name,
              config.family);
    const std::string activation = json.value("activation_function", "relu");
    ZO2_CHECK(activation == "relu", UsageError, "{}: activation_function '{}' is not supported; OPT's is relu", name,
              activation);
    ZO2_CHECK(json.value("enable_bias", true), UsageError, "{}: enable_bias false is not supported", name);
    ZO2_CHECK(json.value("layer_norm_elementwise_affine", true), UsageError,
              "{}: layer_norm_elementwise_affine false is not supported", name);
    config.vocab_size = whole_number(json, "vocab_size");
    config.hidden_size = whole_number(json, "hidden_size");
    config.num_layers = whole_number(json, "num_hidden_layers");
    config.num_heads = whole_number(json, "num_attention_heads");
    config.ffn_dim = whole_number(json, "ffn_dim");
    config.max_positions = whole_number(json, "max_position_embeddings");
    config.word_embed_proj_dim =
        json.contains("word_embed_proj_dim") ? whole_number(json, "word_embed_proj_dim") : config.hidden_size;
    config.norm_before = json.value("do_layer_norm_before", true);
    config.final_norm = config.norm_before && !json.value("_remove_final_layer_norm", false);
    config.tie_embeddings = json.value("tie_word_embeddings", true);
    config.init_std = json.value("init_std", 0.02);
  } catch (const Json::exception& error) {
    throw UsageError(fmt::format("{}: config.json: {}", name, error.what()));
  }
  check_shape(config);
  return config;
}

ModelConfig model_from_folder(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  ZO2_CHECK(std::filesystem::exists(path), UsageError, "{} has no config.json: not a Hugging Face checkpoint",
            folder.string());
  return model_from_json(read_json(path), std::filesystem::path(folder / "").parent_path().filename().string());
}

Json to_hugging_face_json(const ModelConfig& config, DType dtype) {
  const char* torch_dtype = dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
  return {{"architectures", {"OPTForCausalLM"}},
          {"model_type", "opt"},
          {"activation_function", "relu"},
          {"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"num_hidden_layers", config.num_layers},
          {"num_attention_heads", config.num_heads},
          {"ffn_dim", config.ffn_dim},
          {"max_position_embeddings", config.max_positions},
          {"word_embed_proj_dim", config.word_embed_proj_dim},
          {"do_layer_norm_before", config.norm_before},
          {"_remove_final_layer_norm", !config.final_norm && config.norm_before},
          {"enable_bias", true},
          {"layer_norm_elementwise_affine", true},
          {"tie_word_embeddings", config.tie_embeddings},
          {"init_std", config.init_std},
          {"bos_token_id", 2},
          {"eos_token_id", 2},
          {"pad_token_id", 1},
          {"torch_dtype", torch_dtype}};
}

}  // namespace zo2
