#include "experiment/report_html.h"

#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "experiment/comparable.h"
#include "experiment/record_text.h"
#include "experiment/shell_quote.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

// Colours of verdicts are told apart by lightness too, and never stand without their word.
constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --rule: #ccc; --faint: #f3f4f6; --quiet: #555;
        --good: #00633f; --bad: #a3200a; --doubt: #7a5000; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --rule: #444; --faint: #22252b; --quiet: #aaa;
          --good: #5fd0a5; --bad: #ff9a80; --doubt: #f0c060; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; color: var(--ink); background: var(--paper);
       font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; } h2 { margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--rule); }
nav a { margin-right: 1rem; } a { color: inherit; }
figure { margin: 1rem 0; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid var(--rule); white-space: nowrap;
         vertical-align: top; }
th { background: var(--faint); } .number { text-align: right; }
td { max-width: 34rem; white-space: normal; overflow-wrap: break-word; min-width: 3rem; }
ul { color: var(--quiet); padding-left: 1.2rem; }
.pass, .better { color: var(--good); font-weight: 600; }
.fail, .worse, .oom, .timeout, .crashed, .diverged { color: var(--bad); font-weight: 600; }
.missing, .not-comparable, .throttled, .interrupted { color: var(--doubt); font-weight: 600; }
pre { background: var(--faint); padding: .8rem; overflow-x: auto; }
details { margin: .3rem 0; } summary { cursor: pointer; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.figures figure { margin: 0; } .figures img { max-width: 100%; background: #fff; }
@media print { details { display: none; } body { max-width: none; } }
)";

std::string base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // OpenSSL ends it with a zero
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), data, static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

// The width in pixels of a PNG (its header's first field, big-endian), which is drawn for 300 dots an inch.
int png_width(const std::string& bytes) {
  int width = 0;
  for (size_t i = 16; i < std::min<size_t>(20, bytes.size()); ++i) {
    width = 256 * width + static_cast<unsigned char>(bytes[i]);
  }
  return width;
}

// Narrow figures before wide ones, so that they fill rows.
std::string figures_html(const std::vector<fs::path>& paths) {
  std::vector<std::pair<int, std::string>> figures;
  for (const fs::path& path : paths) {
    const std::string bytes = read_file(path);
    std::string name = path.stem().string();
    std::ranges::replace(name, '_', ' ');
    name = html_escaped(name);
    const int width = png_width(bytes) / 2;
    figures.emplace_back(width, fmt::format("<figure><img width=\"{}\" alt=\"{}: the figures are in the tables below\" "
                                            "src=\"data:image/png;base64,{}\">"
                                            "<figcaption>{}</figcaption></figure>\n",
                                            width, name, base64(bytes), name));
  }
  std::ranges::stable_sort(figures, {}, &std::pair<int, std::string>::first);
  std::string html;
  for (const auto& figure : figures) html += figure.second;
  return html;
}

// One value, or every value that the records have, each once.
std::string joined(const std::set<std::string>& values) { return fmt::format("{}", fmt::join(values, " | ")); }

// Every name of the environments with the values that it has; members of objects by dotted name.
std::map<std::string, std::set<std::string>> environment_values(const Report& report) {
  std::map<std::string, std::set<std::string>> values;
  for (const Record& record : report.records) {
    if (record.environment.empty()) continue;
    const Json flat = record.environment.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      std::string name = pointer.substr(1);
      std::ranges::replace(name, '/', '.');
      values[name].insert(json_text(value));
    }
  }
  return values;
}

Table environment_table(const Report& report) {
  Table table{.title = "Machine and program of the records", .columns = {"name", "value"}, .rows = {}, .notes = {}};
  for (const auto& [name, values] : environment_values(report)) table.rows.push_back({name, joined(values)});
  return table;
}

// "12 repeats ok, 1 oom"
std::string states_text(const Report& report) {
  std::map<std::string_view, int> counts;
  for (const Record& record : report.records) ++counts[state_name(record.state)];
  std::vector<std::string> parts;
  for (const auto& [name, count] : counts) parts.push_back(fmt::format("{} {}", count, name));
  return fmt::format("{} records: {}", report.records.size(), fmt::join(parts, ", "));
}

std::string verdicts_text(const Report& report) {
  const VerdictCounts counts = count_verdicts(report.equality, report.expectations);
  std::vector<std::string> parts;
  for (const Verdict verdict : {Verdict::pass, Verdict::fail, Verdict::not_comparable, Verdict::missing}) {
    if (counts.of(verdict) > 0) parts.push_back(fmt::format("{} {}", counts.of(verdict), verdict_name(verdict)));
  }
  return parts.empty() ? "" : fmt::format("Equality and expectations: {}", fmt::join(parts, ", "));
}

std::string duration_text(double seconds) {
  return seconds < 120 ? fmt::format("{:.0f} seconds", seconds) : fmt::format("{:.0f} minutes", seconds / 60);
}

std::string summary_html(const Report& report) {
  std::vector<std::string> lines{states_text(report), verdicts_text(report)};
  double wall_s = 0;
  size_t warnings = 0;
  for (const Record& record : report.records) {
    wall_s += record.metric("wall_s").value_or(0);
    warnings += record.result.value("warnings", Json::array()).size();
  }
  if (wall_s > 0) lines.push_back(fmt::format("The repeats took {} in all", duration_text(wall_s)));
  if (warnings > 0) lines.push_back(fmt::format("{} warnings: below the first table", warnings));
  if (!report.not_run.empty()) lines.push_back(fmt::format("{} cells have no record yet", report.not_run.size()));
  std::string html = "<ul>\n";
  for (const std::string& line : lines) {
    if (!line.empty()) html += fmt::format("<li>{}</li>\n", html_escaped(line));
  }
  return html + "</ul>\n";
}

// Commands, from a clone of the sources to this page.
std::string commands(const Report& report) {
  std::string text;
  const auto values = environment_values(report);
  const auto commit = values.find("git_commit");
  if (commit != values.end() && commit->second.size() == 1 && *commit->second.begin() != "unknown") {
    const std::string& id = *commit->second.begin();
    const size_t dash = id.find('-');
    text += fmt::format("git checkout {}{}\n", id.substr(0, dash), dash == id.npos ? "" : "  # and local changes");
  }
  text +=
      "source scripts/setup.sh && cmake --preset release -DZO2_TORCH_DIR=\"$ZO2_TORCH_DIR\" && "
      "cmake --build --preset release --target zo2\n";
  std::vector<std::string> words;
  for (const std::string& argument : report.run_arguments) words.push_back(shell_quoted(argument));
  text += words.empty() ? fmt::format("build/zo2 run MANIFEST --out DIR  # the manifest named {}\n", report.name)
                        : fmt::format("build/zo2 run {} --out DIR\n", fmt::join(words, " "));
  return text + "build/zo2 check DIR\npython -m plots DIR\nbuild/zo2 report DIR --html > report.html\n";
}

std::string record_html(const Record& record) {
  std::string html = fmt::format("<details><summary>{} r{}: {}</summary>\n", html_escaped(record.request.slug),
                                 record.request.repeat, state_name(record.state));
  html += fmt::format("<p>config hash {}</p>\n", html_escaped(record.request.config_hash));
  for (const Table& table : record_tables(record)) html += render_html(table);
  for (const char* name : {"error", "reason", "stderr_tail"}) {
    if (record.result.contains(name)) {
      html += fmt::format("<p>{}</p><pre>{}</pre>\n", name, html_escaped(json_text(record.result[name])));
    }
  }
  return html + "</details>\n";
}

}  // namespace

std::vector<fs::path> figures_in(const fs::path& folder) {
  std::vector<fs::path> figures;
  if (!fs::is_directory(folder)) return figures;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".png") figures.push_back(entry.path());
  }
  std::ranges::sort(figures);
  return figures;
}

std::string render_html(const Report& report, const std::vector<fs::path>& figures) {
  const std::string title = html_escaped(report.name);
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{} - zo2</title>\n"
      "<style>{}</style>\n</head>\n<body>\n<h1>{}</h1>\n{}",
      title, kStyle, title, summary_html(report));
  html += fmt::format(
      "<nav>{}<a href=\"#tables\">Tables</a><a href=\"#again\">How to do it again</a>"
      "<a href=\"#environment\">Environment</a><a href=\"#records\">Records</a></nav>\n",
      figures.empty() ? "" : "<a href=\"#figures\">Figures</a>");
  if (!figures.empty()) {
    html += fmt::format("<h2 id=\"figures\">Figures</h2>\n<div class=\"figures\">\n{}</div>\n", figures_html(figures));
  }
  html += "<h2 id=\"tables\">Tables</h2>\n";
  for (const Table& table : to_tables(report)) html += render_html(table);
  html += fmt::format("<h2 id=\"again\">How to do it again</h2>\n<pre>{}</pre>\n", html_escaped(commands(report)));
  html += fmt::format("<h2 id=\"environment\">Environment</h2>\n{}", render_html(environment_table(report)));
  html += "<h2 id=\"records\">Records</h2>\n";
  for (const Record& record : report.records) html += record_html(record);
  return html + "</body>\n</html>\n";
}

}  // namespace zo2
