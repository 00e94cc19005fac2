#include "store/safetensors.h"

#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "store/mapped_file.h"
#include "store/safetensors_header.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

struct Tensor {
  TensorView view;         // its dtype means nothing when unsupported
  std::string dtype_text;  // as the file says
  bool supported = false;
  size_t file = 0;  // in State::files
};

std::optional<DType> supported_dtype(std::string_view name) {
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  return std::nullopt;
}

// Where a folder's tensors are listed.
fs::path find_entry_file(const fs::path& given) {
  std::error_code ignored;
  ZO2_CHECK(fs::exists(given, ignored), UsageError, "no checkpoint at {}: no such file or folder", given.string());
  if (!fs::is_directory(given, ignored)) return given;
  for (const char* name : {kSingleFile, kIndexFile}) {
    if (fs::exists(given / name, ignored)) return given / name;
  }
  const bool pickled =
      fs::exists(given / "pytorch_model.bin", ignored) || fs::exists(given / "pytorch_model.bin.index.json", ignored);
  throw UsageError(fmt::format("{} holds neither {} nor {}{}", given.string(), kSingleFile, kIndexFile,
                               pickled ? ": convert it first, python scripts/convert_checkpoint.py DIR OUT" : ""));
}

}  // namespace

std::string format_shape(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

struct Checkpoint::State {
  fs::path path;
  std::vector<std::unique_ptr<MappedFile>> files;
  std::map<std::string, Tensor> tensors;

  void add_file(const fs::path& file) {
    files.push_back(std::make_unique<MappedFile>(file));
    const auto bytes = files.back()->bytes();
    for (HeaderEntry& entry : parse_safetensors_header(bytes, file)) {
      Tensor tensor{{DType::f32, std::move(entry.shape), bytes.data() + entry.begin, entry.end - entry.begin},
                    std::move(entry.dtype),
                    false,
                    files.size() - 1};
      if (const auto dtype = supported_dtype(tensor.dtype_text)) {
        tensor.view.dtype = *dtype;
        tensor.supported = true;
      }
      const auto [known, inserted] = tensors.emplace(entry.name, std::move(tensor));
      ZO2_CHECK(inserted, UsageError, "tensor '{}' is in {} and again in {}", entry.name,
                files[known->second.file]->path().string(), file.string());
    }
  }

  void add_shards(const fs::path& index_path) {
    const Json index = read_json(index_path);
    ZO2_CHECK(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(), UsageError,
              "{}: no weight_map of tensor names to files", index_path.string());
    std::map<std::string, std::vector<std::string>> shards;
    for (const auto& [name, shard] : index["weight_map"].items()) {
      ZO2_CHECK(shard.is_string(), UsageError, "{}: the file of tensor '{}' is {}, not a string", index_path.string(),
                name, shard.dump());
      shards[shard.get<std::string>()].push_back(name);
    }
    for (const auto& [shard, names] : shards) {
      // A name with a folder in it could reach files anywhere on the machine.
      ZO2_CHECK(!shard.empty() && shard.find('/') == std::string::npos && shard != "." && shard != "..", UsageError,
                "{}: '{}' (for tensor '{}') is not the name of a file beside the index", index_path.string(), shard,
                names.front());
      const fs::path file = index_path.parent_path() / shard;
      std::error_code ignored;
      ZO2_CHECK(fs::exists(file, ignored), UsageError, "{}: shard {} is missing; {} tensors are in it, '{}' among them",
                index_path.string(), shard, names.size(), names.front());
      add_file(file);
      for (const std::string& name : names) {
        const auto found = tensors.find(name);
        ZO2_CHECK(found != tensors.end() && found->second.file == files.size() - 1, UsageError,
                  "{}: tensor '{}' should be in {}, which does not have it", index_path.string(), name, shard);
      }
    }
  }

  const Tensor* find(const std::string& name) const {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  }
};

Checkpoint Checkpoint::open(const fs::path& folder_or_file) {
  auto state = std::make_shared<State>();
  state->path = folder_or_file;
  const fs::path file = find_entry_file(folder_or_file);
  if (file.extension() == ".json") {
    state->add_shards(file);
  } else {
    state->add_file(file);
  }
  Checkpoint checkpoint;
  checkpoint.state_ = std::move(state);
  return checkpoint;
}

const TensorView* Checkpoint::find(const std::string& name) const {
  const Tensor* tensor = state_->find(name);
  if (tensor == nullptr) return nullptr;
  ZO2_CHECK(tensor->supported, UsageError, "{}: tensor '{}' has dtype {}: supported are F32, F16 and BF16",
            state_->files[tensor->file]->path().string(), name, tensor->dtype_text);
  return &tensor->view;
}

bool Checkpoint::contains(const std::string& name) const { return state_->find(name) != nullptr; }

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_->tensors) names.push_back(name);
  return names;
}

const fs::path& Checkpoint::file_of(const std::string& name) const {
  const Tensor* tensor = state_->find(name);
  ZO2_CHECK(tensor != nullptr, UsageError, "{}: no tensor '{}'", state_->path.string(), name);
  return state_->files[tensor->file]->path();
}

const fs::path& Checkpoint::path() const { return state_->path; }

}  // namespace zo2
