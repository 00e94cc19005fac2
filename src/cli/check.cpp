// zo2 check: whether the records of a folder hold what was promised: equality and expectations.
#include "experiment/check.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/commands.h"
#include "experiment/report.h"

namespace zo2 {
namespace {

struct CheckArguments {
  std::string dir;
  bool strict = false;
  bool all = false;
  bool json = false;
};

// The first three, and how many more.
std::string few(const std::vector<std::string>& names) {
  const size_t shown = std::min<size_t>(names.size(), 3);
  const std::string text =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + static_cast<int64_t>(shown), ", "));
  return names.size() == shown ? text : fmt::format("{} and {} more", text, names.size() - shown);
}

int check(const CheckArguments& arguments) {
  const Report report = build_report(arguments.dir, {}, arguments.all);
  const VerdictCounts counts = count_verdicts(report.equality, report.expectations);
  const std::vector<std::string> failed = failed_cells(report);
  // Not run or not to its end, which is no failure: a part of a sweep may be checked.
  const auto is_pending = [](const auto& verdict) { return verdict.verdict == Verdict::missing && verdict.pending; };
  const auto pending = static_cast<int>(std::ranges::count_if(report.equality, is_pending) +
                                        std::ranges::count_if(report.expectations, is_pending));
  const bool broken = counts.of(Verdict::fail) > 0 || counts.of(Verdict::missing) > pending || !failed.empty();
  const std::vector<std::string> interrupted = interrupted_cells(report);
  const bool gaps =
      pending > 0 || !interrupted.empty() || counts.of(Verdict::not_comparable) > 0 || !report.not_run.empty();
  const bool holds = !broken && !(arguments.strict && gaps);
  if (arguments.json) {
    Json json = verdicts_json(report);
    json["schema"] = 1;
    json["name"] = report.name;
    json["holds"] = holds;
    fmt::print("{}\n", json.dump(2));
  } else {
    for (const Table& table : verdict_tables(report)) fmt::print("{}\n", render_text(table));
    std::string text;
    for (Verdict verdict : {Verdict::pass, Verdict::fail, Verdict::not_comparable, Verdict::missing}) {
      if (verdict != Verdict::pass) text += ", ";
      text += fmt::format("{} {}", counts.of(verdict), verdict_name(verdict));
    }
    if (!failed.empty()) text += fmt::format("; every repeat failed of {}", few(failed));
    if (!interrupted.empty()) text += fmt::format("; not finished: {}", few(interrupted));
    if (!report.not_run.empty()) text += fmt::format("; no record yet of {}", few(report.not_run));
    fmt::print("{}: {}: {}\n", report.name, text,
               !holds ? "does not hold"
               : gaps ? "holds, with gaps that --strict refuses"
                      : "holds");
  }
  return holds ? 0 : 1;
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<CheckArguments>();
  CLI::App* command = app.add_subcommand("check", "Judge a folder's records: expectations, and equality to the bit");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` wrote")->required();
  command->add_flag("--strict", arguments->strict,
                    "what is NOT-COMPARABLE or was not run to its end does not hold either");
  command->add_flag("--all", arguments->all, "also records of cells that the last run did not have");
  command->add_flag("--json", arguments->json, "print JSON");
  command->footer(
      "The last line says whether it holds. It does not when a verdict is FAIL, when it is MISSING though the cell "
      "ran\n"
      "to an end, or when every repeat of a cell failed. Where a run has not the memory there is no equality to judge\n"
      "and no failure, but an expectation of it is not met.\n"
      "Exit code: 0 it holds, 1 it does not, 2 the folder holds no records.");
  command->callback([arguments, &exit_code] { exit_code = check(*arguments); });
}

}  // namespace zo2
