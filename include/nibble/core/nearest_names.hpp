#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>
#include <string>
#include <string_view>
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
  struct candidate {
    bool is_part;
    std::size_t distance;
    std::string_view name;

    [[nodiscard]] bool is_nearer_than(const candidate& other) const noexcept {
      if (is_part != other.is_part) return is_part;
      if (distance != other.distance) return distance < other.distance;
      return name < other.name;
    }
  };
  std::array<candidate, 3> nearest;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string_view name = name_at(i);
    const candidate next{!wanted.empty() && name.find(wanted) != std::string_view::npos,
                         edit_distance(name, wanted), name};
    std::size_t place = taken;
    while (place > 0 && next.is_nearer_than(nearest[place - 1])) --place;
    if (place == nearest.size()) continue;
    taken = std::min(taken + 1, nearest.size());
    for (std::size_t later = taken - 1; later > place; --later) nearest[later] = nearest[later - 1];
    nearest[place] = next;
  }
  std::vector<std::string> names;
  for (std::size_t i = 0; i < taken; ++i) names.emplace_back(nearest[i].name);
  return names;
}

}  // namespace nibble
