#include "experiment/table.h"

#include <fmt/format.h>

#include <algorithm>

namespace zo2 {
namespace {

bool looks_numeric(const std::string& cell) {
  return cell.empty() || cell == "-" || (cell[0] >= '0' && cell[0] <= '9') ||
         (cell.size() > 1 && (cell[0] == '-' || cell[0] == '+') && cell[1] >= '0' && cell[1] <= '9');
}

}  // namespace

std::string render_text(const Table& table) {
  const size_t columns = table.columns.size();
  std::vector<size_t> widths(columns);
  std::vector<bool> right(columns, true);
  for (size_t c = 0; c < columns; ++c) {
    widths[c] = table.columns[c].size();
    for (const auto& row : table.rows) {
      widths[c] = std::max(widths[c], row[c].size());
      right[c] = right[c] && looks_numeric(row[c]);
    }
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t c = 0; c < columns; ++c) {
      text += right[c] ? fmt::format("{:>{}}", cells[c], widths[c]) : fmt::format("{:<{}}", cells[c], widths[c]);
      if (c + 1 < columns) text += "  ";
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  std::string text = table.title + "\n";
  if (!table.rows.empty()) {
    text += line(table.columns);
    std::vector<std::string> rule;
    for (size_t width : widths) rule.push_back(std::string(width, '-'));
    text += line(rule);
    for (const auto& row : table.rows) text += line(row);
  }
  for (const std::string& note : table.notes) text += note + "\n";
  return text;
}

}  // namespace zo2
