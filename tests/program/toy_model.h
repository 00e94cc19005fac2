// A transformer of a few thousand parameters for the tests of the program layer, which may not use src/model: every
// kind of operation, tied or not, norms before or after with a projection on both sides. Beside it: the passes of one
// toy laid out together.
#pragma once

#include <string>
#include <vector>

#include "program/builder.h"
#include "program/layout.h"
#include "program/schedule.h"
#include "program/testing.h"

namespace zo2::testing {

struct Toy {
  bool tied = true;
  bool projected = false;  // an embedding of half the width, and norms after instead of before
  int layers = 2;
  int64_t hidden = 64;
  int64_t ffn = 256;
  int64_t vocab = 300;
  int64_t positions = 40;

  int64_t embed() const { return projected ? hidden / 2 : hidden; }
};

// Indices of weights, in the order in which they are added.
struct ToyWeights {
  int tokens = -1, positions = -1, project_in = -1, project_out = -1, head = -1;
  std::vector<int> vectors, qkv, out, fc1, fc2;
};

inline ParameterTable toy_table(const Toy& toy, ToyWeights* indices = nullptr) {
  ParameterTable table;
  ToyWeights at;
  at.tokens = table.add({0, "tokens", toy.vocab, toy.embed(), ParameterKind::table});
  at.positions = table.add({1, "positions", toy.positions, toy.hidden, ParameterKind::table});
  if (toy.projected) at.project_in = table.add({2, "project_in", toy.hidden, toy.embed()});
  for (int layer = 0; layer < toy.layers; ++layer) {
    const auto id = static_cast<uint32_t>(64 * (layer + 1));
    const auto vec = [&](uint32_t role, const char* name, int64_t count) {
      return Parameter{id + role, fmt::format("{}.{}", name, layer), 1, count, ParameterKind::vector, Initial::zeros};
    };
    at.vectors.push_back(table.add_packed(fmt::format("vectors.{}", layer),
                                          {vec(10, "bias1", toy.ffn), vec(11, "bias2", toy.hidden),
                                           vec(12, "gamma", toy.hidden), vec(13, "beta", toy.hidden)}));
    at.qkv.push_back(table.add({id, fmt::format("qkv.{}", layer), toy.hidden, toy.hidden}));
    at.out.push_back(table.add({id + 1, fmt::format("out.{}", layer), toy.hidden, toy.hidden}));
    at.fc1.push_back(table.add({id + 2, fmt::format("fc1.{}", layer), toy.ffn, toy.hidden}));
    at.fc2.push_back(table.add({id + 3, fmt::format("fc2.{}", layer), toy.hidden, toy.ffn}));
  }
  if (toy.projected) at.project_out = table.add({3, "project_out", toy.embed(), toy.hidden});
  if (!toy.tied) at.head = table.add({4, "head", toy.vocab, toy.embed(), ParameterKind::table});
  if (indices != nullptr) *indices = at;
  return table;
}

inline Program toy_program(const Toy& toy, const ParameterTable& table, const PassShape& shape) {
  ToyWeights at;
  toy_table(toy, &at);
  ProgramBuilder builder(table, shape, toy.hidden, /*num_heads=*/4);
  const Activation x = builder.activation("x", toy.hidden);
  if (toy.projected) {
    const Activation embedded = builder.activation("embedded", toy.embed());
    builder.gather(at.tokens, GatherIndex::tokens, 0, embedded, false);
    builder.linear(embedded, at.project_in, nullptr, x);
  } else {
    builder.gather(at.tokens, GatherIndex::tokens, 0, x, false);
  }
  builder.gather(at.positions, GatherIndex::positions, 2, x, true);
  for (int layer = 0; layer < toy.layers; ++layer) {
    const auto id = static_cast<uint32_t>(64 * (layer + 1));
    builder.begin_layer();
    const Vectors vectors = builder.visit_vectors(at.vectors[layer]);
    Activation h = x;
    if (!toy.projected) {
      h = builder.activation("h", toy.hidden);
      builder.layer_norm(x, vectors, id + 12, id + 13, h);
    }
    const Activation q = builder.activation("q", toy.hidden);
    builder.linear(h, at.qkv[layer], nullptr, q);
    const Activation a = builder.attention(q, q, q, 1000);
    builder.linear(a, at.out[layer], nullptr, x, {.accumulate = true});
    const Activation f = builder.activation("f", toy.ffn);
    builder.linear(x, at.fc1[layer], &vectors, f, {.bias = id + 10, .relu = true});
    builder.linear(f, at.fc2[layer], &vectors, x, {.bias = id + 11, .accumulate = true});
    if (toy.projected) builder.layer_norm(x, vectors, id + 12, id + 13, x);
    builder.end_layer();
  }
  Activation rows = builder.select_rows(x);
  if (toy.projected) {
    const Activation narrow = builder.activation("narrow", toy.embed(), Extent::labelled);
    builder.linear(rows, at.project_out, nullptr, narrow, {.extent = Extent::labelled});
    rows = narrow;
  }
  builder.head(rows, toy.tied ? at.tokens : at.head);
  if (!toy.tied) builder.fold_table(at.tokens);
  builder.fold_table(at.positions);
  return builder.take();
}

// A shape whose tiles hold 32 rows of the toy's hidden size: every weight but the vectors has several.
inline PassShape toy_shape(int pairs) {
  PassShape shape;
  shape.batch = 2;
  shape.seq = 10;
  shape.pairs = pairs;
  shape.tile_bytes = 32 * 64 * 2;
  return shape;
}

// Training, evaluating and generating passes in one arena, as a plan has them.
struct ToyPasses {
  ParameterTable table;
  std::vector<Program> programs;  // training, evaluation, prefill, decode
  Layout layout;

  ToyPasses(const Toy& toy, PassShape shape, int slots, ArenaBudget budget) : table(toy_table(toy)) {
    programs.push_back(toy_program(toy, table, shape));
    shape.pairs = 0;
    programs.push_back(toy_program(toy, table, shape));
    shape.batch = 3;
    shape.seq = 6;
    shape.cache_tokens = 9;
    shape.generation = Generation::prefill;
    programs.push_back(toy_program(toy, table, shape));
    shape.seq = 1;
    shape.generation = Generation::decode;
    programs.push_back(toy_program(toy, table, shape));
    layout = plan_layout(table, {&programs[0], &programs[1], &programs[2], &programs[3]}, slots, budget);
  }

  Schedule schedule(int program, bool overlap = true) const {
    return make_schedule(programs[static_cast<size_t>(program)], layout, overlap);
  }
  std::vector<std::string> problems(int program, const Schedule& schedule) const {
    return check_schedule(table, programs[static_cast<size_t>(program)], layout, program, schedule);
  }
};

// Every combination of the keys that lead from the published scheme to ours.
inline std::vector<Scheme> all_schemes() {
  std::vector<Scheme> schemes;
  for (Granularity granularity : {Granularity::tile, Granularity::matrix, Granularity::block}) {
    for (int bits = 0; bits < 8; ++bits) {
      schemes.push_back({granularity, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
    }
  }
  return schemes;
}

inline std::string scheme_name(const Scheme& scheme) {
  return fmt::format("granularity {}, {} head, {} embedding, noise {}", static_cast<int>(scheme.granularity),
                     scheme.full_head ? "full" : "chunked", scheme.resident_embedding ? "resident" : "gathered",
                     scheme.noise_buffer ? "materialised" : "fused");
}

inline std::vector<Toy> all_toys() {
  return {{.tied = true}, {.tied = false}, {.tied = true, .projected = true}, {.tied = false, .projected = true}};
}

}  // namespace zo2::testing
