// Compressed files and archives with reproducible bytes: no times, owners or names of the machine. zlib and zstd
// compress; the tar format is written here, since libarchive brings libxml2 and ICU, 37 MB, into every bundle
// (scripts/bundle.sh).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace zo2 {

std::string gzip(std::string_view bytes);
// The whole file, unpacked. Throws IoError when it cannot be read or is damaged.
std::string read_gzip(const std::filesystem::path& path);

// A tar archive (ustar, POSIX.1-1988) that is put together in memory.
class TarArchive {
 public:
  // A file with mode 0644, of user and group 0, at time 0. Throws UsageError for a name that ustar cannot hold (more
  // than 100 bytes behind a '/' and 155 before it).
  void add(const std::string& name, std::string_view bytes);
  // Writes it, compressed as the path says (.tar.gz or .tar.zst), aside and renames it into place. Throws IoError, and
  // UsageError for any other path.
  void write(const std::filesystem::path& path) const;

 private:
  std::string bytes_;  // without the end
};

}  // namespace zo2
