// A family of models: its table of parameters and its program. One file per family (opt.cpp) implements both; adding
// a family touches that file and the list in family.cpp.
#pragma once

#include <functional>

#include "model/config.h"
#include "program/builder.h"
#include "program/parameters.h"

namespace zo2 {

// Parameters and weights in program order, with stable ids. Throws UsageError for an unknown family.
ParameterTable parameters_of(const ModelConfig& config);

// Bytes that the attention of a device needs beside its output, for one call over [batch, seq, num_heads, head_dim].
using AttentionWorkspace = std::function<int64_t(const ModelConfig& config, const PassShape& shape)>;

// FlashAttention on CUDA: the log-sum-exp [batch, heads, seq] in float32 and two words of random state, each rounded
// to 512 bytes as LibTorch's caching allocator does.
int64_t cuda_attention_workspace(const ModelConfig& config, const PassShape& shape);

// One pass over the model. `table` must be parameters_of(config) and outlive the call only. Throws UsageError when
// the sequence is longer than the positions.
Program emit_program(const ModelConfig& config, const ParameterTable& table, const PassShape& shape,
                     const AttentionWorkspace& workspace = cuda_attention_workspace);

namespace opt {
ParameterTable parameters(const ModelConfig& config);
void emit(const ModelConfig& config, const ParameterTable& table, ProgramBuilder& builder, int64_t attention_workspace);
}  // namespace opt

}  // namespace zo2
