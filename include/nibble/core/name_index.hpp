#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace nibble {

/// Finds names among many. Names in increasing order are searched by bisection. Of others the places
/// are kept in buckets by hash, sorted within a bucket: O(n) to build and O(1) to look up where hashes
/// are spread, O(n log n) and O(log n) where a stranger has made them collide.
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
    std::vector<std::size_t> hashes(count);
    for (std::size_t i = 0; i < count; ++i) hashes[i] = hash_of(name_at(i));
    fill(hashes, name_at);
  }
  /// As above, where somebody has had each name at hand already: hashes[i] is hash_of(name_at(i)).
  template <class NameAt>
  name_index(std::span<const std::size_t> hashes, const NameAt& name_at) : count_(hashes.size()) {
    fill(hashes, name_at);
  }

  /// What names are told apart by before they are compared. Its upper bits, which choose a bucket,
  /// depend on all others.
  [[nodiscard]] static std::size_t hash_of(std::string_view name) noexcept {
    return std::hash<std::string_view>{}(name) * static_cast<std::size_t>(0x9E3779B97F4A7C15U);
  }

  [[nodiscard]] std::size_t size() const noexcept { return count_; }

  /// The first place of `name`, or nothing.
  template <class NameAt>
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name, const NameAt& name_at) const {
    const std::size_t hash = entries_.empty() ? 0 : hash_of(name);
    std::size_t first = entries_.empty() ? 0 : starts_[bucket_of(hash)];
    std::size_t end = entries_.empty() ? count_ : starts_[bucket_of(hash) + 1];
    const std::size_t last = end;
    while (first < end) {
      const std::size_t middle = first + (end - first) / 2;
      const bool is_before = entries_.empty() || entries_[middle].hash == hash
                                 ? std::string_view(name_at(place_at(middle))) < name
                                 : entries_[middle].hash < hash;
      (is_before ? first : end) = is_before ? middle + 1 : middle;
    }
    if (first == last || name_at(place_at(first)) != name) return std::nullopt;
    return place_at(first);
  }

  /// The first place whose name is also the name of an earlier place; nothing where all names differ.
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

  template <class NameAt>
  [[nodiscard]] bool is_increasing(const NameAt& name_at) const {
    for (std::size_t i = 1; i < count_; ++i) {
      if (!(std::string_view(name_at(i - 1)) < std::string_view(name_at(i)))) return false;
    }
    return true;
  }

  template <class NameAt>
  void fill(std::span<const std::size_t> hashes, const NameAt& name_at) {
    while ((std::size_t{1} << bits_) < count_) ++bits_;
    starts_.assign((std::size_t{1} << bits_) + 1, 0);
    for (const std::size_t hash : hashes) ++starts_[bucket_of(hash)];
    // Each start is moved to the end of its bucket, and back by every entry that is put there.
    for (std::size_t bucket = 1; bucket < starts_.size(); ++bucket) {
      starts_[bucket] += starts_[bucket - 1];
    }
    entries_.resize(count_);
    for (std::size_t i = count_; i-- > 0;) entries_[--starts_[bucket_of(hashes[i])]] = {hashes[i], i};
    for (std::size_t bucket = 0; bucket + 1 < starts_.size(); ++bucket) {
      if (starts_[bucket + 1] - starts_[bucket] < 2) continue;
      std::sort(entries_.data() + starts_[bucket], entries_.data() + starts_[bucket + 1],
                [&](const entry& a, const entry& b) {
                  if (a.hash != b.hash) return a.hash < b.hash;
                  const std::string_view name_a = name_at(a.place);
                  const int order = name_a.compare(name_at(b.place));
                  return order != 0 ? order < 0 : a.place < b.place;
                });
    }
  }

  [[nodiscard]] std::size_t bucket_of(std::size_t hash) const noexcept {
    constexpr unsigned hash_bits = 8 * sizeof(hash);
    return bits_ == 0 ? 0 : hash >> (hash_bits - bits_);
  }
  [[nodiscard]] std::size_t place_at(std::size_t i) const noexcept {
    return entries_.empty() ? i : entries_[i].place;
  }

  std::size_t count_ = 0;
  unsigned bits_ = 0;                ///< of a hash, that choose the bucket
  std::vector<entry> entries_;       ///< none where the names are in order
  std::vector<std::size_t> starts_;  ///< of the buckets in entries_, and the end of the last
};

}  // namespace nibble
