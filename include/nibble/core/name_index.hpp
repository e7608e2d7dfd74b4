#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

/// Finds names among many. Names that stand in increasing order are searched as they are; of others the
/// places are kept, ordered by the hash of the name that stands there, which takes O(n log n)
/// comparisons of numbers to build, and no more of names where a stranger has made their hashes
/// collide.
///
/// NameAt is called with a place and gives the name there; what it gives must not change while the
/// index is in use.
class name_index {
 public:
  name_index() = default;

  /// Of the names at places 0 .. count - 1.
  template <class NameAt>
  name_index(std::size_t count, const NameAt& name_at) : count_(count) {
    if (is_increasing(name_at)) return;
    entries_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) entries_.push_back({hash_of(name_at(i)), i});
    std::sort(entries_.begin(), entries_.end(), [&](const entry& a, const entry& b) {
      if (a.hash != b.hash) return a.hash < b.hash;
      return std::pair(std::string_view(name_at(a.place)), a.place) <
             std::pair(std::string_view(name_at(b.place)), b.place);
    });
  }

  /// Places that it knows.
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

  /// The first place of `name`, or nothing.
  template <class NameAt>
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name, const NameAt& name_at) const {
    const std::size_t hash = entries_.empty() ? 0 : hash_of(name);
    std::size_t first = 0;
    std::size_t end = count_;
    while (first < end) {
      const std::size_t middle = first + (end - first) / 2;
      const bool is_before = entries_.empty() || entries_[middle].hash == hash
                                 ? std::string_view(name_at(place_at(middle))) < name
                                 : entries_[middle].hash < hash;
      (is_before ? first : end) = is_before ? middle + 1 : middle;
    }
    if (first == count_ || name_at(place_at(first)) != name) return std::nullopt;
    return place_at(first);
  }

  /// Of the places whose name stands at an earlier place too, the first; nothing where every name
  /// stands once.
  template <class NameAt>
  [[nodiscard]] std::optional<std::size_t> first_repeated(const NameAt& name_at) const {
    std::optional<std::size_t> first;
    for (std::size_t i = 1; i < entries_.size(); ++i) {
      const auto [hash, place] = entries_[i];
      if (hash != entries_[i - 1].hash || (first && *first < place)) continue;
      if (name_at(place) == name_at(entries_[i - 1].place)) first = place;
    }
    return first;
  }

 private:
  struct entry {
    std::size_t hash;
    std::size_t place;
  };

  [[nodiscard]] static std::size_t hash_of(std::string_view name) noexcept {
    return std::hash<std::string_view>{}(name);
  }

  template <class NameAt>
  [[nodiscard]] bool is_increasing(const NameAt& name_at) const {
    for (std::size_t i = 1; i < count_; ++i) {
      if (!(std::string_view(name_at(i - 1)) < std::string_view(name_at(i)))) return false;
    }
    return true;
  }

  [[nodiscard]] std::size_t place_at(std::size_t i) const noexcept {
    return entries_.empty() ? i : entries_[i].place;
  }

  std::size_t count_ = 0;
  std::vector<entry> entries_;  ///< none where the names are in order
};

}  // namespace nibble
