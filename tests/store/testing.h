// What the tests of the store share: small parameter tables, files, full disks.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "program/parameters.h"
#include "store/host_weights.h"
#include "support.h"

namespace zo2::testing {

namespace fs = std::filesystem;

inline void write_text(const fs::path& path, std::string_view text) {
  fs::remove(path);  // ext4 flushes a file that is truncated and written again when it is closed: 2 ms each
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

inline std::string read_text(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Files beyond `bytes` cannot be written while this lives, as on a full disk: write() fails with EFBIG.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

// For a child process: the kernel kills it in the middle of the write that reaches byte `bytes` of a file.
inline void die_when_a_file_reaches(rlim_t bytes) {
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  std::signal(SIGXFSZ, SIG_DFL);
  const rlimit limit{bytes, RLIM_INFINITY};
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

inline void expect_all_in(const std::string& text, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' in: " << text;
}

// A token table, two matrices and three packed vectors, of odd sizes.
inline ParameterTable small_table() {
  ParameterTable table;
  table.add({1, "model.decoder.embed_tokens.weight", 37, 5, ParameterKind::table, Initial::normal});
  table.add({64, "model.decoder.layers.0.fc1.weight", 11, 5, ParameterKind::matrix, Initial::normal});
  table.add({65, "model.decoder.layers.0.fc2.weight", 5, 11, ParameterKind::matrix, Initial::normal});
  table.add_packed("layers.0.vectors",
                   {{66, "model.decoder.layers.0.fc1.bias", 1, 11, ParameterKind::vector, Initial::zeros},
                    {67, "model.decoder.layers.0.norm.weight", 1, 5, ParameterKind::vector, Initial::ones},
                    {68, "model.decoder.layers.0.norm.bias", 1, 5, ParameterKind::vector, Initial::normal}});
  return table;
}

inline std::string bytes_of(const HostWeights& weights, int weight) {
  return {reinterpret_cast<const char*>(weights.data(weight)), static_cast<size_t>(weights.bytes(weight))};
}

}  // namespace zo2::testing
