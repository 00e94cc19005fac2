#include "store/checkpoint_writer.h"

#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "store/safetensors.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kChunkBytes = 8 << 20;

const char* safetensors_name(DType dtype) { return dtype == DType::f32 ? "F32" : dtype == DType::f16 ? "F16" : "BF16"; }

// A file that is written aside: removed again unless it was put in place.
class AsideFile {
 public:
  explicit AsideFile(fs::path final) : final_(std::move(final)), aside_(final_.string() + ".tmp") {}
  AsideFile(AsideFile&& other) noexcept : final_(std::exchange(other.final_, {})), aside_(std::move(other.aside_)) {}
  AsideFile& operator=(AsideFile&&) = delete;
  ~AsideFile() {
    if (!final_.empty()) ::unlink(aside_.c_str());
  }

  const fs::path& aside() const { return aside_; }
  void put_in_place() {
    rename_durably(aside_, final_);
    final_.clear();
  }

 private:
  fs::path final_;
  fs::path aside_;
};

// The specs of one file in the order of their bytes: 4-byte elements first, so that each tensor is aligned to its
// elements whatever their counts.
std::vector<size_t> file_order(const std::vector<TensorSpec>& specs, std::vector<size_t> indices) {
  std::stable_sort(indices.begin(), indices.end(),
                   [&](size_t a, size_t b) { return dtype_bytes(specs[a].dtype) > dtype_bytes(specs[b].dtype); });
  return indices;
}

std::string make_header(const std::vector<TensorSpec>& specs, const std::vector<size_t>& order) {
  Json header{{"__metadata__", {{"format", "pt"}}}};
  int64_t offset = 0;
  for (size_t index : order) {
    const TensorSpec& spec = specs[index];
    ZO2_ASSERT(!header.contains(spec.name));
    const int64_t end = offset + spec.bytes();
    header[spec.name] = {
        {"dtype", safetensors_name(spec.dtype)}, {"shape", spec.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

AsideFile write_aside(const fs::path& final, const std::vector<TensorSpec>& specs, const std::vector<size_t>& indices,
                      const TensorProducer& producer) {
  const std::vector<size_t> order = file_order(specs, indices);
  const std::string header = make_header(specs, order);
  AsideFile result(final);
  File file = File::create(result.aside());
  const uint64_t header_bytes = header.size();
  file.write_all(&header_bytes, sizeof header_bytes);
  file.write_all(header.data(), header.size());
  std::vector<std::byte> chunk;
  for (size_t index : order) {
    const int64_t bytes = specs[index].bytes();
    for (int64_t first = 0; first < bytes; first += kChunkBytes) {
      chunk.resize(static_cast<size_t>(std::min(kChunkBytes, bytes - first)));
      producer(index, first, chunk);
      file.write_all(chunk.data(), chunk.size());
    }
  }
  file.sync();
  return result;
}

AsideFile write_text_aside(const fs::path& final, const std::string& text) {
  AsideFile result(final);
  File file = File::create(result.aside());
  file.write_all(text.data(), text.size());
  file.sync();
  return result;
}

// Consecutive specs, as many to a shard as fit.
std::vector<std::vector<size_t>> split(const std::vector<TensorSpec>& specs, int64_t max_shard_bytes) {
  std::vector<std::vector<size_t>> shards(1);
  int64_t filled = 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    const int64_t bytes = specs[i].bytes();
    if (!shards.back().empty() && filled + bytes > max_shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(i);
    filled += bytes;
  }
  return shards;
}

}  // namespace

int64_t TensorSpec::bytes() const {
  int64_t total = dtype_bytes(dtype);
  for (int64_t dimension : shape) {
    ZO2_ASSERT(dimension >= 0 && !__builtin_mul_overflow(total, dimension, &total));
  }
  return total;
}

void write_safetensors(const fs::path& file, const std::vector<TensorSpec>& specs, const TensorProducer& producer) {
  std::vector<size_t> all(specs.size());
  std::iota(all.begin(), all.end(), size_t{0});
  write_aside(file, specs, all, producer).put_in_place();
}

void check_free_of_weights(const fs::path& folder) {
  std::error_code ignored;
  for (const char* name : {kSingleFile, kIndexFile}) {
    ZO2_CHECK(!fs::exists(folder / name, ignored), UsageError,
              "{} exists: choose another folder, or remove the weights there", (folder / name).string());
  }
}

void write_checkpoint(const fs::path& folder, const std::vector<TensorSpec>& specs, const TensorProducer& producer,
                      const Json& config, int64_t max_shard_bytes) {
  check_free_of_weights(folder);
  const fs::path single = folder / kSingleFile;
  const fs::path index = folder / kIndexFile;
  std::error_code error;
  std::set<std::string> names;
  for (const TensorSpec& spec : specs) ZO2_ASSERT(names.insert(spec.name).second);
  fs::create_directories(folder, error);
  ZO2_CHECK(!error, IoError, "cannot create folder {}: {}", folder.string(), error.message());

  // Everything aside first: a disk that fills up is noticed before anything has its final name.
  std::vector<AsideFile> files;
  if (!config.is_null()) files.push_back(write_text_aside(folder / "config.json", config.dump(2) + "\n"));
  const auto shards = split(specs, max_shard_bytes);
  if (shards.size() == 1) {
    files.push_back(write_aside(single, specs, shards.front(), producer));
  } else {
    Json weight_map = Json::object();
    int64_t total = 0;
    for (size_t i = 0; i < shards.size(); ++i) {
      const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
      for (size_t spec : shards[i]) {
        weight_map[specs[spec].name] = name;
        total += specs[spec].bytes();
      }
      files.push_back(write_aside(folder / name, specs, shards[i], producer));
    }
    const Json text{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    files.push_back(write_text_aside(index, text.dump(2) + "\n"));
  }
  for (AsideFile& file : files) file.put_in_place();
}

}  // namespace zo2
