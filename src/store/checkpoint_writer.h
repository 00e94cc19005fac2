// Writes safetensors files and checkpoints in the Hugging Face layout, streaming, so that memory stays at one chunk
// whatever the size of the model. File format: safetensors.h.
//
// Nothing half-written ever bears a final name: every file is written as NAME.tmp and synced; when all are there they
// are renamed, the one that readers open first (model.safetensors, or the index) last. When anything fails, the
// .tmp files are removed; a kill leaves only .tmp files or shards without an index, and writing again replaces them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/json.h"

namespace zo2 {

struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;

  int64_t bytes() const;  // throws InternalError for a negative or overflowing shape
};

// Fills `out` with bytes [first_byte, first_byte + out.size()) of tensor `index` (its place in the specs). Called from
// one thread, for each tensor in ascending order of first_byte; a call covers whole elements.
using TensorProducer = std::function<void(size_t index, int64_t first_byte, std::span<std::byte> out)>;

// One file, replaced atomically. Throws IoError naming the file when the disk is full or the folder is not writable,
// and leaves what was there; whatever the producer throws passes through in the same way.
void write_safetensors(const std::filesystem::path& file, const std::vector<TensorSpec>& specs,
                       const TensorProducer& producer);

inline constexpr int64_t kDefaultShardBytes = 5'000'000'000;

// Throws UsageError when the folder holds weights already: mixing two checkpoints would go unnoticed. What takes long
// asks before it begins.
void check_free_of_weights(const std::filesystem::path& folder);

// Creates the folder when absent and writes config.json (unless config is null) and model.safetensors, or, beyond
// max_shard_bytes of tensors, model-0000i-of-0000n.safetensors and model.safetensors.index.json. A tensor larger than
// max_shard_bytes has a shard of its own. Throws as check_free_of_weights does.
void write_checkpoint(const std::filesystem::path& folder, const std::vector<TensorSpec>& specs,
                      const TensorProducer& producer, const Json& config, int64_t max_shard_bytes = kDefaultShardBytes);

}  // namespace zo2
