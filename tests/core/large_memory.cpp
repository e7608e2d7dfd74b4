#include <nibble/core/large_memory.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <support/catch.hpp>

namespace {

using nibble::large_memory;

std::uintptr_t address_of(const large_memory& memory) {
  return reinterpret_cast<std::uintptr_t>(memory.bytes().data());
}

TEST_CASE("memory of every size starts on a cache line, and of megabytes on a huge page",
          "[large_memory]") {
  constexpr std::size_t huge_page_bytes = std::size_t{1} << 21U;
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{63}, std::size_t{4097}, huge_page_bytes - 1,
        2 * huge_page_bytes - 1, 2 * huge_page_bytes, 5 * huge_page_bytes + 3}) {
    CAPTURE(size);
    const large_memory memory(size);
    REQUIRE(memory.bytes().size() == size);
    CHECK(address_of(memory) % (size < 2 * huge_page_bytes ? 64 : huge_page_bytes) == 0);
    // All of it is there: under the address sanitizer, and no more.
    for (std::size_t i = 0; i < size; i += 509) memory.bytes()[i] = static_cast<std::byte>(i % 251);
    memory.bytes()[size - 1] = std::byte{17};
    bool is_kept = memory.bytes()[size - 1] == std::byte{17};
    for (std::size_t i = 0; i + 1 < size; i += 509) {
      is_kept = is_kept && memory.bytes()[i] == static_cast<std::byte>(i % 251);
    }
    CHECK(is_kept);
  }
}

TEST_CASE("memory that was moved is the other's", "[large_memory]") {
  large_memory first(100);
  const std::byte* const start = first.bytes().data();
  large_memory second(std::move(first));
  CHECK(first.bytes().empty());
  CHECK(second.bytes().data() == start);
  CHECK(second.bytes().size() == 100);
  large_memory third;
  CHECK(third.bytes().empty());
  third = std::move(second);
  CHECK(third.bytes().data() == start);
  CHECK(second.bytes().empty());
  // What had bytes of its own lets them go.
  second = large_memory(50);
  second = std::move(third);
  CHECK(second.bytes().data() == start);
  CHECK(third.bytes().empty());
  CHECK(large_memory(0).bytes().empty());
}

}  // namespace
