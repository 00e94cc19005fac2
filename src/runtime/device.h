// Which device runs, and the executor for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/executor.h"
#include "runtime/replay.h"

namespace zo2 {

enum class Device : uint8_t { cpu, cuda };

std::string_view device_name(Device device);

// "cpu", "cuda", or "auto": CUDA where this build and machine have it. Throws UsageError for another word, DeviceError
// for "cuda" where there is none, with the reason. Does not create a CUDA context.
Device parse_device(std::string_view name);

// Empty when this build and machine can run on CUDA, else why not.
std::string why_no_cuda();

std::unique_ptr<Executor> make_executor(Device device, const Plan& plan, HostWeights& weights,
                                        const ExecutorSettings& settings);

// The bases of step `from` become w_t of step `to`, on any device with the same bits (runtime/replay.h).
void replay_weights(Device device, HostWeights& weights, const std::vector<CommitRule>& commits,
                    const ExecutorSettings& settings, std::span<const LogEntry> entries, int pairs, int64_t from,
                    int64_t to, const ReplayProgress& progress = nullptr);

// What attention needs beside its output on this device, measured by one call of the planned shape.
AttentionWorkspace measured_attention(Device device, DType dtype, int threads);

}  // namespace zo2
