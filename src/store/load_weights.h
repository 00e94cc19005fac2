// Two ways to fill HostWeights: from a checkpoint, or at random from a seed.
#pragma once

#include <cstdint>

#include "store/host_weights.h"
#include "store/safetensors.h"

namespace zo2 {

// Copies every parameter of the table from the checkpoint, converted to the store's dtype (round to nearest, ties to
// even).
// - Names: as in the table, or with a leading "model." less or more (published OPT files have "decoder.*").
// - Shapes: [rows, cols]; [cols] for a vector.
// - Tied head (the table has no lm_head.weight): lm_head.weight may be absent, equal the token table, or stand for it.
// - Other tensors are listed in one warning.
// Throws UsageError for aliased weights, and one naming file and tensor for a missing tensor, another shape (both are
// shown), an infinity or NaN (with the first element's index), a value too large for fp16, a head that is not the token
// table though the model is tied, and no head though it is not.
void load_weights(HostWeights& weights, const Checkpoint& checkpoint);

// normal: init_std * z rounded to the dtype, z Gaussian from the noise function keyed by (seed, initial_weights,
// parameter id), so that the same seed gives the same bits whatever the number of threads and the machine.
// zeros, ones: as they say. Aliases hold what their owner holds.
void initialise_weights(HostWeights& weights, uint64_t seed, double init_std);

}  // namespace zo2
