// The textbook baseline: MeZO (arXiv 2305.17333, algorithm 1) on plain LibTorch, for honest comparisons.
#pragma once

#include <memory>

#include "runtime/device.h"

namespace zo2 {

// Weights in one place, perturbed and updated in place in their own dtype as MeZO's released code does, full-size noise
// taken from our noise function, full logits. It drifts by the rounding of every in-place change; that is the point.
// One direction pair, one pass a step; eps, weight decay, noise and threads of the settings apply.
//
// On the CPU the memory of `weights` (which must outlive it) is what is trained, so sync_host does nothing. On CUDA a
// copy on the device is, and sync_host copies it back. There is no arena: the meter has the allocator's peaks on CUDA
// and reads zero else. The host reads each loss before it goes on, twice a step. Throws OutOfMemoryError.
std::unique_ptr<Executor> make_textbook_mezo(Device device, const ModelConfig& config, HostWeights& weights,
                                             const ExecutorSettings& settings, Objective objective);

}  // namespace zo2
