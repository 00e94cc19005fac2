#include "model/config.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "model/family.h"
#include "program/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;
namespace fs = std::filesystem;

Json valid() {
  return {{"model_type", "opt"},           {"vocab_size", 512},        {"hidden_size", 64},
          {"num_hidden_layers", 4},        {"num_attention_heads", 4}, {"ffn_dim", 256},
          {"max_position_embeddings", 128}};
}

std::string refusal(const Json& json) {
  return message_of<UsageError>([&] { model_from_json(json, "here"); });
}

TEST(ReadConfig, TodaysFilesWriteDtypeAndLeaveOutATrueTie) {
  Json json = valid();
  json["dtype"] = "float32";
  const ModelConfig config = model_from_json(json, "name");
  EXPECT_EQ(config.name, "name");
  EXPECT_EQ(config.family, "opt");
  EXPECT_EQ(config.vocab_size, 512);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.num_layers, 4);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.head_dim(), 16);
  EXPECT_EQ(config.ffn_dim, 256);
  EXPECT_EQ(config.max_positions, 128);
  EXPECT_EQ(config.word_embed_proj_dim, 64);  // the hidden size unless given
  EXPECT_TRUE(config.norm_before);
  EXPECT_TRUE(config.final_norm);
  EXPECT_TRUE(config.tie_embeddings);
  json["tie_word_embeddings"] = false;
  EXPECT_FALSE(model_from_json(json, "name").tie_embeddings);
}

TEST(ReadConfig, TheLastNormIsThereOnlyBeforeAndUnlessRemoved) {
  Json json = valid();
  json["_remove_final_layer_norm"] = true;
  EXPECT_FALSE(model_from_json(json, "x").final_norm);
  json["_remove_final_layer_norm"] = false;
  json["do_layer_norm_before"] = false;
  EXPECT_FALSE(model_from_json(json, "x").final_norm);
  EXPECT_FALSE(model_from_json(json, "x").norm_before);
}

TEST(ReadConfig, RealFilesOfTransformers) {
  struct Expected {
    const char* name;
    int64_t hidden, embed, ffn;
    bool tied, norm_before;
  };
  for (const Expected& e : {Expected{"opt-preln", 64, 64, 256, true, true},
                            {"opt-untied", 64, 64, 256, false, true},
                            {"opt-postln", 64, 32, 256, true, false},
                            {"opt-f16", 64, 64, 256, true, true},
                            {"opt-sharded", 96, 96, 384, true, true}}) {
    if (!fs::exists(fixture(e.name))) GTEST_SKIP() << "no " << fixture(e.name);
    const ModelConfig config = model_from_folder(fixture(e.name));
    EXPECT_EQ(config.name, e.name);
    EXPECT_EQ(config.hidden_size, e.hidden);
    EXPECT_EQ(config.word_embed_proj_dim, e.embed);
    EXPECT_EQ(config.ffn_dim, e.ffn);
    EXPECT_EQ(config.num_layers, 4);
    EXPECT_EQ(config.vocab_size, 512);
    EXPECT_EQ(config.max_positions, 128);
    EXPECT_EQ(config.tie_embeddings, e.tied) << e.name;
    EXPECT_EQ(config.norm_before, e.norm_before) << e.name;
    EXPECT_EQ(config.final_norm, e.norm_before) << e.name;
    EXPECT_EQ(model_from_folder(fixture(e.name) / "").name, e.name);  // with a slash at the end
    const Json reference = read_json(fixture(e.name) / "reference.json");
    EXPECT_EQ(parameters_of(config).count(), reference.at("parameters").get<int64_t>()) << e.name;
  }
}

TEST(ReadConfig, OtherFamiliesAndVariantsAreRefusedByName) {
  Json json = valid();
  for (const char* type : {"llama", "gpt2", ""}) {
    json["model_type"] = type;
    expect_contains(refusal(json), fmt::format("'{}'", type));
    expect_contains(refusal(json), "opt");
  }
  json = valid();
  json.erase("model_type");
  expect_contains(refusal(json), "model_type");
  json = valid();
  json["activation_function"] = "gelu";
  expect_contains(refusal(json), "gelu");
  for (const char* key : {"enable_bias", "layer_norm_elementwise_affine"}) {
    json = valid();
    json[key] = false;
    expect_contains(refusal(json), key);
  }
}

TEST(ReadConfig, MissingAndMalformedKeysAreNamed) {
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim",
                          "max_position_embeddings"}) {
    Json json = valid();
    json.erase(key);
    expect_contains(refusal(json), key);
    for (const Json& value : {Json(0), Json(-64), Json(int64_t{1} << 31), Json("64"), Json(nullptr), Json(64.5),
                              Json(true), Json::array({64}), Json(1e300), Json(~uint64_t{0})}) {
      json = valid();
      json[key] = value;
      expect_contains(refusal(json), key);
    }
  }
  for (const Json& value : {Json("yes"), Json(1.5), Json(nullptr)}) {
    Json json = valid();
    json["tie_word_embeddings"] = value;
    refusal(json);
  }
  for (const Json& json : {Json(nullptr), Json::array({1, 2}), Json("opt"), Json::object()}) refusal(json);
}

TEST(ReadConfig, HeadsMustDivideTheHiddenSize) {
  Json json = valid();
  json["num_attention_heads"] = 5;
  const std::string message = refusal(json);
  expect_contains(message, "num_attention_heads 5");
  expect_contains(message, "hidden_size 64");
}

TEST(ReadConfig, AFolderWithoutAConfigAndAFileThatIsNotJsonAreRefused) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("zo2-config-{}", ::getpid());
  fs::create_directory(folder);
  expect_contains(message_of<UsageError>([&] { model_from_folder(folder); }), "no config.json");
  std::ofstream(folder / "config.json") << "{\"model_type\": ";
  expect_contains(message_of<UsageError>([&] { model_from_folder(folder); }), "not valid JSON");
  fs::remove_all(folder);
}

TEST(WriteConfig, ReadsBackToTheSameShape) {
  std::vector<ModelConfig> configs;
  for (const std::string& name : known_models()) configs.push_back(model_by_name(name));
  configs.push_back(configs[0]);
  configs.back().tie_embeddings = false;
  configs.back().init_std = 0.006;
  configs.push_back(configs[0]);
  configs.back().final_norm = false;
  for (const ModelConfig& config : configs) {
    const Json json = to_hugging_face_json(config, DType::f16);
    EXPECT_EQ(json.at("torch_dtype"), "float16");
    EXPECT_EQ(json.at("architectures"), Json::array({"OPTForCausalLM"}));
    const ModelConfig back = model_from_json(Json::parse(json.dump()), config.name);
    EXPECT_EQ(back.family, config.family);
    EXPECT_EQ(back.vocab_size, config.vocab_size);
    EXPECT_EQ(back.hidden_size, config.hidden_size);
    EXPECT_EQ(back.num_layers, config.num_layers);
    EXPECT_EQ(back.num_heads, config.num_heads);
    EXPECT_EQ(back.ffn_dim, config.ffn_dim);
    EXPECT_EQ(back.max_positions, config.max_positions);
    EXPECT_EQ(back.word_embed_proj_dim, config.word_embed_proj_dim);
    EXPECT_EQ(back.norm_before, config.norm_before);
    EXPECT_EQ(back.final_norm, config.final_norm);
    EXPECT_EQ(back.tie_embeddings, config.tie_embeddings);
    EXPECT_EQ(back.init_std, config.init_std);
  }
  EXPECT_EQ(to_hugging_face_json(configs[0], DType::f32).at("torch_dtype"), "float32");
  EXPECT_EQ(to_hugging_face_json(configs[0], DType::bf16).at("torch_dtype"), "bfloat16");
}

}  // namespace
}  // namespace zo2
