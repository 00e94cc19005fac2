// A finished step and an evaluation as a record has them.
#pragma once

#include "experiment/record.h"
#include "optimizer/train_job.h"

namespace zo2 {

inline StepSample to_sample(const StepResult& result) {
  StepSample sample;
  sample.step = result.entries.front().step;
  sample.seed = result.entries.front().seed;
  sample.step_ms = result.step_ms;
  for (const LogEntry& entry : result.entries) {
    sample.loss_plus.push_back(entry.loss_plus);
    sample.loss_minus.push_back(entry.loss_minus);
    sample.projected_gradient.push_back(entry.projected_gradient);
  }
  return sample;
}

inline Json to_sample(int64_t step, const Evaluation& evaluation) {
  Json line{{"kind", "eval"}, {"step", step}, {"loss", json_number(evaluation.loss)}};
  if (evaluation.accuracy) {
    line["accuracy"] = evaluation.accuracy->value();
    line["right"] = evaluation.accuracy->right;
    line["n"] = evaluation.accuracy->n;
  }
  return line;
}

// Of the weights that a run ended with.
inline void add_test_metrics(const TrainReport& report, Json& metrics) {
  if (!report.test) return;
  metrics["selected_step"] = report.selected_step;
  metrics["test_loss"] = json_number(report.test->loss);
  if (const auto& accuracy = report.test->accuracy) {
    metrics["test_accuracy"] = accuracy->value();
    metrics["test_accuracy_error"] = accuracy->standard_error();
    metrics["test_examples"] = accuracy->n;
  }
  if (const auto& answers = report.test->answers) {
    metrics["test_f1"] = answers->f1.value();
    metrics["test_f1_error"] = json_number(answers->f1.standard_error());
    metrics["test_exact_match"] = answers->exact.value();
    metrics["test_exact_match_error"] = answers->exact.standard_error();
    metrics["test_examples"] = answers->f1.n;
  }
}

}  // namespace zo2
