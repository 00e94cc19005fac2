// Small training runs for tests: a tiny OPT with random weights on random tokens.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "optimizer/train_job.h"
#include "store/load_weights.h"
#include "support.h"

namespace zo2::testing {

inline ModelConfig tiny_model(bool tied = true) {
  ModelConfig config;
  config.name = "tiny";
  config.family = "opt";
  config.vocab_size = 160;
  config.hidden_size = 32;
  config.num_layers = 2;
  config.num_heads = 2;
  config.ffn_dim = 128;
  config.max_positions = 24;
  config.word_embed_proj_dim = 32;
  config.tie_embeddings = tied;
  return config;
}

// Where training tests run: $ZO2_TEST_DEVICE, the CPU without it.
inline Device test_device() {
  const char* name = std::getenv("ZO2_TEST_DEVICE");
  return parse_device(name != nullptr ? name : "cpu");
}

// A job of `steps` steps whose learning rate moves the weights visibly.
inline TrainJob tiny_job(const ModelConfig& config, DType dtype, int64_t steps) {
  TrainJob job;
  job.config = config;
  job.device = test_device();
  job.fill = [](HostWeights& weights) { initialise_weights(weights, 7, 0.1); };
  job.plan.dtype = dtype;
  job.plan.graphs = true;
  job.executor.weight_decay = 0.1;
  job.executor.threads = 1;
  job.trainer.steps = steps;
  job.trainer.learning_rate = {1e-3, false, steps};
  job.data = random_tokens(config.vocab_size, 2, 12, 3);
  return job;
}

// The arena that holds so many quarters of the tiles.
inline int64_t budget_with_resident(const TrainJob& job, int quarters) {
  PlanSettings settings = job.plan;
  settings.batch = job.data->batch_size();
  settings.seq = job.data->longest();
  settings.evaluation = false;
  const auto workspace = measured_attention(job.device, settings.dtype, job.executor.threads);
  const Plan smallest = make_plan(job.config, settings, workspace);
  settings.budget.bytes = ArenaBudget::kAll;
  const Plan all = make_plan(job.config, settings, workspace);
  return smallest.layout.arena_bytes + all.layout.resident_bytes * quarters / 4;
}

// What a run left: losses and gradients of every step, and the hash of the final w_t.
struct Trace {
  std::vector<LogEntry> entries;
  std::vector<double> evaluations;
  TrainReport report;
};

inline Trace run(TrainJob job) {
  Trace trace;
  TrainObserver observer;
  observer.on_step = [&](const StepResult& result) {
    trace.entries.insert(trace.entries.end(), result.entries.begin(), result.entries.end());
  };
  observer.on_evaluation = [&](int64_t, const Evaluation& found) { trace.evaluations.push_back(found.loss); };
  trace.report = run_train_job(job, observer);
  return trace;
}

// Equal to the bit, on the conditions under which equality means something: gradients finite and not zero in nine
// steps of ten, and weights that moved.
inline void expect_equal(const Trace& a, const Trace& b) {
  ASSERT_EQ(a.entries.size(), b.entries.size());
  size_t live = 0;
  for (size_t i = 0; i < a.entries.size(); ++i) {
    ASSERT_EQ(a.entries[i].loss_plus, b.entries[i].loss_plus) << "entry " << i;
    ASSERT_EQ(a.entries[i].loss_minus, b.entries[i].loss_minus) << "entry " << i;
    ASSERT_EQ(a.entries[i].projected_gradient, b.entries[i].projected_gradient) << "entry " << i;
    live += a.entries[i].projected_gradient != 0 && a.entries[i].flags == 0;
  }
  ASSERT_GE(10 * live, 9 * a.entries.size());
  ASSERT_EQ(a.report.final_weights, b.report.final_weights);
  ASSERT_NE(a.report.final_weights, a.report.initial_weights);
}

}  // namespace zo2::testing
