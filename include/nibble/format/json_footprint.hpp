#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <nibble/format/json_stream.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble {

/// Memory that an element of an array takes while the tree is destroyed. nlohmann::basic_json puts the
/// members of what it destroys into a list, which doubles as it grows, so that deep trees need no deep
/// recursion.
template <class Json>
inline constexpr std::uint64_t json_bytes_while_destroyed = 3 * sizeof(Json);

/// Memory that a member of an object takes, without that of its value.
template <class Json>
[[nodiscard]] std::uint64_t json_member_bytes(std::string_view key) {
  return sizeof(typename Json::object_t::value_type) + memory_budget::map_entry_bytes +
         memory_budget::string_bytes(key.size()) + json_bytes_while_destroyed<Json>;
}

/// The most memory that a JSON tree takes, counted from the punctuation of its text: the tree itself,
/// and what is taken for a while to read and to destroy it. Depths count from 1 for what is in the
/// outermost brackets.
template <class Json>
class json_footprint {
 public:
  /// A string of `size` bytes between its quotation marks.
  void add_string(std::size_t size) {
    bytes_ += sizeof(std::string) + memory_budget::string_bytes(size);
    longest_string_bytes_ = std::max<std::uint64_t>(longest_string_bytes_, size);
  }
  /// A comma, at this depth.
  void add_value(std::size_t depth) {
    bytes_ += sizeof(Json);
    ++members_[depth];
  }
  /// A colon: an entry of a map, whose key is a string of its own.
  void add_key() { bytes_ += memory_budget::map_entry_bytes; }
  /// A bracket that opens the level `depth`.
  void enter(bool is_object, std::size_t depth) {
    bytes_ +=
        (is_object ? sizeof(typename Json::object_t) : sizeof(typename Json::array_t)) + sizeof(Json);
    members_[depth] = 1;
    within_[depth] = 0;
  }
  /// A bracket that closes the level `depth`.
  void leave(std::size_t depth) {
    within_[depth - 1] = std::max(within_[depth - 1], members_[depth] + within_[depth]);
  }
  /// The memory, with `depth` levels still open, as in a text that is cut.
  [[nodiscard]] std::uint64_t bytes(std::size_t depth) {
    for (; depth != 0; --depth) leave(depth);
    return bytes_ + 2 * longest_string_bytes_ + json_bytes_while_destroyed<Json> * within_[0];
  }

 private:
  std::uint64_t bytes_ = 0;
  std::uint64_t longest_string_bytes_ = 0;
  std::array<std::uint64_t, max_json_depth + 1> members_{};  ///< by depth, of what is open
  /// By depth, the most members below what is open that are in the list at once.
  std::array<std::uint64_t, max_json_depth + 1> within_{};
};

}  // namespace nibble
