#include "experiment/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace zo2 {
namespace {

bool looks_numeric(const std::string& cell) {
  return cell.empty() || cell == "-" || (cell[0] >= '0' && cell[0] <= '9') ||
         (cell.size() > 1 && (cell[0] == '-' || cell[0] == '+') && cell[1] >= '0' && cell[1] <= '9');
}

std::vector<bool> right_aligned(const Table& table) {
  std::vector<bool> right(table.columns.size(), true);
  for (size_t c = 0; c < right.size(); ++c) {
    right[c] = std::ranges::all_of(table.rows, [&](const auto& row) { return looks_numeric(row[c]); });
  }
  return right;
}

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

std::string markdown_line(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += fmt::format(" {} |", replaced(cell, "|", "\\|"));
  return line + "\n";
}

// The class of a cell that is one lower-case or upper-case word: what a style sheet may colour.
std::string html_class(const std::string& cell, bool right) {
  std::string name = right ? "number" : "";
  const bool word = !cell.empty() && std::ranges::all_of(cell, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
  });
  if (word && !right) {
    for (const char c : cell) name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return name.empty() ? "" : fmt::format(" class=\"{}\"", name);
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::vector<std::string> fields;
  for (const std::string& cell : cells) {
    const bool quoted = cell.find_first_of(",\"\r\n") != std::string::npos;
    fields.push_back(quoted ? fmt::format("\"{}\"", replaced(cell, "\"", "\"\"")) : cell == "-" ? "" : cell);
  }
  return fmt::format("{}\n", fmt::join(fields, ","));
}

bool says_one_thing(const Table& table, size_t column) {
  return std::ranges::all_of(table.rows, [&](const auto& row) { return row[column] == table.rows[0][column]; });
}

}  // namespace

std::string render_text(const Table& table) {
  const size_t columns = table.columns.size();
  std::vector<size_t> widths(columns);
  const std::vector<bool> right = right_aligned(table);
  for (size_t c = 0; c < columns; ++c) {
    widths[c] = table.columns[c].size();
    for (const auto& row : table.rows) widths[c] = std::max(widths[c], row[c].size());
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

std::string render_markdown(const Table& table) {
  std::string text = fmt::format("## {}\n\n", table.title);
  if (!table.rows.empty()) {
    text += markdown_line(table.columns);
    std::vector<std::string> rule;
    for (const bool right : right_aligned(table)) rule.emplace_back(right ? "---:" : "---");
    text += markdown_line(rule);
    for (const auto& row : table.rows) text += markdown_line(row);
  }
  if (!table.notes.empty()) text += "\n";
  for (const std::string& note : table.notes) text += fmt::format("- {}\n", replaced(note, "*", "\\*"));
  return text;
}

std::string html_escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      case '\'': escaped += "&#39;"; break;
      default: escaped += c;
    }
  }
  return escaped;
}

std::string render_html(const Table& table) {
  std::string html = fmt::format("<figure>\n<table>\n<caption>{}</caption>\n", html_escaped(table.title));
  const std::vector<bool> right = right_aligned(table);
  const auto line = [&](const char* tag, const std::vector<std::string>& cells) {
    html += "<tr>";
    for (size_t c = 0; c < cells.size(); ++c) {
      html += fmt::format("<{0}{1}>{2}</{0}>", tag, html_class(tag[1] == 'h' ? "" : cells[c], right[c]),
                          html_escaped(cells[c]));
    }
    html += "</tr>\n";
  };
  if (!table.rows.empty()) {
    html += "<thead>";
    line("th", table.columns);
    html += "</thead>\n<tbody>\n";
    for (const auto& row : table.rows) line("td", row);
    html += "</tbody>\n";
  }
  html += "</table>\n";
  if (!table.notes.empty()) {
    html += "<ul>\n";
    for (const std::string& note : table.notes) html += fmt::format("<li>{}</li>\n", html_escaped(note));
    html += "</ul>\n";
  }
  return html + "</figure>\n";
}

std::string render_csv(const Table& table) {
  std::string text = csv_line(table.columns);
  for (const auto& row : table.rows) text += csv_line(row);
  return text;
}

void erase_column(Table& table, size_t column) {
  table.columns.erase(table.columns.begin() + static_cast<int64_t>(column));
  for (auto& row : table.rows) row.erase(row.begin() + static_cast<int64_t>(column));
}

void drop_empty_columns(Table& table, std::initializer_list<std::string_view> names) {
  for (size_t column = table.columns.size(); column-- > 0 && !table.rows.empty();) {
    const bool optional = std::ranges::find(names, table.columns[column]) != names.end();
    if (optional && table.rows[0][column] == "-" && says_one_thing(table, column)) erase_column(table, column);
  }
}

void move_to_title(Table& table, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) {
    const auto column = static_cast<size_t>(std::ranges::find(table.columns, name) - table.columns.begin());
    if (column == table.columns.size() || table.rows.empty() || !says_one_thing(table, column)) continue;
    table.title += fmt::format("; {} {}", name, table.rows[0][column]);
    erase_column(table, column);
  }
}

}  // namespace zo2
