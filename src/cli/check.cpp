// zo2 check: whether the records of a folder hold what was promised: equality and expectations.
#include "experiment/check.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
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

int check(const CheckArguments& arguments) {
  const Report report = build_report(arguments.dir, {}, arguments.all);
  const VerdictCounts counts = count_verdicts(report.equality, report.expectations);
  const int not_proven =
      counts.of(Verdict::missing) + counts.of(Verdict::not_comparable) + static_cast<int>(report.not_run.size());
  const bool holds = counts.of(Verdict::fail) == 0 && !(arguments.strict && not_proven > 0);
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
    if (!report.not_run.empty()) text += fmt::format("; no record yet of {}", fmt::join(report.not_run, ", "));
    fmt::print("{}: {}\n", report.name, text);
  }
  return holds ? 0 : 1;
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<CheckArguments>();
  CLI::App* command = app.add_subcommand("check", "Judge a folder's records: expectations, and equality to the bit");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` wrote")->required();
  command->add_flag("--strict", arguments->strict, "MISSING, NOT-COMPARABLE and cells without a record fail too");
  command->add_flag("--all", arguments->all, "also records of cells that the last run did not have");
  command->add_flag("--json", arguments->json, "print JSON");
  command->footer("Exit code: 0 all hold, 1 a verdict is FAIL, 2 the folder holds no records.");
  command->callback([arguments, &exit_code] { exit_code = check(*arguments); });
}

}  // namespace zo2
