// The OPT family (arXiv 2205.01068), as Hugging Face's OPTForCausalLM computes it: learned positions looked up at
// i + 2, ReLU, biases everywhere, norms before (or after, for 350m) each half of a layer, an optional projection
// between a narrower embedding and the hidden size.
#include <unordered_map>

#include "base/error.h"
#include "model/family.h"

namespace zo2::opt {
namespace {

// Roles are part of the format of step logs: never renumber, never reuse. Id = layer * 64 + role, where layer 0 holds
// what lies outside the layers.
enum GlobalRole : uint32_t {
  kTokens = 0,
  kPositions = 1,
  kProjectIn = 2,
  kProjectOut = 3,
  kHead = 4,
  kNormW = 5,
  kNormB = 6
};
enum LayerRole : uint32_t {
  kQ = 0,
  kK = 1,
  kV = 2,
  kO = 3,
  kFc1 = 4,
  kFc2 = 5,
  kQBias = 6,
  kKBias = 7,
  kVBias = 8,
  kOBias = 9,
  kFc1Bias = 10,
  kFc2Bias = 11,
  kAttentionNormW = 12,
  kAttentionNormB = 13,
  kFfnNormW = 14,
  kFfnNormB = 15,
};

constexpr int64_t kPositionOffset = 2;

uint32_t layer_id(int64_t layer, LayerRole role) { return static_cast<uint32_t>((layer + 1) * 64 + role); }

const std::string kDecoder = "model.decoder.";

// Weights by the id of their first parameter.
std::unordered_map<uint32_t, int> index_weights(const ParameterTable& table) {
  std::unordered_map<uint32_t, int> index;
  for (size_t weight = 0; weight < table.weights.size(); ++weight) {
    index[table.parameters[table.weights[weight].segments[0].parameter].id] = static_cast<int>(weight);
  }
  return index;
}

}  // namespace

ParameterTable parameters(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t embed = config.word_embed_proj_dim;
  ParameterTable table;
  table.add({kTokens, kDecoder + "embed_tokens.weight", config.vocab_size, embed, ParameterKind::table});
  table.add({kPositions, kDecoder + "embed_positions.weight", config.max_positions + kPositionOffset, hidden,
             ParameterKind::table});
  if (embed != hidden) table.add({kProjectIn, kDecoder + "project_in.weight", hidden, embed});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string prefix = fmt::format("{}layers.{}.", kDecoder, layer);
    auto vec = [&](LayerRole role, const char* name, int64_t count, Initial initial) {
      return Parameter{layer_id(layer, role), prefix + name, 1, count, ParameterKind::vector, initial};
    };
    table.add_packed(prefix + "vectors", {vec(kQBias, "self_attn.q_proj.bias", hidden, Initial::zeros),
                                          vec(kKBias, "self_attn.k_proj.bias", hidden, Initial::zeros),
                                          vec(kVBias, "self_attn.v_proj.bias", hidden, Initial::zeros),
                                          vec(kOBias, "self_attn.out_proj.bias", hidden, Initial::zeros),
                                          vec(kFc1Bias, "fc1.bias", config.ffn_dim, Initial::zeros),
                                          vec(kFc2Bias, "fc2.bias", hidden, Initial::zeros),
                                          vec(kAttentionNormW, "self_attn_layer_norm.weight", hidden, Initial::ones),
                                          vec(kAttentionNormB, "self_attn_layer_norm.bias", hidden, Initial::zeros),
                                          vec(kFfnNormW, "final_layer_norm.weight", hidden, Initial::ones),
                                          vec(kFfnNormB, "final_layer_norm.bias", hidden, Initial::zeros)});
    table.add({layer_id(layer, kQ), prefix + "self_attn.q_proj.weight", hidden, hidden});
    table.add({layer_id(layer, kK), prefix + "self_attn.k_proj.weight", hidden, hidden});
    table.add({layer_id(layer, kV), prefix + "self_attn.v_proj.weight", hidden, hidden});
    table.add({layer_id(layer, kO), prefix + "self_attn.out_proj.weight", hidden, hidden});
    table.add({layer_id(layer, kFc1), prefix + "fc1.weight", config.ffn_dim, hidden});
    table.add({layer_id(layer, kFc2), prefix + "fc2.weight", hidden, config.ffn_dim});
  }
  if (config.final_norm) {
    table.add_packed(kDecoder + "final_vectors",
                     {{kNormW, kDecoder + "final_layer_norm.weight", 1, hidden, ParameterKind::vector, Initial::ones},
                      {kNormB, kDecoder + "final_layer_norm.bias", 1, hidden, ParameterKind::vector, Initial::zeros}});
  }
  if (embed != hidden) table.add({kProjectOut, kDecoder + "project_out.weight", embed, hidden});
  if (!config.tie_embeddings) table.add({kHead, "lm_head.weight", config.vocab_size, embed, ParameterKind::table});
  return table;
}

void emit(const ModelConfig& config, const ParameterTable& table, ProgramBuilder& builder,
          int64_t attention_workspace) {
  const auto weights = index_weights(table);
  const int64_t hidden = config.hidden_size;
  const bool projected = config.word_embed_proj_dim != hidden;

  Activation x = builder.activation("x", hidden);  // [T, hidden], the residual stream
  if (projected) {
    Activation embedded = builder.activation("embedded", config.word_embed_proj_dim);
    builder.gather(weights.at(kTokens), GatherIndex::tokens, 0, embedded, /*accumulate=*/false);
    builder.linear(embedded, weights.at(kProjectIn), nullptr, x);
  } else {
    builder.gather(weights.at(kTokens), GatherIndex::tokens, 0, x, /*accumulate=*/false);
  }
  builder.gather(weights.at(kPositions), GatherIndex::positions, kPositionOffset, x, /*accumulate=*/true);

  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    auto id = [&](LayerRole role) { return layer_id(layer, role); };
    auto weight = [&](LayerRole role) { return weights.at(id(role)); };
    auto named = [&](const char* name, int64_t cols) {
      return builder.activation(fmt::format("{}.{}", name, layer), cols);
    };
    builder.begin_layer();
    const Vectors vectors = builder.visit_vectors(weight(kQBias));
    const bool before = config.norm_before;

    Activation h = x;
    if (before) {
      h = named("h", hidden);
      builder.layer_norm(x, vectors, id(kAttentionNormW), id(kAttentionNormB), h);
    }
    const Activation q = named("q", hidden);
    const Activation k = named("k", hidden);
    const Activation v = named("v", hidden);
    builder.linear(h, weight(kQ), &vectors, q, {.bias = id(kQBias)});
    builder.linear(h, weight(kK), &vectors, k, {.bias = id(kKBias)});
    builder.linear(h, weight(kV), &vectors, v, {.bias = id(kVBias)});
    const Activation a = builder.attention(q, k, v, attention_workspace);
    builder.linear(a, weight(kO), &vectors, x, {.bias = id(kOBias), .accumulate = true});
    if (!before) builder.layer_norm(x, vectors, id(kAttentionNormW), id(kAttentionNormB), x);

    h = x;
    if (before) {
      h = named("g", hidden);
      builder.layer_norm(x, vectors, id(kFfnNormW), id(kFfnNormB), h);
    }
    const Activation f = named("f", config.ffn_dim);
    builder.linear(h, weight(kFc1), &vectors, f, {.bias = id(kFc1Bias), .relu = true});
    builder.linear(f, weight(kFc2), &vectors, x, {.bias = id(kFc2Bias), .accumulate = true});
    if (!before) builder.layer_norm(x, vectors, id(kFfnNormW), id(kFfnNormB), x);
    builder.end_layer();
  }

  Activation rows = builder.select_rows(x);
  if (config.final_norm) {
    const Vectors vectors = builder.visit_vectors(weights.at(kNormW));
    builder.layer_norm(rows, vectors, kNormW, kNormB, rows, Extent::labelled);
  }
  if (projected) {
    Activation narrow = builder.activation("narrow", config.word_embed_proj_dim, Extent::labelled);
    builder.linear(rows, weights.at(kProjectOut), nullptr, narrow, {.extent = Extent::labelled});
    rows = narrow;
  }
  builder.head(rows, weights.at(config.tie_embeddings ? kTokens : kHead));
  if (!config.tie_embeddings) builder.fold_table(weights.at(kTokens));
  builder.fold_table(weights.at(kPositions));
}

}  // namespace zo2::opt
