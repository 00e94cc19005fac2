// A model ready to be evaluated and to generate: what `zo2 score`, `zo2 eval` and `zo2 generate` share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "cli/model_source.h"
#include "model/plan.h"
#include "runtime/device.h"

namespace zo2 {

struct EvaluatorOptions {
  std::string model;
  std::string dtype = "fp32";
  std::string device = "auto";
  bool offload = false;
  int threads = 0;
  uint64_t seed = 42;

  void add_to(CLI::App& command);  // `options` must outlive the command
};

class Evaluator {
 public:
  // What will be asked of the model.
  struct Shape {
    int64_t batch = 0;  // of evaluations, batch x seq at most; 0: none
    int64_t seq = 0;
    int64_t labels = 0;  // of a batch, at most; 0: all tokens may have one
    GenerationShape generation{};
  };

  // Plans for the shape and loads the weights. Throws UsageError, IoError, DeviceError or OutOfMemoryError.
  Evaluator(const EvaluatorOptions& options, const ModelSource& source, const Shape& shape);

  Executor& executor() { return *executor_; }
  Device device() const { return device_; }
  int64_t arena_bytes() const { return executor_->memory().planned_bytes; }

 private:
  Device device_;
  Plan plan_;
  HostWeights weights_;
  std::unique_ptr<Executor> executor_;  // refers to the two above
};

}  // namespace zo2
