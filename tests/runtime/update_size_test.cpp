#include "runtime/update_size.h"

#include <gtest/gtest.h>

#include "base/convert.h"
#include "program/parameters.h"

namespace zo2 {
namespace {

void set(HostWeights& weights, int weight, int64_t element, float value) {
  const float values[] = {value};
  from_float(weights.dtype(), values, weights.data(weight) + element * dtype_bytes(weights.dtype()));
}

TEST(UpdateSize, IsTheNormsAndTheShareInTheDirectionAskedFor) {
  ParameterTable table;
  table.add({0, "tokens", 3, 4, ParameterKind::table});
  table.add({1, "matrix", 2, 2});
  HostWeights before(table, DType::f16);
  HostWeights after(table, DType::f16);
  HostWeights asked(table, DType::f32);
  EXPECT_EQ(update_size(before, after, asked).kept, 0) << "nothing was asked for";
  set(before, 0, 5, 1.0f);  // asked to move by 3, moved by 2
  set(after, 0, 5, 3.0f);
  set(asked, 0, 5, 4.0f);
  set(asked, 1, 3, 4.0f);  // asked to move by 4, did not
  set(after, 1, 2, 1.5f);  // moved though not asked to
  const UpdateSize size = update_size(before, after, asked);
  EXPECT_DOUBLE_EQ(size.asked, 5);
  EXPECT_DOUBLE_EQ(size.applied, 2.5);
  EXPECT_DOUBLE_EQ(size.kept, 6.0 / 25);
}

}  // namespace
}  // namespace zo2
