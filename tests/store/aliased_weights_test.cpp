// Aliased weights: what shares memory, what does not, and what it costs.
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/sha256.h"
#include "store/checkpoint_writer.h"
#include "store/load_weights.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

// Two tables, three layers of packed vectors and two matrices, a norm after them. The tokens have the role and the
// shape of q, and yet are outside the layers; k of the last layer is wider.
ParameterTable layered_table() {
  ParameterTable table;
  table.add({0, "tokens", 9, 6, ParameterKind::table});
  table.add({1, "positions", 40, 6, ParameterKind::table});
  for (uint32_t layer = 1; layer <= 3; ++layer) {
    const auto named = [&](const char* name) { return fmt::format("layers.{}.{}", layer - 1, name); };
    table.add_packed(named("vectors"), {{layer * 64 + 2, named("bias"), 1, 9, ParameterKind::vector},
                                        {layer * 64 + 3, named("norm"), 1, 6, ParameterKind::vector, Initial::ones}});
    table.add({layer * 64 + 0, named("q"), 9, 6});
    table.add({layer * 64 + 1, named("k"), 9, layer == 3 ? 8 : 6});
  }
  table.add({5, "norm", 1, 6, ParameterKind::vector, Initial::ones});
  return table;
}

// Of the table above: tokens, positions, then vectors, q and k of each layer, then norm.
constexpr int kOwners[] = {0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 10, 11};

TEST(AliasedWeights, LayersShareByRoleAndShapeAndNothingElseDoes) {
  const HostWeights aliased(layered_table(), DType::f16, HostWeightsKind::aliased);
  const HostWeights exact(layered_table(), DType::f16);
  EXPECT_EQ(aliased.kind(), HostWeightsKind::aliased);
  EXPECT_EQ(exact.kind(), HostWeightsKind::exact);
  ASSERT_EQ(aliased.count(), std::ssize(kOwners));
  for (int w = 0; w < aliased.count(); ++w) {
    EXPECT_EQ(aliased.owner(w), kOwners[w]) << w;
    EXPECT_EQ(exact.owner(w), w);
    EXPECT_EQ(aliased.bytes(w), exact.bytes(w));
  }
}

// A byte written through any weight shows in the weights of the same owner, first or last, and in no other.
TEST(AliasedWeights, ShareBytesBothWaysAtAddressesOfTheirOwn) {
  for (HostWeightsKind kind : {HostWeightsKind::exact, HostWeightsKind::aliased}) {
    HostWeights weights(layered_table(), DType::f32, kind);
    std::set<const std::byte*> addresses;
    for (int w = 0; w < weights.count(); ++w) addresses.insert(weights.data(w));
    EXPECT_EQ(std::ssize(addresses), weights.count());
    for (int written = 0; written < weights.count(); ++written) {
      const int64_t at = weights.bytes(written) - 1;
      weights.data(written)[at] = std::byte{0xff};
      for (int read = 0; read < weights.count(); ++read) {
        if (weights.bytes(read) <= at) continue;
        const bool same = kind == HostWeightsKind::aliased ? kOwners[read] == kOwners[written] : read == written;
        EXPECT_EQ(weights.data(read)[at] == std::byte{0xff}, same) << written << " -> " << read;
      }
      weights.data(written)[at] = std::byte{0};
    }
  }
}

TEST(AliasedWeights, TotalIsWhatTheModelNeedsAndPhysicalCountsOneLayer) {
  const int64_t outside = 9 * 6 + 40 * 6 + 6;
  const int64_t layer = 15 + 9 * 6 + 9 * 6;
  const int64_t wider = 9 * 2;  // in the last layer
  const HostWeights aliased(layered_table(), DType::bf16, HostWeightsKind::aliased);
  EXPECT_EQ(aliased.total_bytes(), 2 * (outside + 3 * layer + wider));
  EXPECT_EQ(aliased.physical_bytes(), 2 * (outside + layer + 9 * 8));
  const HostWeights exact(layered_table(), DType::bf16);
  EXPECT_EQ(exact.total_bytes(), aliased.total_bytes());
  EXPECT_EQ(exact.physical_bytes(), exact.total_bytes());
}

TEST(AliasedWeights, AModelLargerThanTheMachineFitsWhenOneLayerDoes) {
  ParameterTable table;
  const int64_t rows = available_host_bytes() / 4 / 1024 / 2;  // a quarter of the memory in a 16-bit dtype
  for (uint32_t layer = 1; layer <= 8; ++layer) table.add({layer * 64, fmt::format("m{}", layer), rows, 1024});
  const std::string message = message_of<OutOfMemoryError>([&] { HostWeights(table, DType::f16); });
  expect_all_in(message, {fmt::format("{} bytes", table.count() * 2)});
  HostWeights weights(table, DType::f16, HostWeightsKind::aliased);
  EXPECT_GT(weights.total_bytes(), available_host_bytes());
  weights.data(7)[weights.bytes(7) - 1] = std::byte{5};
  EXPECT_EQ(weights.data(0)[weights.bytes(0) - 1], std::byte{5});

  for (uint32_t role = 1; role <= 4; ++role) table.add({64 + role, fmt::format("r{}", role), rows, 1024});
  const std::string refusal =
      message_of<OutOfMemoryError>([&] { HostWeights(table, DType::f16, HostWeightsKind::aliased); });
  expect_all_in(refusal, {"aliased", fmt::format("{} bytes", 5 * rows * 1024 * 2)});
}

TEST(AliasedWeights, InitialiseGivesEveryLayerTheOwnersValues) {
  HostWeights exact(layered_table(), DType::f16);
  HostWeights aliased(layered_table(), DType::f16, HostWeightsKind::aliased);
  initialise_weights(exact, 9, 0.02);
  initialise_weights(aliased, 9, 0.02);
  for (int w = 0; w < aliased.count(); ++w) EXPECT_EQ(bytes_of(aliased, w), bytes_of(exact, kOwners[w])) << w;
}

// The hash by its definition, one weight after another.
std::string hash_by_definition(const HostWeights& weights) {
  std::string text =
      fmt::format("zo2 weights 1\n{}\n{}\n", parameter_table_hash(weights.table()), dtype_name(weights.dtype()));
  for (int w = 0; w < weights.count(); ++w) text += sha256_hex(bytes_of(weights, w)) + "\n";
  return sha256_hex(text);
}

TEST(AliasedWeights, HashIsOfEveryWeightInTheTablesOrder) {
  for (HostWeightsKind kind : {HostWeightsKind::exact, HostWeightsKind::aliased}) {
    HostWeights weights(layered_table(), DType::f32, kind);
    initialise_weights(weights, 9, 0.02);
    const std::string hash = weights_hash(weights);
    EXPECT_EQ(hash, hash_by_definition(weights));
    for (int w = 0; w < weights.count(); ++w) {
      weights.data(w)[0] ^= std::byte{1};
      EXPECT_NE(weights_hash(weights), hash) << w;
      EXPECT_EQ(weights_hash(weights), hash_by_definition(weights)) << w;
      weights.data(w)[0] ^= std::byte{1};
    }
  }
}

TEST(AliasedWeights, ACheckpointIsRefusedAndNothingIsWritten) {
  const TempFolder folder;
  const std::vector<float> values(40 * 6, 1.0F);
  ParameterTable table;
  table.add({64, "layer.m", 40, 6});
  write_safetensors(folder / "model.safetensors", {{"layer.m", DType::f32, {40, 6}}},
                    [&](size_t, int64_t first, std::span<std::byte> out) {
                      std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + first, out.size());
                    });
  const Checkpoint checkpoint = Checkpoint::open(folder / "model.safetensors");
  HostWeights aliased(table, DType::f32, HostWeightsKind::aliased);
  const std::string message = message_of<UsageError>([&] { load_weights(aliased, checkpoint); });
  expect_all_in(message, {"model.safetensors", "aliased", "engine.host_weights: exact"});
  EXPECT_EQ(aliased.data(0)[3], std::byte{0});
  HostWeights exact(table, DType::f32);
  load_weights(exact, checkpoint);
  EXPECT_NE(exact.data(0)[3], std::byte{0});
}

}  // namespace
}  // namespace zo2
