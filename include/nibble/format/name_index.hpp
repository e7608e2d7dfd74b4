#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace nibble {

/// Where each of many names stands in a list. Buckets by hash, sorted within: O(n) to build and O(1) to
/// ask where hashes are spread, and O(n log n) and O(log n) whatever names somebody chose. Holds no
/// names: name_of(i), which gives the i-th as a string_view, is handed to each function.
class name_index {
 public:
  name_index() = default;

  /// Of the names that hashes[i] = hash_of(name_of(i)) belong to.
  template <class NameOf>
  name_index(std::span<const std::size_t> hashes, NameOf&& name_of) : entries_(hashes.size()) {
    const std::size_t count = hashes.size();
    while ((std::size_t{1} << bits_) < count) ++bits_;
    starts_.assign((std::size_t{1} << bits_) + 1, 0);
    for (const std::size_t hash : hashes) ++starts_[bucket_of(hash)];
    // Each start is moved to the end of its bucket, and back by every entry that is put there.
    for (std::size_t bucket = 1; bucket < starts_.size(); ++bucket) {
      starts_[bucket] += starts_[bucket - 1];
    }
    for (std::size_t i = count; i-- > 0;) entries_[--starts_[bucket_of(hashes[i])]] = {hashes[i], i};
    for (std::size_t bucket = 0; bucket + 1 < starts_.size(); ++bucket) {
      if (starts_[bucket + 1] - starts_[bucket] < 2) continue;
      std::sort(entries_.data() + starts_[bucket], entries_.data() + starts_[bucket + 1],
                [&](const entry& a, const entry& b) {
                  if (a.hash != b.hash) return a.hash < b.hash;
                  const int order = name_of(a.place).compare(name_of(b.place));
                  return order != 0 ? order < 0 : a.place < b.place;
                });
    }
  }

  /// Of name_of(0) .. name_of(count - 1).
  template <class NameOf>
  name_index(std::size_t count, NameOf&& name_of) : name_index(hashes_of(count, name_of), name_of) {}

  /// What names are told apart by, before they are compared. Its upper bits, which choose a bucket,
  /// depend on all others.
  [[nodiscard]] static std::size_t hash_of(std::string_view name) noexcept {
    return std::hash<std::string_view>{}(name) * static_cast<std::size_t>(0x9E3779B97F4A7C15U);
  }

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

  /// The place of `name` in the list, the first one where it is there more than once.
  template <class NameOf>
  [[nodiscard]] std::optional<std::size_t> find(std::string_view name, NameOf&& name_of) const {
    if (entries_.empty()) return std::nullopt;
    const std::size_t hash = hash_of(name);
    const std::size_t bucket = bucket_of(hash);
    const entry* const last = entries_.data() + starts_[bucket + 1];
    const entry* const found =
        std::partition_point(entries_.data() + starts_[bucket], last, [&](const entry& one) {
          return one.hash != hash ? one.hash < hash : name_of(one.place) < name;
        });
    if (found == last || found->hash != hash || name_of(found->place) != name) return std::nullopt;
    return found->place;
  }

  /// The place of a name that is there more than once.
  template <class NameOf>
  [[nodiscard]] std::optional<std::size_t> find_doubled(NameOf&& name_of) const {
    const auto found =
        std::adjacent_find(entries_.begin(), entries_.end(), [&](const entry& a, const entry& b) {
          return a.hash == b.hash && name_of(a.place) == name_of(b.place);
        });
    return found == entries_.end() ? std::nullopt : std::optional(found->place);
  }

 private:
  struct entry {
    std::size_t hash;
    std::size_t place;
  };

  template <class NameOf>
  [[nodiscard]] static std::vector<std::size_t> hashes_of(std::size_t count, NameOf&& name_of) {
    std::vector<std::size_t> hashes(count);
    for (std::size_t i = 0; i < count; ++i) hashes[i] = hash_of(name_of(i));
    return hashes;
  }
  [[nodiscard]] std::size_t bucket_of(std::size_t hash) const noexcept {
    constexpr unsigned hash_bits = 8 * sizeof(hash);
    return bits_ == 0 ? 0 : hash >> (hash_bits - bits_);
  }

  unsigned bits_ = 0;  ///< of a hash, that choose the bucket
  std::vector<entry> entries_;
  std::vector<std::size_t> starts_;  ///< of the buckets in entries_, and the end of the last
};

}  // namespace nibble
