#include <nibble/format/file_order.hpp>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <support/catch.hpp>

using nibble::tensor_info;

namespace {

tensor_info at(std::string name, std::uint64_t offset, std::uint64_t size) {
  return {.name = std::move(name), .file_offset_bytes = offset, .size_bytes = size};
}

std::string visited(const std::vector<tensor_info>& tensors, bool* is_in_order = nullptr) {
  std::string names;
  const bool in_order =
      nibble::for_each_in_file_order(tensors, [&](const tensor_info& tensor) { names += tensor.name; });
  if (is_in_order != nullptr) *is_in_order = in_order;
  return names;
}

}  // namespace

TEST_CASE("tensors are visited by offset, then size, then place in the list", "[file_order]") {
  bool is_in_order = false;
  CHECK(visited({}, &is_in_order).empty());
  CHECK(is_in_order);
  CHECK(visited({at("a", 1, 2), at("b", 3, 0), at("c", 3, 4)}, &is_in_order) == "abc");
  CHECK(is_in_order);
  CHECK(visited({at("a", 3, 4), at("b", 3, 0), at("c", 1, 2)}, &is_in_order) == "cba");
  CHECK_FALSE(is_in_order);
  // Equal places keep the order of the list, in order or not.
  CHECK(visited({at("z", 5, 0), at("y", 5, 0), at("x", 5, 0)}, &is_in_order) == "zyx");
  CHECK(is_in_order);
  CHECK(visited({at("z", 5, 0), at("y", 5, 0), at("x", 4, 0), at("w", 5, 0)}, &is_in_order) == "xzyw");
  CHECK_FALSE(is_in_order);
}

TEST_CASE("many tensors are visited as a stable sort orders them", "[file_order]") {
  std::mt19937 generator(3);
  for (int turn = 0; turn < 50; ++turn) {
    std::vector<tensor_info> tensors;
    for (char name = 'a'; name <= 'z'; ++name) {
      tensors.push_back(at(std::string(1, name), generator() % 5, generator() % 3));
    }
    std::vector<tensor_info> sorted = tensors;
    std::stable_sort(sorted.begin(), sorted.end(), [](const tensor_info& a, const tensor_info& b) {
      return a.file_offset_bytes != b.file_offset_bytes ? a.file_offset_bytes < b.file_offset_bytes
                                                        : a.size_bytes < b.size_bytes;
    });
    std::string expected;
    for (const tensor_info& tensor : sorted) expected += tensor.name;
    CHECK(visited(tensors) == expected);
  }
}
