#include "runtime/update_size.h"

#include <cmath>
#include <vector>

#include "base/convert.h"
#include "base/error.h"
#include "store/parallel.h"

namespace zo2 {

UpdateSize update_size(const HostWeights& before, const HostWeights& after, const HostWeights& asked) {
  ZO2_ASSERT(asked.dtype() == DType::f32 && before.dtype() == after.dtype() && before.count() == asked.count());
  struct Sums {
    double asked = 0, applied = 0, both = 0;
  };
  std::vector<Sums> sums(static_cast<size_t>(before.count()));  // per weight, so that their order is fixed
  parallel_for(hardware_threads(), before.count(), [&](int64_t i) {
    const int weight = static_cast<int>(i);
    const auto count = static_cast<size_t>(before.table().weights[weight].count());
    std::vector<float> from(count);
    std::vector<float> to(count);
    to_float(before.dtype(), before.data(weight), from);
    to_float(after.dtype(), after.data(weight), to);
    const auto* wanted = reinterpret_cast<const float*>(asked.data(weight));
    Sums sum;
    for (size_t k = 0; k < count; ++k) {
      const double should = static_cast<double>(wanted[k]) - static_cast<double>(from[k]);
      const double did = static_cast<double>(to[k]) - static_cast<double>(from[k]);
      sum.asked += should * should;
      sum.applied += did * did;
      sum.both += should * did;
    }
    sums[static_cast<size_t>(i)] = sum;
  });
  Sums all;
  for (const Sums& sum : sums) {
    all.asked += sum.asked;
    all.applied += sum.applied;
    all.both += sum.both;
  }
  return {std::sqrt(all.asked), std::sqrt(all.applied), all.asked > 0 ? all.both / all.asked : 0};
}

}  // namespace zo2
