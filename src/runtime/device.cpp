#include "runtime/device.h"

#include "base/error.h"

namespace zo2 {

#ifdef ZO2_HAVE_CUDA
namespace cuda {
std::string why_unusable();  // runtime/cuda/executor.cpp
}
#endif

std::string_view device_name(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

std::string why_no_cuda() {
#ifdef ZO2_HAVE_CUDA
  return cuda::why_unusable();
#else
  return "this build has no CUDA runtime (configure with -DZO2_CUDA=ON)";
#endif
}

Device parse_device(std::string_view name) {
  if (name == "cpu") return Device::cpu;
  ZO2_CHECK(name == "cuda" || name == "auto", UsageError, "unknown device '{}': known are auto, cpu, cuda", name);
  const std::string reason = why_no_cuda();
  if (reason.empty()) return Device::cuda;
  ZO2_CHECK(name == "auto", DeviceError, "device cuda: {}; use device cpu, or see `zo2 doctor`", reason);
  return Device::cpu;
}

std::unique_ptr<Executor> make_executor(Device device, const Plan& plan, HostWeights& weights,
                                        const ExecutorSettings& settings) {
#ifdef ZO2_HAVE_CUDA
  if (device == Device::cuda) return make_cuda_executor(plan, weights, settings);
#endif
  ZO2_ASSERT(device == Device::cpu);
  return make_cpu_executor(plan, weights, settings);
}

void replay_weights(Device device, HostWeights& weights, const std::vector<CommitRule>& commits,
                    const ExecutorSettings& settings, std::span<const LogEntry> entries, int pairs, int64_t from,
                    int64_t to, const ReplayProgress& progress) {
#ifdef ZO2_HAVE_CUDA
  if (device == Device::cuda) return replay_on_cuda(weights, commits, settings, entries, pairs, from, to, progress);
#endif
  ZO2_ASSERT(device == Device::cpu);
  replay_on_cpu(weights, commits, settings, entries, pairs, from, to, progress);
}

AttentionWorkspace measured_attention(Device device, DType dtype, int threads) {
#ifdef ZO2_HAVE_CUDA
  if (device == Device::cuda) return measured_cuda_attention(dtype);
#endif
  ZO2_ASSERT(device == Device::cpu);
  return measured_cpu_attention(dtype, threads);
}

}  // namespace zo2
