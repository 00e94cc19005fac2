// zo2 compare: what became better or worse from one set of records to another.
#include "experiment/compare.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "experiment/cell_name.h"

namespace zo2 {
namespace {

struct CompareArguments {
  std::string left;
  std::string right;
  std::string threshold = "2%";
  CompareOptions options;
  std::vector<std::string> ignore;
  bool json = false;
};

// "2%" or "0.02".
double parse_threshold(std::string_view text) {
  const bool percent = text.ends_with('%');
  const std::string_view digits = percent ? text.substr(0, text.size() - 1) : text;
  double value = -1;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (percent) value /= 100;
  ZO2_CHECK(code == std::errc() && end == digits.data() + digits.size() && value >= 0 && value < 1, UsageError,
            "--threshold: expected a share such as 2% or 0.02, from 0 to less than 1, found '{}'", text);
  return value;
}

void print_text(const Comparison& comparison) {
  fmt::print("A: {}\nB: {}\n", comparison.left, comparison.right);
  for (const Table& table : to_tables(comparison)) fmt::print("\n{}", render_text(table));
  fmt::print("\nThreshold {:g}%. Interval: bootstrap of the ratio of means over repeats, {} resamples, seed {}.\n",
             100 * comparison.threshold, kResamples, kBootstrapSeed);
  if (!comparison.only_left.empty()) fmt::print("only in A: {}\n", fmt::join(comparison.only_left, ", "));
  if (!comparison.only_right.empty()) fmt::print("only in B: {}\n", fmt::join(comparison.only_right, ", "));
}

int run_compare(const CompareArguments& arguments) {
  CompareOptions options = arguments.options;
  options.threshold = parse_threshold(arguments.threshold);
  options.ignore = {arguments.ignore.begin(), arguments.ignore.end()};
  const Comparison comparison = compare(read_side(arguments.left), read_side(arguments.right), options);
  if (arguments.json) {
    fmt::print("{}\n", to_json(comparison).dump(2));
  } else {
    print_text(comparison);
  }
  return comparison.any_worse() || comparison.any_failed() ? 1 : 0;
}

}  // namespace

void add_compare(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<CompareArguments>();
  CLI::App* command = app.add_subcommand("compare", "Compare two folders of records, or two cells, metric by metric");
  command
      ->add_option("A", arguments->left,
                   fmt::format("a folder that `zo2 run --out` wrote, or one of its cells as DIR:CELL; CELL is {}",
                               kCellNameHelp))
      ->required();
  command->add_option("B", arguments->right, "the other one")->required();
  command->add_option("--threshold", arguments->threshold, "the change that counts; default 2%");
  command->add_option("--metric", arguments->options.metrics, "a metric; may be given often; default: the main ones")
      ->allow_extra_args(false);
  command
      ->add_option("--ignore", arguments->ignore,
                   "a configuration key or section in which matching cells may differ; may be given often")
      ->allow_extra_args(false);
  command->add_flag("--json", arguments->json, "print JSON");
  command->footer(
      "A verdict needs five repeats a side: worse or better when the whole 95% interval is beyond the threshold.\n"
      "Exit code: 0 fine, 1 a metric is worse, or every repeat of a cell failed on one side and not on the other, 2 "
      "bad\n"
      "usage or nothing to compare.");
  command->callback([arguments, &exit_code] { exit_code = run_compare(*arguments); });
}

}  // namespace zo2
