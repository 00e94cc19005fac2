// An owned file descriptor, and the two steps that make a written file survive a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace zo2 {

class File {
 public:
  // All throw IoError naming the path and the reason.
  static File open_for_reading(const std::filesystem::path& path);
  static File create(const std::filesystem::path& path);              // truncates
  static File open_for_appending(const std::filesystem::path& path);  // creates when absent; readable too

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  void write_all(const void* data, size_t bytes);
  void sync();  // fdatasync
  void truncate(int64_t bytes);
  int64_t size() const;
  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  File(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::filesystem::path path_;
};

// The whole file. Throws IoError naming the path and the reason.
std::string read_file(const std::filesystem::path& path);

// Makes a folder and those above it; nothing where it is there. Throws IoError naming the path and the reason.
void make_folder(const std::filesystem::path& folder);

// Renames and syncs the folder, so that the new name survives a power cut.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);
// The same when nothing has the name `to`. Else `from` is removed and the answer is false: of several processes that do
// this at once, one succeeds.
bool rename_to_new_durably(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace zo2
