#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "base/convert.h"
#include "base/error.h"
#include "noise/noise.h"
#include "store/load_weights.h"
#include "store/parallel.h"

namespace zo2 {
namespace {

constexpr int64_t kPieceElements = 1 << 20;  // a job for one thread
constexpr int64_t kChunkElements = 4096;     // floats that stay in the first-level cache

// A range of one parameter.
struct Piece {
  const Parameter* parameter = nullptr;
  int64_t first = 0;
  int64_t count = 0;
  std::byte* target = nullptr;
};

void fill(const Piece& piece, uint64_t seed, float init_std, DType dtype) {
  std::array<float, kChunkElements> values;
  NoiseKey key;
  key.seed = seed;
  key.purpose = Purpose::initial_weights;
  key.parameter_id = piece.parameter->id;
  for (int64_t done = 0; done < piece.count; done += kChunkElements) {
    const std::span<float> chunk(values.data(), static_cast<size_t>(std::min(kChunkElements, piece.count - done)));
    if (piece.parameter->initial == Initial::normal) {
      fill_noise(Distribution::gaussian, key, piece.first + done, chunk);
      for (float& value : chunk) value *= init_std;
    } else {
      std::fill(chunk.begin(), chunk.end(), piece.parameter->initial == Initial::ones ? 1.0F : 0.0F);
    }
    from_float(dtype, chunk, piece.target + done * dtype_bytes(dtype));
  }
}

}  // namespace

void initialise_weights(HostWeights& weights, uint64_t seed, double init_std) {
  const ParameterTable& table = weights.table();
  std::vector<Piece> pieces;
  for (int w = 0; w < weights.count(); ++w) {
    if (weights.owner(w) != w) continue;
    for (const Segment& segment : table.weights[static_cast<size_t>(w)].segments) {
      const Parameter& parameter = table.parameters[static_cast<size_t>(segment.parameter)];
      for (int64_t first = 0; first < parameter.count(); first += kPieceElements) {
        pieces.push_back({&parameter, first, std::min(kPieceElements, parameter.count() - first),
                          weights.data(w) + (segment.offset + first) * dtype_bytes(weights.dtype())});
      }
    }
  }
  parallel_for(hardware_threads(), static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    fill(pieces[static_cast<size_t>(i)], seed, static_cast<float>(init_std), weights.dtype());
  });
}

}  // namespace zo2
