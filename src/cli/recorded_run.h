// A run of `zo2 train --out`, or the record of a cell, read back: its weights at any step, made again from the base and
// the step log (of a record: its samples) without data. What `zo2 replay` and `zo2 export` share. Reads only, so a run
// that is going on may be read too.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "cli/model_source.h"
#include "model/plan.h"
#include "runtime/device.h"
#include "store/step_log.h"

namespace zo2 {

struct RecordedRunOptions {
  std::string run;
  std::string model;  // empty: as the run's config.json says
  std::string device = "auto";
  std::optional<int64_t> step;
  bool best = false;

  void add_to(CLI::App& command);  // `options` must outlive the command
};

class RecordedRun {
 public:
  // Reads the log and finds the model and the step. Throws UsageError when the folder holds no run, when the log is of
  // another model or noise, and when it has no such step; IoError when something cannot be read.
  explicit RecordedRun(const RecordedRunOptions& options);

  const std::string& folder() const { return folder_; }
  const StepLogHeader& header() const { return log_.header; }
  const ModelSource& source() const { return source_; }
  int64_t step() const { return step_; }  // steps that the weights have seen
  int64_t logged_steps() const { return log_.next_step(); }

  // w_t of step(). From the base, whose hash must be the header's (UsageError, saying both); or, with `shortcut`, from
  // the newest snapshot that is not later, where there is one.
  HostWeights weights(bool shortcut) const;

  // The weights before the first step. Their hash must be the header's (UsageError, saying both).
  HostWeights base() const;
  // base() in float32, with everything that the log asks for up to step(), rounded to float32 only.
  HostWeights unrounded(const HostWeights& base) const;

  // The hash that the run itself found of its weights at step(): RUN/result.json. nullopt when it says none.
  std::optional<std::string> recorded_hash() const;

 private:
  int64_t chosen_step(const RecordedRunOptions& options) const;
  void replay(HostWeights& weights, const ExecutorSettings& settings, int64_t from) const;

  std::string folder_;
  StepLog log_;
  Json config_;
  Device device_;
  ModelSource source_;
  Plan plan_;
  ExecutorSettings settings_;
  int64_t step_ = 0;
};

}  // namespace zo2
