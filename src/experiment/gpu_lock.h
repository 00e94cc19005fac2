// One run on a GPU at a time, among all programs that ask here.
#pragma once

#include <functional>
#include <optional>

#include "base/file.h"
#include "base/nvml.h"

namespace zo2 {

// Waits until nobody else holds this GPU, as wait_for_lock() does (file_lock.h). The file is zo2-gpu-<UUID>.lock in the
// folder for temporary files ($TMPDIR, else /tmp) and stays there. Throws IoError when it cannot be made.
std::optional<File> lock_gpu(const NvmlDevice& device, const std::function<bool()>& waiting);

}  // namespace zo2
