#include "cli/evaluator.h"

namespace zo2 {
namespace {

Plan evaluation_plan(const EvaluatorOptions& options, const ModelSource& source, Device device,
                     const Evaluator::Shape& shape) {
  PlanSettings settings;
  settings.dtype = parse_dtype(options.dtype);
  settings.pairs = 0;
  settings.evaluation = shape.batch > 0;
  settings.batch = shape.batch;
  settings.seq = shape.seq;
  settings.labels = shape.labels;
  settings.generation = shape.generation;
  settings.graphs = device == Device::cuda;
  settings.budget.bytes = options.offload ? ArenaBudget::kSmallest : ArenaBudget::kAll;
  return make_plan(source.config, settings, measured_attention(device, settings.dtype, options.threads));
}

}  // namespace

void EvaluatorOptions::add_to(CLI::App& command) {
  command.add_option("--model", model, "A Hugging Face folder, or a name such as opt-125m (random weights)")
      ->required();
  command.add_option("--dtype", dtype, "fp32, fp16 or bf16")->capture_default_str();
  command.add_option("--device", device, "auto, cpu or cuda")->capture_default_str();
  command.add_flag("--offload", offload, "Stream the weights through the smallest arena");
  command.add_option("--threads", threads, "Compute threads; 0: one per core")->capture_default_str();
  command.add_option("--seed", seed, "Seed of random weights")->capture_default_str();
}

Evaluator::Evaluator(const EvaluatorOptions& options, const ModelSource& source, const Shape& shape)
    : device_(parse_device(options.device)),
      plan_(evaluation_plan(options, source, device_, shape)),
      weights_(plan_.table, plan_.settings.dtype) {
  source.fill(weights_, options.seed);
  ExecutorSettings settings;
  settings.threads = options.threads;
  executor_ = make_executor(device_, plan_, weights_, settings);
  executor_->start(0, {});
}

}  // namespace zo2
