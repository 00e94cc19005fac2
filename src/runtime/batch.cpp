#include "base/error.h"
#include "runtime/executor.h"

namespace zo2 {

namespace {

// What holds for every batch: tokens, and rows among them.
void check_tokens(const Batch& batch, int64_t vocab_size, int64_t max_positions) {
  const int64_t tokens = batch.batch * batch.seq;
  ZO2_CHECK(tokens > 0, UsageError, "the batch is empty");
  ZO2_CHECK(batch.seq <= max_positions, UsageError, "a sequence of {} tokens is longer than the model's {} positions",
            batch.seq, max_positions);
  ZO2_CHECK(static_cast<int64_t>(batch.tokens.size()) == tokens, UsageError, "{} tokens are not a batch of {} x {}",
            batch.tokens.size(), batch.batch, batch.seq);
  for (int32_t id : batch.tokens) {
    ZO2_CHECK(id >= 0 && id < vocab_size, UsageError, "token id {} is outside the vocabulary of {}", id, vocab_size);
  }
  for (int32_t row : batch.rows) {
    ZO2_CHECK(row >= 0 && row < tokens, UsageError, "labelled row {} is outside the batch of {} tokens", row, tokens);
  }
}

}  // namespace

void check_batch(const Batch& batch, int64_t vocab_size, int64_t max_positions) {
  check_tokens(batch, vocab_size, max_positions);
  ZO2_CHECK(!batch.rows.empty(), UsageError, "all labels of the batch are ignored: there is nothing to predict");
  ZO2_CHECK(
      batch.rows.size() == batch.targets.size() && static_cast<int64_t>(batch.rows.size()) <= batch.batch * batch.seq,
      UsageError, "{} labelled rows but {} targets", batch.rows.size(), batch.targets.size());
  for (int32_t id : batch.targets) {
    ZO2_CHECK(id >= 0 && id < vocab_size, UsageError, "label {} is outside the vocabulary of {}", id, vocab_size);
  }
  if (batch.answers.empty()) return;
  const auto ascend_to = [](const std::vector<int32_t>& ends, size_t last) {
    int32_t before = 0;
    for (int32_t end : ends) {
      if (end <= before) return false;
      before = end;
    }
    return static_cast<size_t>(before) == last;
  };
  ZO2_CHECK(static_cast<int64_t>(batch.sequence_ends.size()) == batch.batch &&
                ascend_to(batch.sequence_ends, batch.rows.size()),
            UsageError, "the labelled rows are not divided among the {} sequences, at least one each", batch.batch);
  ZO2_CHECK(
      batch.example_ends.size() == batch.answers.size() && ascend_to(batch.example_ends, batch.sequence_ends.size()),
      UsageError, "the {} sequences are not divided among the {} examples, at least one each", batch.batch,
      batch.answers.size());
  for (size_t example = 0; example < batch.answers.size(); ++example) {
    const int32_t candidates = batch.example_ends[example] - (example == 0 ? 0 : batch.example_ends[example - 1]);
    ZO2_CHECK(batch.answers[example] >= 0 && batch.answers[example] < candidates, UsageError,
              "example {}: answer {} is outside its {} candidates", example, batch.answers[example], candidates);
  }
}

void check_batch(const Batch& batch, const Program& program) {
  check_batch(batch, program.vocab_size, program.max_positions);
  ZO2_CHECK(batch.batch <= program.shape.batch && batch.seq <= program.shape.seq, UsageError,
            "a batch of {} x {} tokens does not fit the planned {} x {}", batch.batch, batch.seq, program.shape.batch,
            program.shape.seq);
  ZO2_CHECK(static_cast<int64_t>(batch.rows.size()) <= program.shape.labelled(), UsageError,
            "{} labelled tokens do not fit the planned {}", batch.rows.size(), program.shape.labelled());
  if (program.shape.training()) check_objective(batch, program.shape.objective);
}

void check_continued(const Batch& batch, int64_t vocab_size, int64_t max_positions) {
  check_tokens(batch, vocab_size, max_positions);
  ZO2_CHECK(static_cast<int64_t>(batch.rows.size()) == batch.batch && batch.targets.empty(), UsageError,
            "{} rows and {} targets: each of {} sequences is continued after one row", batch.rows.size(),
            batch.targets.size(), batch.batch);
  if (batch.positions.empty()) return;
  ZO2_CHECK(batch.seq == 1 && static_cast<int64_t>(batch.positions.size()) == batch.batch, UsageError,
            "{} positions for {} x {} tokens: one each", batch.positions.size(), batch.batch, batch.seq);
  for (int32_t position : batch.positions) {
    ZO2_CHECK(position >= 0 && position < max_positions, UsageError, "position {} is not one of {}", position,
              max_positions);
  }
}

void check_continued(const Batch& batch, const Plan& plan) {
  const GenerationShape& planned = plan.settings.generation;
  const bool cached = !batch.positions.empty();
  check_continued(batch, plan.config.vocab_size, cached ? planned.cache_tokens() : plan.config.max_positions);
  ZO2_CHECK(batch.batch <= planned.batch && batch.seq <= planned.prompt, UsageError,
            "prompts of {} x {} tokens do not fit the planned {} x {}", batch.batch, batch.seq, planned.batch,
            planned.prompt);
}

void check_objective(const Batch& batch, Objective objective) {
  ZO2_CHECK(objective == Objective::lm || !batch.answers.empty(), UsageError,
            "the objective is over candidates, but the batch's sequences are no candidates of examples");
  ZO2_CHECK(objective != Objective::lm || batch.answers.empty(), UsageError,
            "the objective is language modelling, but the batch's sequences are candidates, wrong ones among them");
}

}  // namespace zo2
