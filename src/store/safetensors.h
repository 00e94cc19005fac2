// Reads Hugging Face checkpoints: one model.safetensors, or shards with model.safetensors.index.json.
// Written by checkpoint_writer.h; turned into weights by load_weights.h.
//
// A file is (https://huggingface.co/docs/safetensors):
//   file    := header_bytes:u64le  header:json[header_bytes]  data
//   header  := { "__metadata__": {string: string}?, name: {"dtype", "shape": [n...], "data_offsets": [begin, end]}* }
// where the offsets count from the start of data and the tensors cover data exactly, without overlap or gap.
// Headers come from strangers: every claim is checked against the file before anything is handed out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace zo2 {

// A checkpoint's folder has one of them.
inline constexpr const char* kSingleFile = "model.safetensors";
inline constexpr const char* kIndexFile = "model.safetensors.index.json";

// A tensor inside a mapped file. Row-major, little-endian, of any alignment; valid while a Checkpoint that it came
// from, or a copy of one, lives.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // empty for a scalar
  const std::byte* data = nullptr;
  int64_t bytes = 0;

  int64_t count() const { return bytes / dtype_bytes(dtype); }
};

// "[50272, 768]"
std::string format_shape(const std::vector<int64_t>& shape);

// Immutable; copies share the read-only mappings. Safe to read from several threads. The files must not be truncated
// by others meanwhile (reading past the end of a mapped file raises SIGBUS).
class Checkpoint {
 public:
  // A folder (model.safetensors, else model.safetensors.index.json), a .safetensors file or an index file.
  // Throws UsageError naming file, tensor and numbers when a header is not true or a shard or tensor is missing,
  // IoError when a file cannot be read.
  static Checkpoint open(const std::filesystem::path& folder_or_file);

  // Null when there is no such tensor. Throws UsageError for a tensor that is neither F32, F16 nor BF16: such tensors
  // are listed, and are an error only when asked for.
  const TensorView* find(const std::string& name) const;
  bool contains(const std::string& name) const;
  std::vector<std::string> names() const;  // sorted
  // The file that holds a tensor. Throws UsageError when there is none.
  const std::filesystem::path& file_of(const std::string& name) const;
  const std::filesystem::path& path() const;  // as given to open

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace zo2
