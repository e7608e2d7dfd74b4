#include <nibble/format/shard_plan.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/files.hpp>

using nibble::plan_entry;

namespace {

constexpr std::uint64_t max_elements = std::uint64_t{1} << 62U;

/// Tensors of so many bytes each, named in reverse alphabetical order.
std::vector<plan_entry> plan_of(const std::vector<std::uint64_t>& sizes) {
  std::vector<plan_entry> plan;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    plan.push_back({{std::string(1, static_cast<char>('z' - i)), nibble::encoding::u8,
                     nibble::shape{std::min(sizes[i], max_elements)}, sizes[i]},
                    nibble::stored_in_memory{}});
  }
  return plan;
}

/// The names of the shards' tensors: "yz x".
std::string shards_of(const std::vector<std::uint64_t>& sizes, std::uint64_t shard_size_bytes) {
  const auto plan = plan_of(sizes);
  std::string text;
  for (const auto& shard : nibble::split_into_shards(plan, shard_size_bytes)) {
    if (!text.empty()) text += ' ';
    for (const std::size_t place : shard) text += plan[place].tensor.name;
  }
  return text;
}

}  // namespace

TEST_CASE("shards take whole tensors by name, as many as fit", "[shard_plan]") {
  CHECK(shards_of({4, 3, 2, 1}, 0) == "zyxw");  // one file, in the plan's order
  CHECK(shards_of({4, 3, 2, 1}, 10) == "wxyz");
  CHECK(shards_of({4, 3, 2, 1}, 9) == "wxy z");
  CHECK(shards_of({4, 3, 2, 1}, 6) == "wxy z");
  CHECK(shards_of({4, 3, 2, 1}, 5) == "wx y z");
  CHECK(shards_of({4, 3, 2, 1}, 1) == "w x y z");
  CHECK(shards_of({1, 9, 1}, 5) == "x y z");
  CHECK(shards_of({1, 1, 9}, 5) == "x yz");
  CHECK(shards_of({0, 0, 9, 0}, 5) == "w x yz");  // behind one that is too large even nothing fits
  CHECK(shards_of({}, 5).empty());
  CHECK(nibble::split_into_shards({}, 5).size() == 1);
  CHECK(nibble::split_into_shards({}, 0).size() == 1);
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  CHECK(shards_of({huge, 1, huge, 1}, huge) == "w x y z");
}

TEST_CASE("shards that a rule of the caller's fills take as many tensors as it lets", "[shard_plan]") {
  // A shard takes its index in bytes beside its tensors'.
  const auto plan = plan_of({4, 3, 2, 1, 9, 1, 1});
  for (const std::uint64_t limit : {1U, 4U, 6U, 9U, 12U, 30U}) {
    std::size_t calls = 0;
    const auto bytes_of = [&](std::span<const std::size_t> places, std::size_t index) {
      std::uint64_t bytes = index;
      for (const std::size_t place : places) bytes += plan[place].tensor.size_bytes;
      return bytes;
    };
    const auto shards = nibble::split_into_fitting_shards(
        plan, [&](std::span<const std::size_t> places, std::size_t index) {
          ++calls;
          return bytes_of(places, index) <= limit;
        });
    std::string names;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      CHECK((shards[i].size() == 1 || bytes_of(shards[i], i) <= limit));
      if (i + 1 < shards.size()) {
        auto longer = shards[i];
        longer.push_back(shards[i + 1].front());
        CHECK(bytes_of(longer, i) > limit);
      }
      for (const std::size_t place : shards[i]) names += plan[place].tensor.name;
    }
    CHECK(names == "tuvwxyz");
    CHECK(calls <= 3 * plan.size());
  }
  const auto never = [](std::span<const std::size_t>, std::size_t) { return false; };
  CHECK(nibble::split_into_fitting_shards({}, never).size() == 1);
  CHECK(nibble::split_into_fitting_shards(plan, never).size() == plan.size());
}

TEST_CASE("a set's names come from the path that it is written to", "[shard_plan]") {
  const nibble::shard_names names = nibble::names_of_set("folder/model.v2.apr");
  CHECK(names.name_of({1, 3}) == "model.v2-00002-of-00003.apr");
}

TEST_CASE("what killed writes left goes, of one file and of sets of any number", "[shard_plan]") {
  const nibble_test::temporary_directory folder;
  const std::vector<std::byte> bytes(3);
  const auto partial = [](const std::string& name) { return name + ".nibble-partial"; };
  for (const std::string name :
       {"m.apr", "m-00001-of-00002.apr", "m-00003-of-00007.apr", "n.apr", "mm-00001-of-00002.apr"}) {
    nibble_test::write_file(folder / partial(name), bytes);
    nibble_test::write_file(folder / name, bytes);
  }
  nibble::remove_leftovers_of_set(folder / "m.apr");
  CHECK(nibble_test::names_in(folder.path()) ==
        std::vector<std::string>{"m-00001-of-00002.apr", "m-00003-of-00007.apr", "m.apr",
                                 "mm-00001-of-00002.apr", partial("mm-00001-of-00002.apr"), "n.apr",
                                 partial("n.apr")});
}
