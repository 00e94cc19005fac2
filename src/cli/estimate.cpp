// zo2 estimate: memory and speed for any size on any machine, projected.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "base/bytes.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/model_source.h"
#include "cli/projection.h"

namespace zo2 {
namespace {

struct EstimateOptions {
  std::vector<std::string> models;
  PlanSettings settings;
  int64_t new_tokens = 0;
  std::string dtype = "fp16";
  std::string gpu_memory = "smallest";
  std::string tile = "auto";
  std::string hardware = "h100-pcie5";
  bool untied = false;
  bool json = false;
};

void estimate(EstimateOptions options) {
  const Hardware hardware = hardware_by_name(options.hardware);
  options.settings.dtype = parse_dtype(options.dtype);
  options.settings.evaluation = false;
  if (options.new_tokens > 0) {
    options.settings.generation = {options.settings.batch, options.settings.seq, options.new_tokens};
  }
  if (options.tile != "auto") options.settings.tile_bytes = parse_bytes(options.tile);
  int64_t gpu_memory = 0;
  if (options.gpu_memory == "all") {
    options.settings.budget.bytes = ArenaBudget::kAll;
  } else if (options.gpu_memory != "smallest") {
    gpu_memory = parse_bytes(options.gpu_memory);
  }
  Json rows = Json::array();
  for (const std::string& model : options.models) {
    ModelConfig config = std::filesystem::is_directory(model) ? model_from_folder(model) : model_by_name(model);
    if (options.untied) config.tie_embeddings = false;
    rows.push_back(project(plan_for_device(config, options.settings, gpu_memory, hardware), hardware));
  }
  if (options.json) {
    fmt::print("{}\n", (rows.size() == 1 ? rows[0] : rows).dump(2));
    return;
  }
  fmt::print("batch {}, sequence {}, {}; projected for {}\n", options.settings.batch, options.settings.seq,
             options.dtype, hardware.name);
  fmt::print("{:<12} {:>16} {:>12} {:>12} {:>12} {:>12} {:>12} {:>10}\n", "model", "parameters", "arena", "tile",
             "resident", "host", "NVML", "tok/s");
  for (const Json& row : rows) {
    const auto bytes = [&](const char* key) { return format_bytes(row.at(key).get<int64_t>()); };
    fmt::print("{:<12} {:>16} {:>12} {:>12} {:>12} {:>12} {:>12} {:>10.0f}\n", row.at("model").get<std::string>(),
               row.at("parameters").get<int64_t>(), bytes("arena_bytes"), bytes("tile_bytes"), bytes("resident_bytes"),
               bytes("host_bytes"), bytes("nvml_projected_bytes"), row.at("tokens_per_s").get<double>());
  }
}

}  // namespace

void add_estimate(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<EstimateOptions>();
  CLI::App* command = app.add_subcommand("estimate", "Memory and speed for any size on any machine, projected");
  command->add_option("models", options->models, "Names such as opt-175b, or folders with a config.json")->required();
  command->add_option("--batch", options->settings.batch, "Sequences a step")->capture_default_str();
  command->add_option("--seq", options->settings.seq, "Tokens a sequence")->capture_default_str();
  command
      ->add_option("--new-tokens", options->new_tokens,
                   "Plan for generating so many tokens after prompts of that batch and sequence too")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--dtype", options->dtype, "fp32, fp16 or bf16")->capture_default_str();
  command->add_option("--gpu-memory", options->gpu_memory, "smallest, all, or a bound such as 18.04 GB")
      ->capture_default_str();
  command->add_option("--tile", options->tile, "auto, or the most bytes of a tile")->capture_default_str();
  command->add_option("--slots", options->settings.slots, "Pieces of the upload ring")->capture_default_str();
  command->add_option("--perturbations", options->settings.pairs, "Direction pairs a step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--writeback-every", options->settings.writeback_every, "K")->capture_default_str();
  command->add_option("--hardware", options->hardware, "experiments/hardware/NAME.yaml")->capture_default_str();
  command->add_flag("--untied", options->untied, "A head of its own, as in ZO2's table");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] { estimate(*options); });
}

}  // namespace zo2
