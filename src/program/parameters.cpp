#include "program/parameters.h"

#include <utility>

#include "base/error.h"

namespace zo2 {

int ParameterTable::add(Parameter parameter) {
  const int index = static_cast<int>(parameters.size());
  weights.push_back({parameter.name, parameter.kind, parameter.rows, parameter.cols, {{index, 0}}});
  parameters.push_back(std::move(parameter));
  return static_cast<int>(weights.size()) - 1;
}

int ParameterTable::add_packed(std::string weight_name, std::vector<Parameter> vectors) {
  Weight weight{std::move(weight_name), ParameterKind::vector, 1, 0, {}};
  for (Parameter& vector : vectors) {
    weight.segments.push_back({static_cast<int>(parameters.size()), weight.cols});
    weight.cols += vector.count();
    parameters.push_back(std::move(vector));
  }
  weights.push_back(std::move(weight));
  return static_cast<int>(weights.size()) - 1;
}

int64_t ParameterTable::count() const {
  int64_t total = 0;
  for (const Weight& weight : weights) total += weight.count();
  return total;
}

int64_t ParameterTable::offset_of(int weight, uint32_t parameter_id) const {
  for (const Segment& segment : weights.at(weight).segments) {
    if (parameters[segment.parameter].id == parameter_id) return segment.offset;
  }
  throw InternalError(fmt::format("weight {} holds no parameter {}", weights[weight].name, parameter_id));
}

}  // namespace zo2
