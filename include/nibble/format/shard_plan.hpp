#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
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

/// Places in the plan, shard by shard, each in the order of names: tensor i is in shard shard_of[i].
/// Throws invalid_argument where there is not one for each tensor, or a shard without any.
[[nodiscard]] inline std::vector<std::vector<std::size_t>> split_as_given(
    std::span<const plan_entry> plan, std::span<const std::size_t> shard_of) {
  const auto refuse = [](std::string found, std::string expected) -> error {
    return error(
        error_code::invalid_argument,
        {.field = "shard_of_tensors", .found = std::move(found), .expected = std::move(expected)});
  };
  if (shard_of.size() != plan.size()) {
    throw refuse(std::to_string(shard_of.size()),
                 join_text({plan.size(), ", one for each tensor of the plan"}));
  }
  std::vector<std::vector<std::size_t>> shards;
  for (std::size_t place = 0; place < plan.size(); ++place) {
    // No more shards than tensors, whatever is said.
    if (shard_of[place] >= plan.size()) {
      throw refuse(std::to_string(shard_of[place]), "a shard before as many as there are tensors");
    }
    if (shard_of[place] >= shards.size()) shards.resize(shard_of[place] + 1);
    shards[shard_of[place]].push_back(place);
  }
  for (std::vector<std::size_t>& shard : shards) {
    if (shard.empty()) throw refuse("a shard without a tensor", "shards counted on from 0");
    std::sort(shard.begin(), shard.end(),
              [&](std::size_t a, std::size_t b) { return plan[a].tensor.name < plan[b].tensor.name; });
  }
  return shards;
}

/// As above, but `fits` says whether tensors, given by their places, are one shard: fits(places, index)
/// for shard `index`, true for the first tensors of a list that it is true for. A tensor that does not
/// fit alone has a shard to itself. Calls of `fits` grow with the logarithm of the tensors of a shard.
template <class Fits>
[[nodiscard]] std::vector<std::vector<std::size_t>> split_into_fitting_shards(
    std::span<const plan_entry> plan, const Fits& fits) {
  std::vector<std::size_t> places(plan.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::sort(places.begin(), places.end(),
            [&](std::size_t a, std::size_t b) { return plan[a].tensor.name < plan[b].tensor.name; });
  std::vector<std::vector<std::size_t>> shards;
  for (std::span<const std::size_t> rest(places); !rest.empty();) {
    // Between `taken`, which fits or is one tensor, and `refused`, which does not fit.
    std::size_t taken = 1;
    std::size_t refused = rest.size() + 1;
    while (taken + 1 < refused) {
      const std::size_t doubled = std::min(2 * taken, rest.size());
      const std::size_t next = refused > rest.size() ? doubled : taken + (refused - taken) / 2;
      (fits(rest.first(next), shards.size()) ? taken : refused) = next;
    }
    shards.emplace_back(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(taken));
    rest = rest.subspan(taken);
  }
  if (shards.empty()) shards.emplace_back();
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
