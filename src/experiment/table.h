// A table of text: the one form that every printed report goes through, for a terminal, Markdown, HTML and CSV.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
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

// The title as a heading, a pipe table as GitHub renders it, and the notes as a list.
std::string render_markdown(const Table& table);

// Five characters as HTML has them, for text and for quoted attributes.
std::string html_escaped(std::string_view text);
// A <table> with the title as its caption, and the notes as a list after it. What a verdict or a state says is the
// class of its cell: "PASS" is class="pass", "out of memory" none.
std::string render_html(const Table& table);

// RFC 4180: the columns' names, then the rows. Title and notes are left out, and an empty cell stands for "-".
std::string render_csv(const Table& table);

void erase_column(Table& table, size_t column);

// Takes out those of the columns `names` that say nothing ("-") in any row.
void drop_empty_columns(Table& table, std::initializer_list<std::string_view> names);

// Those of the columns `names` that say the same in every row say so once, in the title.
void move_to_title(Table& table, std::initializer_list<std::string_view> names);

}  // namespace zo2
