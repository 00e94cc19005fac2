// The OPT shapes: parameter counts as published, ids and names that step logs and checkpoints rely on.
#include <map>
#include <set>

#include "base/sha256.h"
#include "model/family.h"
#include "program/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

struct Published {
  const char* name;
  int64_t parameters;  // tied
};

// 125m, 350m, 1.3b, 2.7b and 6.7b are what transformers counts for facebook/opt-*, as found in public notebooks and
// tables; the others follow from arXiv 2205.01068, table 1, by the formula below.
constexpr Published kPublished[] = {
    {"opt-125m", 125'239'296},   {"opt-350m", 331'196'416},   {"opt-1.3b", 1'315'758'080},
    {"opt-2.7b", 2'651'596'800}, {"opt-6.7b", 6'658'473'984}, {"opt-13b", 12'853'473'280},
    {"opt-30b", 29'974'540'288}, {"opt-66b", 65'719'701'504}, {"opt-175b", 174'604'468'224}};

TEST(OptShapes, HaveThePublishedNumberOfParameters) {
  ASSERT_EQ(known_models().size(), std::size(kPublished));
  for (const Published& published : kPublished) {
    ModelConfig config = model_by_name(published.name);
    EXPECT_TRUE(config.tie_embeddings);
    EXPECT_EQ(parameters_of(config).count(), published.parameters) << published.name;
    config.tie_embeddings = false;
    EXPECT_EQ(parameters_of(config).count(), published.parameters + 50272 * config.word_embed_proj_dim)
        << published.name;
  }
}

TEST(OptShapes, CountsFollowTheFormula) {
  for (const Published& published : kPublished) {
    const ModelConfig config = model_by_name(published.name);
    const int64_t h = config.hidden_size;
    const int64_t e = config.word_embed_proj_dim;
    const int64_t layer = 4 * (h * h + h) + (4 * h * h + 4 * h) + (4 * h * h + h) + 2 * 2 * h;
    const int64_t around = e == h ? 2 * h : 2 * e * h;  // the last norm; or the two projections
    EXPECT_EQ(parameters_of(config).count(), 50272 * e + 2050 * h + config.num_layers * layer + around);
  }
}

TEST(OptShapes, AnUnknownNameListsTheKnownOnes) {
  const std::string message = message_of<UsageError>([] { model_by_name("opt-1.4b"); });
  expect_contains(message, "opt-1.4b");
  for (const std::string& name : known_models()) expect_contains(message, name);
}

// "id name\n" of every parameter in order.
std::string ids_and_names(const std::string& name, bool tied) {
  ModelConfig config = model_by_name(name);
  config.tie_embeddings = tied;
  std::string text;
  for (const Parameter& parameter : parameters_of(config).parameters) {
    text += fmt::format("{} {}\n", parameter.id, parameter.name);
  }
  return text;
}

TEST(OptIds, NeverChange) {
  // A step log names parameters by id and finds a weight's commits by the order of weights. If this fails, give the
  // new parameter an unused id and put it behind the others; never change these hashes.
  EXPECT_EQ(sha256_hex(ids_and_names("opt-125m", true)),
            "f48f88bc5c1b6d0140154b54442803f2de4135ad125bd39020100592c01a45b8");
  EXPECT_EQ(sha256_hex(ids_and_names("opt-125m", false)),
            "d8816a4efe56abe81dfb5c54ff88e996acd273b133a4fecf911cd64cffed5559");
  EXPECT_EQ(sha256_hex(ids_and_names("opt-350m", true)),
            "f992f0044e51c482e6042621683ac14754753ee02e00df2788f938aa206ce155");
}

TEST(OptIds, AreLayerTimes64PlusTheRole) {
  ModelConfig config = model_by_name("opt-350m");
  config.tie_embeddings = false;
  std::map<std::string, uint32_t> ids;
  std::set<uint32_t> unique;
  for (const Parameter& parameter : parameters_of(config).parameters) {
    ids[parameter.name] = parameter.id;
    EXPECT_TRUE(unique.insert(parameter.id).second) << parameter.name;
  }
  EXPECT_EQ(ids.at("model.decoder.embed_tokens.weight"), 0U);
  EXPECT_EQ(ids.at("model.decoder.embed_positions.weight"), 1U);
  EXPECT_EQ(ids.at("model.decoder.project_in.weight"), 2U);
  EXPECT_EQ(ids.at("model.decoder.project_out.weight"), 3U);
  EXPECT_EQ(ids.at("lm_head.weight"), 4U);
  EXPECT_EQ(ids.at("model.decoder.layers.0.self_attn.q_proj.weight"), 64U);
  EXPECT_EQ(ids.at("model.decoder.layers.3.fc2.weight"), 4U * 64 + 5);
  EXPECT_EQ(ids.at("model.decoder.layers.23.final_layer_norm.bias"), 24U * 64 + 15);
}

TEST(OptParameters, EveryParameterLiesInOneWeightAndVectorsArePacked) {
  for (const char* name : {"opt-125m", "opt-350m"}) {
    const ParameterTable table = parameters_of(model_by_name(name));
    std::set<int> seen;
    for (const Weight& weight : table.weights) {
      int64_t offset = 0;
      for (const Segment& segment : weight.segments) {
        EXPECT_TRUE(seen.insert(segment.parameter).second);
        EXPECT_EQ(segment.offset, offset);
        const Parameter& parameter = table.parameters[static_cast<size_t>(segment.parameter)];
        EXPECT_EQ(parameter.kind, weight.kind);
        offset += parameter.count();
      }
      EXPECT_EQ(offset, weight.count()) << weight.name;
    }
    EXPECT_EQ(seen.size(), table.parameters.size());
  }
}

TEST(OptParameters, NormsStartAtOneBiasesAtZeroTheRestAtRandom) {
  for (const Parameter& parameter : parameters_of(model_by_name("opt-125m")).parameters) {
    const bool norm = parameter.name.find("layer_norm.weight") != std::string::npos;
    const bool bias = parameter.name.ends_with(".bias");
    EXPECT_EQ(parameter.initial, norm ? Initial::ones : bias ? Initial::zeros : Initial::normal) << parameter.name;
    EXPECT_EQ(parameter.decays(), !norm && !bias) << parameter.name;
  }
}

}  // namespace
}  // namespace zo2
