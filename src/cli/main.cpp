// The command line: one subcommand per file, errors to standard error with exit code 2.
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "base/error.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  // Before the first call of CUDA, for this process and its children. Devices in NVML's order, so that both mean the
  // same one; kernels loaded when they are used, since each takes device memory.
  ::setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", /*overwrite=*/0);
  ::setenv("CUDA_MODULE_LOADING", "LAZY", /*overwrite=*/0);
  spdlog::set_default_logger(spdlog::stderr_color_mt("zo2"));
  spdlog::set_pattern("%^%l%$: %v");
  CLI::App app{
      "ZO2: fine-tune all parameters of a language model with zeroth-order optimisation, the weights in host memory"};
  app.require_subcommand(1);
  int exit_code = 0;
  for (auto* add : {zo2::add_cell,   zo2::add_check,  zo2::add_compare,        zo2::add_doctor,    zo2::add_estimate,
                    zo2::add_eval,   zo2::add_export, zo2::add_export_records, zo2::add_generate,  zo2::add_import,
                    zo2::add_pack,   zo2::add_plan,   zo2::add_profile,        zo2::add_reference, zo2::add_replay,
                    zo2::add_report, zo2::add_run,    zo2::add_score,          zo2::add_show,      zo2::add_slurm,
                    zo2::add_status, zo2::add_trace,  zo2::add_train}) {
    add(app, exit_code);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
    return 2;
  }
  return exit_code;
}
