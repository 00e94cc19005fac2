// What a model consists of: parameters (what a checkpoint names) and weights (what is stored, moved and committed).
//
// A matrix or table is a weight of its own. The vectors of a layer (biases, norms) are packed into one weight of one
// row, so that they move in one copy. The ordinal of a weight (its index in ParameterTable::weights) decides when it
// commits (schedule.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace zo2 {

enum class ParameterKind : uint8_t { matrix, vector, table };
enum class Initial : uint8_t { normal, zeros, ones };  // normal: mean 0, standard deviation init_std

struct Parameter {
  uint32_t id = 0;   // layer * 64 + role; keys its noise, never reused
  std::string name;  // as in the Hugging Face checkpoint, e.g. "model.decoder.layers.0.fc1.weight"
  int64_t rows = 0;  // out_features; 1 for a vector
  int64_t cols = 0;  // in_features; the length of a vector
  ParameterKind kind = ParameterKind::matrix;
  Initial initial = Initial::normal;

  int64_t count() const { return rows * cols; }
  // Weight decay acts on matrices and tables only.
  bool decays() const { return kind != ParameterKind::vector; }
};

// Elements [offset, offset + parameter.count()) of a weight hold that parameter.
struct Segment {
  int parameter = 0;   // index in ParameterTable::parameters
  int64_t offset = 0;  // in elements, from the start of the weight
};

struct Weight {
  std::string name;
  ParameterKind kind = ParameterKind::matrix;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<Segment> segments;  // one for a matrix or table

  int64_t count() const { return rows * cols; }
};

struct ParameterTable {
  std::vector<Parameter> parameters;
  std::vector<Weight> weights;

  // Adds a parameter with a weight of its own and returns the weight's index.
  int add(Parameter parameter);
  // Adds parameters packed into one weight, in order.
  int add_packed(std::string weight_name, std::vector<Parameter> vectors);

  int64_t count() const;  // number of elements; a tied matrix counts once
  // The weight's element offset of a packed parameter. Throws InternalError when it is not there.
  int64_t offset_of(int weight, uint32_t parameter_id) const;
};

}  // namespace zo2
