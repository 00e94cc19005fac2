#include "experiment/selection.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "experiment/manifest_reader.h"
#include "experiment/problems.h"

namespace zo2 {
namespace {

constexpr size_t kNamedCells = 10;

struct Selector {
  Condition where;                    // the values named for each key
  std::vector<std::string> patterns;  // over names of cells

  bool matches_a_pattern(const Cell& cell) const {
    return std::ranges::any_of(patterns, [&](const std::string& pattern) {
      return fnmatch(pattern.c_str(), cell.slug.c_str(), 0) == 0 ||
             fnmatch(pattern.c_str(), cell.folder_name().c_str(), 0) == 0;
    });
  }
};

void read_selector(const std::string& option, const std::string& text, Selector& selector, Problems& problems) {
  if (text.find('=') == std::string::npos) {
    selector.patterns.push_back(text);
    return;
  }
  Settings settings;
  read_override(text, settings, problems, option);
  for (const auto& [key, setting] : settings) selector.where[key].push_back(setting.value);
}

std::optional<int> to_int(std::string_view text) {
  int value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

[[noreturn]] void refuse_nothing(const Experiment& experiment) {
  std::vector<std::string_view> slugs;
  for (const Cell& cell : experiment.cells) slugs.push_back(cell.slug);
  const size_t shown = std::min(slugs.size(), kNamedCells);
  throw UsageError(fmt::format("--only and --exclude leave none of the {} cells: {}{}", slugs.size(),
                               fmt::join(slugs.begin(), slugs.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                               shown < slugs.size() ? ", ..." : ""));
}

}  // namespace

Shard parse_shard(std::string_view text) {
  const size_t slash = text.find('/');
  const auto index = to_int(text.substr(0, slash));
  const auto count = slash == std::string_view::npos ? std::nullopt : to_int(text.substr(slash + 1));
  ZO2_CHECK(index && count && *index >= 1 && *index <= *count, UsageError,
            "--shard {}: expected i/n with i from 1 to n, for example 2/4", text);
  return {*index, *count};
}

std::vector<Turn> select_repeats(const Experiment& experiment, const Selection& selection) {
  Problems problems;
  Selector only;
  std::vector<Selector> exclude(selection.exclude.size());
  for (const std::string& text : selection.only) read_selector("--only", text, only, problems);
  for (size_t i = 0; i < exclude.size(); ++i) {
    read_selector("--exclude", selection.exclude[i], exclude[i], problems);
  }
  problems.throw_if_any();

  const auto selected = [&](const Cell& cell) {
    if (!matches(only.where, cell.config)) return false;
    if (!only.patterns.empty() && !only.matches_a_pattern(cell)) return false;
    return std::ranges::none_of(exclude, [&](const Selector& selector) {
      return selector.where.empty() ? selector.matches_a_pattern(cell) : matches(selector.where, cell.config);
    });
  };
  std::vector<Turn> chosen = turns(experiment);
  std::erase_if(chosen, [&](const Turn& turn) { return !selected(experiment.cells[turn.cell]); });
  if (chosen.empty()) refuse_nothing(experiment);

  std::vector<Turn> dealt = chosen;
  std::ranges::sort(dealt, {}, [](const Turn& turn) { return std::pair(turn.cell, turn.repeat); });
  std::set<std::pair<size_t, int>> mine;
  for (size_t i = static_cast<size_t>(selection.shard.index) - 1; i < dealt.size();
       i += static_cast<size_t>(selection.shard.count)) {
    mine.emplace(dealt[i].cell, dealt[i].repeat);
  }
  std::erase_if(chosen, [&](const Turn& turn) { return !mine.contains({turn.cell, turn.repeat}); });
  return chosen;
}

}  // namespace zo2
