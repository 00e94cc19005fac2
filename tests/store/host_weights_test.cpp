#include "store/host_weights.h"

#include <cmath>

#include "base/convert.h"
#include "base/error.h"
#include "noise/noise.h"
#include "store/load_weights.h"
#include "store/testing.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

TEST(HostWeights, HasExactSizesAndAlignedStarts) {
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const HostWeights weights(small_table(), dtype);
    const int64_t width = dtype_bytes(dtype);
    ASSERT_EQ(weights.count(), 4);
    EXPECT_EQ(weights.bytes(0), 37 * 5 * width);
    EXPECT_EQ(weights.bytes(3), 21 * width);
    EXPECT_EQ(weights.total_bytes(), (37 * 5 + 55 + 55 + 21) * width);
    for (int w = 0; w < weights.count(); ++w) EXPECT_EQ(reinterpret_cast<uintptr_t>(weights.data(w)) % 256, 0U);
  }
}

TEST(HostWeights, AModelThatDoesNotFitIsRefusedAsAWhole) {
  ParameterTable table;
  // Each fits where the machine has a terabyte or less; all do not.
  const int64_t rows = available_host_bytes() / 4 / 1024 / 2;
  for (uint32_t id = 0; id < 5; ++id) table.add({id, fmt::format("m{}", id), rows, 1024});
  const std::string message = message_of<OutOfMemoryError>([&] { HostWeights(table, DType::f32); });
  expect_all_in(message,
                {fmt::format("{} parameters", table.count()), "fp32", fmt::format("{} bytes", table.count() * 4)});
}

TEST(InitialiseWeights, EqualsTheNoiseFunctionInEveryDtype) {
  ParameterTable table = small_table();
  table.add({200, "large", 1100, 1000});  // more than one piece
  for (DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    HostWeights weights(table, dtype);
    initialise_weights(weights, 1234, 0.02);
    for (int w = 0; w < weights.count(); ++w) {
      for (const Segment& segment : table.weights[static_cast<size_t>(w)].segments) {
        const Parameter& parameter = table.parameters[static_cast<size_t>(segment.parameter)];
        std::vector<float> expected(static_cast<size_t>(parameter.count()),
                                    parameter.initial == Initial::ones ? 1.0F : 0.0F);
        if (parameter.initial == Initial::normal) {
          fill_noise(Distribution::gaussian, {1234, Purpose::initial_weights, 0, parameter.id, 0}, 0, expected);
          for (float& value : expected) value = round_to(dtype, 0.02F * value);
        }
        std::vector<float> found(expected.size());
        to_float(dtype, weights.data(w) + segment.offset * dtype_bytes(dtype), found);
        EXPECT_EQ(found, expected) << parameter.name;
      }
    }
  }
}

TEST(InitialiseWeights, SeedsDifferAndTheSpreadIsRight) {
  ParameterTable table;
  table.add({0, "m", 1000, 1000});
  HostWeights first(table, DType::f32);
  HostWeights second(table, DType::f32);
  initialise_weights(first, 1, 0.02);
  initialise_weights(second, 2, 0.02);
  EXPECT_NE(weights_hash(first), weights_hash(second));
  std::vector<float> values(1'000'000);
  to_float(DType::f32, first.data(0), values);
  double sum = 0;
  double squares = 0;
  for (float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  // Five standard errors: of the mean 0.02 / sqrt(n), of the variance 0.02^2 sqrt(2 / n).
  EXPECT_LT(std::fabs(sum / 1e6), 5 * 0.02 / 1e3);
  EXPECT_LT(std::fabs(squares / 1e6 - 0.0004), 5 * 0.0004 * std::sqrt(2.0) / 1e3);
}

TEST(WeightsHash, ChangesWithEveryBitAndWithTableAndDtype) {
  HostWeights weights(small_table(), DType::bf16);
  initialise_weights(weights, 5, 0.02);
  const std::string hash = weights_hash(weights);
  EXPECT_EQ(hash.size(), 64U);
  EXPECT_EQ(weights_hash(weights), hash);
  for (int w = 0; w < weights.count(); ++w) {
    for (int64_t byte : {int64_t{0}, weights.bytes(w) - 1}) {
      weights.data(w)[byte] ^= std::byte{1};
      EXPECT_NE(weights_hash(weights), hash);
      weights.data(w)[byte] ^= std::byte{1};
    }
  }
  EXPECT_EQ(weights_hash(weights), hash);
  EXPECT_NE(weights_hash(HostWeights(small_table(), DType::bf16)),
            weights_hash(HostWeights(small_table(), DType::f16)));
}

TEST(ParameterTableHash, ChangesWithNamesShapesKindsIdsAndPacking) {
  const std::string hash = parameter_table_hash(small_table());
  const auto changed = [](const auto& change) {
    ParameterTable table = small_table();
    change(table);
    return parameter_table_hash(table);
  };
  EXPECT_EQ(changed([](ParameterTable&) {}), hash);
  EXPECT_NE(changed([](ParameterTable& table) { table.parameters[1].id = 99; }), hash);
  EXPECT_NE(changed([](ParameterTable& table) { table.parameters[1].name += "x"; }), hash);
  EXPECT_NE(changed([](ParameterTable& table) { table.parameters[1].rows = 12; }), hash);
  EXPECT_NE(changed([](ParameterTable& table) { table.parameters[1].kind = ParameterKind::table; }), hash);
  EXPECT_NE(changed([](ParameterTable& table) { table.weights[3].segments[1].offset = 0; }), hash);
  EXPECT_NE(changed([](ParameterTable& table) { std::swap(table.weights[1], table.weights[2]); }), hash);
  EXPECT_EQ(changed([](ParameterTable& table) { table.parameters[1].initial = Initial::zeros; }), hash);
}

}  // namespace
}  // namespace zo2
