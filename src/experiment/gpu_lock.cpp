#include "experiment/gpu_lock.h"

#include <fmt/format.h>

#include "experiment/file_lock.h"

namespace zo2 {

std::optional<File> lock_gpu(const NvmlDevice& device, const std::function<bool()>& waiting) {
  const std::string name = device.uuid().value_or(device.pci_bus_id().value_or("0"));
  return wait_for_lock(std::filesystem::temp_directory_path() / fmt::format("zo2-gpu-{}.lock", name), waiting);
}

}  // namespace zo2
