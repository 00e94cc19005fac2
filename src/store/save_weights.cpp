#include "store/save_weights.h"

#include <algorithm>
#include <cstring>

#include "store/checkpoint_writer.h"

namespace zo2 {

void save_weights(const std::filesystem::path& folder, const HostWeights& weights, const Json& config) {
  struct Source {
    TensorSpec spec;
    const std::byte* data;
  };
  std::vector<Source> sources;
  for (int weight = 0; weight < weights.count(); ++weight) {
    for (const Segment& segment : weights.table().weights[weight].segments) {
      const Parameter& parameter = weights.table().parameters[segment.parameter];
      std::vector<int64_t> shape{parameter.rows, parameter.cols};
      if (parameter.kind == ParameterKind::vector) shape = {parameter.cols};
      sources.push_back({{parameter.name, weights.dtype(), std::move(shape)},
                         weights.data(weight) + segment.offset * dtype_bytes(weights.dtype())});
    }
  }
  std::sort(sources.begin(), sources.end(), [](const Source& a, const Source& b) { return a.spec.name < b.spec.name; });
  std::vector<TensorSpec> specs;
  for (const Source& source : sources) specs.push_back(source.spec);
  write_checkpoint(
      folder, specs,
      [&](size_t index, int64_t first_byte, std::span<std::byte> out) {
        std::memcpy(out.data(), sources[index].data + first_byte, out.size());
      },
      config);
}

}  // namespace zo2
