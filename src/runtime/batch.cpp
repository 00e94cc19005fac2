#include "base/error.h"
#include "runtime/executor.h"

namespace zo2 {

void check_batch(const Batch& batch, int64_t vocab_size, int64_t max_positions) {
  const int64_t tokens = batch.batch * batch.seq;
  ZO2_CHECK(tokens > 0, UsageError, "the batch is empty");
  ZO2_CHECK(batch.seq <= max_positions, UsageError, "a sequence of {} tokens is longer than the model's {} positions",
            batch.seq, max_positions);
  ZO2_CHECK(static_cast<int64_t>(batch.tokens.size()) == tokens, UsageError, "{} tokens are not a batch of {} x {}",
            batch.tokens.size(), batch.batch, batch.seq);
  ZO2_CHECK(!batch.rows.empty(), UsageError, "all labels of the batch are ignored: there is nothing to predict");
  ZO2_CHECK(batch.rows.size() == batch.targets.size() && static_cast<int64_t>(batch.rows.size()) <= tokens, UsageError,
            "{} labelled rows but {} targets", batch.rows.size(), batch.targets.size());
  for (int32_t id : batch.tokens) {
    ZO2_CHECK(id >= 0 && id < vocab_size, UsageError, "token id {} is outside the vocabulary of {}", id, vocab_size);
  }
  for (int32_t id : batch.targets) {
    ZO2_CHECK(id >= 0 && id < vocab_size, UsageError, "label {} is outside the vocabulary of {}", id, vocab_size);
  }
  for (int32_t row : batch.rows) {
    ZO2_CHECK(row >= 0 && row < tokens, UsageError, "labelled row {} is outside the batch of {} tokens", row, tokens);
  }
}

void check_batch(const Batch& batch, const Program& program) {
  check_batch(batch, program.vocab_size, program.max_positions);
  ZO2_CHECK(batch.batch <= program.shape.batch && batch.seq <= program.shape.seq, UsageError,
            "a batch of {} x {} tokens does not fit the planned {} x {}", batch.batch, batch.seq, program.shape.batch,
            program.shape.seq);
}

}  // namespace zo2
