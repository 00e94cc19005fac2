#include "model/family.h"

#include "base/bytes.h"
#include "base/error.h"

namespace zo2 {

ParameterTable parameters_of(const ModelConfig& config) {
  ZO2_CHECK(config.family == "opt", UsageError, "unknown model family '{}'", config.family);
  return opt::parameters(config);
}

int64_t cuda_attention_workspace(const ModelConfig& config, const PassShape& shape) {
  return align_up(shape.tokens() * config.num_heads * 4, 512) + 2 * 512;
}

Program emit_program(const ModelConfig& config, const ParameterTable& table, const PassShape& shape,
                     const AttentionWorkspace& workspace) {
  ZO2_CHECK(shape.batch > 0 && shape.seq > 0, UsageError, "a batch of {} x {} tokens is empty", shape.batch, shape.seq);
  ZO2_CHECK(shape.seq <= config.max_positions, UsageError,
            "a sequence of {} tokens is longer than the {} positions of {}", shape.seq, config.max_positions,
            config.name);
  // Token positions are int32.
  ZO2_CHECK(shape.batch < (int64_t{1} << 31) / shape.seq, UsageError, "a batch of {} x {} tokens is too large",
            shape.batch, shape.seq);
  ZO2_CHECK(shape.cache_tokens <= config.max_positions, UsageError,
            "a prompt and what is generated after it take {} positions, {} has {}", shape.cache_tokens, config.name,
            config.max_positions);
  ProgramBuilder builder(table, shape, config.hidden_size, config.num_heads);
  opt::emit(config, table, builder, shape.generation == Generation::decode ? 0 : workspace(config, shape));
  Program program = builder.take();
  program.max_positions = config.max_positions;
  return program;
}

}  // namespace zo2
