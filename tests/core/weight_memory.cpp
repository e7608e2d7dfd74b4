#include <nibble/core/weight_memory.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <support/catch.hpp>

namespace {

using nibble::weight_memory;

std::uintptr_t address_of(const weight_memory::part& part) {
  return reinterpret_cast<std::uintptr_t>(part.bytes().data());
}

TEST_CASE("copies lie end to end in pieces, each from a cache line on", "[weight_memory]") {
  constexpr std::size_t piece_bytes = 4096;
  weight_memory memory(piece_bytes);
  // 2048 is half a piece; 2049, 4096 and 9000 lie by themselves. 63 fills the first piece up.
  const std::vector<std::size_t> sizes = {1, 64, 65, 2048, 2049, 100, 4096, 1600, 9000, 63, 2000, 1};
  std::vector<weight_memory::part> parts;
  for (const std::size_t size : sizes) parts.push_back(memory.take(size));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    CAPTURE(i);
    REQUIRE(parts[i].bytes().size() == sizes[i]);
    CHECK(address_of(parts[i]) % 64 == 0);
    std::ranges::fill(parts[i].bytes(), static_cast<std::byte>(i + 1));
  }
  // No two share a byte: under the address sanitizer, and none is outside its piece.
  for (std::size_t i = 0; i < parts.size(); ++i) {
    CHECK(std::ranges::all_of(parts[i].bytes(),
                              [&](std::byte byte) { return byte == static_cast<std::byte>(i + 1); }));
  }
  // What is larger than half a piece leaves the piece that is being filled as it is.
  const auto after = [&](std::size_t first, std::size_t next) {
    return address_of(parts[next]) - address_of(parts[first]);
  };
  CHECK(after(0, 1) == 64);
  CHECK(after(1, 2) == 64);
  CHECK(after(2, 3) == 128);
  CHECK(after(3, 5) == 2048);
  CHECK(after(5, 7) == 128);
  CHECK(after(7, 9) == 1600);
  CHECK(after(10, 11) == 2048);
}

TEST_CASE("a piece of default size lies on a huge page, whatever is taken of it", "[weight_memory]") {
  weight_memory memory;
  const weight_memory::part first = memory.take(3);
  const weight_memory::part second = memory.take(std::size_t{1} << 20U);
  CHECK(address_of(first) % (std::size_t{1} << 21U) == 0);
  CHECK(address_of(second) == address_of(first) + 64);
  CHECK(memory.take(0).bytes().empty());
}

TEST_CASE("a copy keeps its piece, and moves", "[weight_memory]") {
  auto memory = std::make_unique<weight_memory>(std::size_t{1024});
  weight_memory::part first = memory->take(100);
  const weight_memory::part beside = memory->take(100);
  memory.reset();
  std::ranges::fill(first.bytes(), std::byte{7});
  std::ranges::fill(beside.bytes(), std::byte{8});
  const std::byte* const start = first.bytes().data();
  weight_memory::part moved(std::move(first));
  CHECK(first.bytes().empty());
  CHECK(moved.bytes().data() == start);
  CHECK(moved.bytes()[99] == std::byte{7});
  moved = weight_memory::part(5);
  CHECK(moved.bytes().size() == 5);
  CHECK(address_of(moved) % 64 == 0);
  CHECK(beside.bytes()[0] == std::byte{8});
  CHECK(weight_memory::part().bytes().empty());
}

}  // namespace
