#include "program/parameters.h"

#include "program/toy_model.h"

namespace zo2 {
namespace {

using namespace zo2::testing;

TEST(ParameterTable, AMatrixIsAWeightOfItsOwn) {
  ParameterTable table;
  EXPECT_EQ(table.add({7, "a", 3, 5, ParameterKind::matrix}), 0);
  EXPECT_EQ(table.add({9, "b", 11, 2, ParameterKind::table}), 1);
  ASSERT_EQ(table.weights.size(), 2U);
  EXPECT_EQ(table.weights[1].name, "b");
  EXPECT_EQ(table.weights[1].kind, ParameterKind::table);
  EXPECT_EQ(table.weights[1].rows, 11);
  EXPECT_EQ(table.weights[1].cols, 2);
  EXPECT_EQ(table.offset_of(1, 9), 0);
  EXPECT_EQ(table.count(), 15 + 22);
}

TEST(ParameterTable, PackedVectorsLieOneAfterAnother) {
  ParameterTable table;
  table.add({1, "matrix", 4, 4});
  const int packed = table.add_packed("vectors", {{2, "x", 1, 5, ParameterKind::vector},
                                                  {3, "y", 1, 7, ParameterKind::vector},
                                                  {4, "z", 1, 1, ParameterKind::vector}});
  const Weight& weight = table.weights[static_cast<size_t>(packed)];
  EXPECT_EQ(weight.kind, ParameterKind::vector);
  EXPECT_EQ(weight.rows, 1);
  EXPECT_EQ(weight.cols, 13);
  EXPECT_EQ(table.offset_of(packed, 2), 0);
  EXPECT_EQ(table.offset_of(packed, 3), 5);
  EXPECT_EQ(table.offset_of(packed, 4), 12);
  EXPECT_EQ(table.count(), 16 + 13);
  for (const Segment& segment : weight.segments) {
    const Parameter& parameter = table.parameters[static_cast<size_t>(segment.parameter)];
    EXPECT_EQ(table.offset_of(packed, parameter.id), segment.offset);
  }
}

TEST(ParameterTable, AskingForAParameterOfAnotherWeightIsABug) {
  ParameterTable table;
  table.add({1, "matrix", 4, 4});
  const std::string message = message_of<InternalError>([&] { (void)table.offset_of(0, 2); });
  expect_contains(message, "matrix");
  expect_contains(message, "2");
}

TEST(ParameterTable, OnlyMatricesAndTablesDecay) {
  EXPECT_TRUE((Parameter{1, "m", 2, 2, ParameterKind::matrix}).decays());
  EXPECT_TRUE((Parameter{1, "t", 2, 2, ParameterKind::table}).decays());
  EXPECT_FALSE((Parameter{1, "v", 1, 2, ParameterKind::vector}).decays());
}

}  // namespace
}  // namespace zo2
