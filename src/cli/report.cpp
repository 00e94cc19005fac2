// zo2 report: what the records of a folder say.
#include "experiment/report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "experiment/environment.h"
#include "experiment/report_html.h"

namespace zo2 {
namespace {

struct ReportArguments {
  std::string dir;
  std::string reference;
  bool all = false;
  std::string format = "text";
  std::string table;
  bool json = false;
  bool html = false;
};

// Letters of either case are the same.
bool begins_with(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && std::ranges::equal(text.substr(0, start.size()), start, [](char a, char b) {
           return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
         });
}

std::vector<ReferenceFigure> figures_for(const ReportArguments& arguments) {
  if (!arguments.reference.empty()) return read_references(arguments.reference);
  try {
    return read_references(experiments_folder() / "reference");
  } catch (const IoError& error) {
    fmt::print(stderr, "no published figures beside ours: {}\n", error.what());
    return {};
  }
}

void print_csv(const std::vector<Table>& tables) {
  for (const Table& table : tables) {
    // Several tables are blocks, each under its title; one is plain CSV.
    if (tables.size() > 1) fmt::print("{}# {}\n", &table == tables.data() ? "" : "\n", table.title);
    fmt::print("{}", render_csv(table));
  }
}

void report(const ReportArguments& arguments) {
  const Report report = build_report(arguments.dir, figures_for(arguments), arguments.all);
  if (arguments.format == "json" || arguments.json) {
    fmt::print("{}\n", to_json(report).dump(2));
    return;
  }
  if (arguments.format == "html" || arguments.html) {
    const std::vector<std::filesystem::path> figures = figures_in(std::filesystem::path(arguments.dir) / "plots");
    if (figures.empty()) {
      fmt::print(stderr, "the page has no figures: `python -m plots {}` makes them\n", arguments.dir);
    }
    fmt::print("{}", render_html(report, figures));
    return;
  }
  std::vector<Table> tables = to_tables(report);
  if (!arguments.table.empty()) {
    std::vector<std::string> titles;
    for (const Table& table : tables) titles.push_back(table.title);
    std::erase_if(tables, [&](const Table& table) { return !begins_with(table.title, arguments.table); });
    ZO2_CHECK(!tables.empty(), UsageError, "no table '{}' here; there are: {}", arguments.table,
              fmt::join(titles, " | "));
  }
  if (arguments.format == "csv") return print_csv(tables);
  const bool markdown = arguments.format == "markdown";
  fmt::print("{}{}\n", markdown ? "# " : "", report.name);
  for (const Table& table : tables) fmt::print("\n{}", markdown ? render_markdown(table) : render_text(table));
}

}  // namespace

void add_report(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command =
      app.add_subcommand("report", "Show the records of a folder: measured, equal, projected, beside others, expected");
  command->add_option("dir", arguments->dir, "the folder that `zo2 run --out` wrote")->required();
  command->add_option("--reference", arguments->reference,
                      "folder of published figures; default experiments/reference");
  command->add_flag("--all", arguments->all, "also records of cells that the last run did not have");
  command->add_option("--format", arguments->format, "text, markdown, csv, json or html")
      ->check(CLI::IsMember({"text", "markdown", "csv", "json", "html"}));
  command->add_option("--table", arguments->table, "only tables whose title begins so, e.g. measured or expectations");
  command->add_flag("--json", arguments->json, "the same as --format json");
  command->add_flag(
      "--html", arguments->html,
      "the same as --format html: one page with tables, the figures in DIR/plots, environment and records");
  command->callback([arguments, &exit_code] {
    report(*arguments);
    exit_code = 0;
  });
}

}  // namespace zo2
