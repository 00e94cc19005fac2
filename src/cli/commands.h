// The subcommands of zo2: each adds itself to the command line and sets the exit code when it runs. One file each.
// Exit codes: 0 fine, 1 a check failed, 2 bad usage or input, 3 some cells failed, 130 interrupted.
#pragma once

#include <CLI/CLI.hpp>

namespace zo2 {

void add_cell(CLI::App& app, int& exit_code);  // one repeat of an experiment; started by `run`
void add_check(CLI::App& app, int& exit_code);
void add_compare(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);
void add_estimate(CLI::App& app, int& exit_code);
void add_eval(CLI::App& app, int& exit_code);
void add_export(CLI::App& app, int& exit_code);
void add_export_records(CLI::App& app, int& exit_code);
void add_generate(CLI::App& app, int& exit_code);
void add_import(CLI::App& app, int& exit_code);
void add_pack(CLI::App& app, int& exit_code);
void add_plan(CLI::App& app, int& exit_code);
void add_profile(CLI::App& app, int& exit_code);
void add_reference(CLI::App& app, int& exit_code);  // for who changes a table
void add_replay(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_run(CLI::App& app, int& exit_code);
void add_score(CLI::App& app, int& exit_code);
void add_show(CLI::App& app, int& exit_code);
void add_slurm(CLI::App& app, int& exit_code);
void add_status(CLI::App& app, int& exit_code);
void add_trace(CLI::App& app, int& exit_code);
void add_train(CLI::App& app, int& exit_code);

}  // namespace zo2
