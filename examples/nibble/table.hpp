#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text_layout.hpp"

namespace nibble_command {

/// Text in columns, each as wide as its widest cell on a terminal; the few cells that are wider than
/// max_columns push the rest of their own row aside instead.
class table {
 public:
  /// Where a column's cells stand.
  enum class side : unsigned char { left, right };
  struct column {
    std::string title;
    side aligned;
  };

  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {
    for (const column& each : columns_) widths_.push_back(display_columns(each.title));
  }

  /// One cell a column, of escaped UTF-8.
  void add_row(std::vector<std::string> cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::size_t columns = display_columns(cells[i]);
      if (columns <= max_columns) widths_[i] = std::max(widths_[i], columns);
    }
    rows_.push_back(std::move(cells));
  }
  /// A line across.
  void add_rule() { rows_.emplace_back(); }

  [[nodiscard]] std::string to_string() const {
    std::string text;
    std::vector<std::string> titles;
    for (const column& each : columns_) titles.push_back(each.title);
    append_line(titles, text);
    for (const std::vector<std::string>& row : rows_) append_line(row, text);
    return text;
  }

 private:
  static constexpr std::string_view gap = "  ";
  static constexpr std::size_t max_columns = 80;

  void append_line(const std::vector<std::string>& cells, std::string& text) const {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i != 0) line += gap;
      if (cells.empty()) {
        line.append(widths_[i], '-');
        continue;
      }
      const std::size_t columns = display_columns(cells[i]);
      const std::size_t padding = columns < widths_[i] ? widths_[i] - columns : 0;
      if (columns_[i].aligned == side::right) line.append(padding, ' ');
      line += cells[i];
      if (columns_[i].aligned == side::left) line.append(padding, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line;
    text += '\n';
  }

  std::vector<column> columns_;
  std::vector<std::size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace nibble_command
