// The textbook baseline: MeZO (arXiv 2305.17333, algorithm 1) on plain LibTorch, for honest comparisons.
#pragma once

#include <memory>

#include "runtime/executor.h"

namespace zo2 {

// Weights in one place, perturbed and updated in place in their own dtype as MeZO's released code does, full-size noise
// taken from our noise function, full logits. It drifts by the rounding of every in-place change; that is the point.
// One direction pair, one pass a step; eps, weight decay, noise and threads of the settings apply. The memory of
// `weights` (which must outlive it) is what is trained, so sync_host does nothing; the arena meter reads zero.
std::unique_ptr<Executor> make_textbook_mezo(const ModelConfig& config, HostWeights& weights,
                                             const ExecutorSettings& settings);

}  // namespace zo2
