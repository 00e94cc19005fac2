// Puts the stand-in NVML library (standin_nvml.cpp) in place of the driver's, for this process and its children.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "support.h"

namespace zo2::testing {

// Sets an environment variable, or with nullptr takes it away; gives back what was there before.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;
  ~ScopedVariable() { set(old_ ? old_->c_str() : nullptr); }

 private:
  void set(const char* value) { value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};

using NvmlValues = std::map<std::string, std::string>;

class StandinNvml {
 public:
  explicit StandinNvml(NvmlValues values, const char* library = ZO2_STANDIN_NVML_LIBRARY)
      : values_(std::move(values)),
        library_("ZO2_NVML_LIBRARY", library),
        file_("ZO2_STANDIN_NVML", path().c_str()),
        visible_("CUDA_VISIBLE_DEVICES", nullptr) {
    write();
  }
  // A value changes at once for who reads it, in this process or in another.
  void set(const std::string& key, const std::string& value) {
    values_[key] = value;
    write();
  }
  // The file with the values. Replace it by renaming: a reader must not see half of it.
  std::filesystem::path path() const { return folder_.path() / "values"; }

 private:
  void write() {
    std::string text;
    for (const auto& [key, value] : values_) text.append(key).append("=").append(value).append("\n");
    std::filesystem::rename(folder_.write("new", text), path());
  }

  TempFolder folder_;
  NvmlValues values_;
  ScopedVariable library_, file_, visible_;
};

}  // namespace zo2::testing
