// A table of text: the one form that every printed report goes through.
#pragma once

#include <string>
#include <vector>

namespace zo2 {

struct Table {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::string> notes;  // below the table
};

// Aligned for a terminal: columns of numbers to the right, others to the left. Ends with a line feed.
std::string render_text(const Table& table);

}  // namespace zo2
