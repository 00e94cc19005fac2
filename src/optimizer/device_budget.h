// What of a bound on GPU memory is left for the arena: `gpu_memory: X` counts everything that the driver shows.
#pragma once

#include <cstdint>
#include <optional>

#include "optimizer/train_job.h"

namespace zo2 {

// The device memory in use by NVML, in bytes; nullopt where NVML does not tell.
std::optional<int64_t> device_memory_in_use();

// Runs one step of the smallest plan at learning rate 0 (which changes no weight), so that the context, every kernel
// and library and the page-locked memory are there; what NVML then shows above `idle_bytes`, less the smallest arena,
// lies outside of any arena. Returns what job.gpu_memory_bytes leaves. Throws UsageError when that is less than the
// smallest arena (the message says what would do), DeviceError without NVML.
int64_t arena_budget(const TrainJob& job, const Plan& smallest, HostWeights& weights, int64_t idle_bytes);

}  // namespace zo2
