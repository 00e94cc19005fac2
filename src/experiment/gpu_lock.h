// One run on a GPU at a time, among all programs that ask here.
#pragma once

#include <functional>
#include <optional>

#include "base/file.h"
#include "base/nvml.h"

namespace zo2 {

// Waits until nobody else holds this GPU; it is held as long as the file that is returned is open, and let go when the
// process dies, however that happens. The file is zo2-gpu-<UUID>.lock in the folder for temporary files ($TMPDIR, else
// /tmp) and stays there. `waiting` is called about ten times a second while another holds the GPU; when it returns
// false, the wait ends with nullopt. Throws IoError when the file cannot be made.
std::optional<File> lock_gpu(const NvmlDevice& device, const std::function<bool()>& waiting);

}  // namespace zo2
