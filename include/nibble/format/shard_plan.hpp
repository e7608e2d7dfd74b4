#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <nibble/file/atomic_file.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/shards.hpp>
#include <nibble/format/tensor_plan.hpp>

namespace nibble {

/// Places in the plan, shard by shard: whole tensors in the order of their names, as many as fit in
/// `shard_size_bytes`; one that alone is larger has a shard to itself. So the order of add() changes no
/// byte. Where the size is 0, one shard in the plan's order. At least one shard, which may be empty.
[[nodiscard]] inline std::vector<std::vector<std::size_t>> split_into_shards(
    std::span<const plan_entry> plan, std::uint64_t shard_size_bytes) {
  std::vector<std::size_t> places(plan.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::vector<std::vector<std::size_t>> shards(1);
  if (shard_size_bytes == 0) {
    shards[0] = std::move(places);
    return shards;
  }
  std::sort(places.begin(), places.end(),
            [&](std::size_t a, std::size_t b) { return plan[a].tensor.name < plan[b].tensor.name; });
  std::uint64_t bytes = 0;
  for (const std::size_t place : places) {
    const std::uint64_t tensor_bytes = plan[place].tensor.size_bytes;
    const bool fits = bytes <= shard_size_bytes && tensor_bytes <= shard_size_bytes - bytes;
    if (!fits && !shards.back().empty()) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(place);
    bytes += tensor_bytes;
  }
  return shards;
}

/// The names of a set's files when it is written to `path`: NAME-00001-of-00003.apr for NAME.apr.
[[nodiscard]] inline shard_names names_of_set(const std::string& path) {
  const std::filesystem::path target = path_of_text(path);
  return {text_of_path(target.stem()) + "-", text_of_path(target.extension())};
}

/// Removes what killed writes to `path` left beside it, of one file or of a set: a set may have had
/// another number of shards, or none. What a live writer has locked stays.
inline void remove_leftovers_of_set(const std::string& path) {
  const std::filesystem::path target = path_of_text(path);
  const std::string whole = text_of_path(target.filename());
  const shard_names set = names_of_set(path);
  atomic_file::remove_leftovers(target.parent_path(), [&](const std::string& name) {
    if (name == whole) return true;
    const auto named = shard_names::from_file_name(name);
    return named && named->first.before == set.before && named->first.after == set.after;
  });
}

}  // namespace nibble
