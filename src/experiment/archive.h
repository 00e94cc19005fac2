// Compressed files and archives with reproducible bytes, by libarchive: no times, owners or names of the machine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace zo2 {

std::string gzip(std::string_view bytes);
// The whole file, unpacked. Throws IoError when it cannot be read or is damaged.
std::string read_gzip(const std::filesystem::path& path);

// Writes a tar file, compressed as its name says (.tar.gz or .tar.zst), aside, and renames it into place by finish().
// Without finish() the path is left as it was.
class TarWriter {
 public:
  // Throws UsageError for any other name, IoError when it cannot be written.
  explicit TarWriter(const std::filesystem::path& path);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  void add(const std::string& name, std::string_view bytes);  // a file; throws IoError
  void finish();                                              // throws IoError

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace zo2
