// Locks between processes, on files that stay where they are. A lock is held as long as the file that is returned is
// open, and let go when the process dies, however that happens.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "base/file.h"

namespace zo2 {

enum class LockKind : uint8_t { shared, exclusive };

// nullopt when another holds the file in a way that excludes this one. Makes the file where there is none; throws
// IoError when it cannot be made or locked.
std::optional<File> try_lock(const std::filesystem::path& path, LockKind kind);

// Waits for an exclusive lock. `waiting` is called about ten times a second while another holds the file; when it
// returns false, the wait ends with nullopt.
std::optional<File> wait_for_lock(const std::filesystem::path& path, const std::function<bool()>& waiting);

}  // namespace zo2
