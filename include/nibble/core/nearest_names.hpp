#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace nibble {

/// How many bytes have to be inserted, removed or replaced to turn `a` into `b` (Levenshtein distance).
[[nodiscard]] inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Distances of the part of `a` seen so far from every beginning of `b`.
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0U : 1U);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// Of `count` names, those with the least edit_distance() from `wanted`, nearest first, equally near
/// ones in alphabetical order, those before all others that `wanted` is a part of; at most three.
/// name_at(i) gives name i.
template <class NameAt>
[[nodiscard]] std::vector<std::string> nearest_names(std::string_view wanted, std::size_t count,
                                                     const NameAt& name_at) {
  constexpr std::size_t max_names = 3;
  std::vector<std::tuple<bool, std::size_t, std::string_view>> ranked;
  ranked.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view name = name_at(i);
    const bool is_part = !wanted.empty() && name.find(wanted) != std::string_view::npos;
    ranked.emplace_back(!is_part, edit_distance(name, wanted), name);
  }
  const std::size_t taken = std::min(max_names, count);
  std::partial_sort(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(taken), ranked.end());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < taken; ++i) names.emplace_back(std::get<std::string_view>(ranked[i]));
  return names;
}

}  // namespace nibble
