#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/crafted_file.hpp>

namespace {

/// What some work runs, in blocks of code.
template <class Work>
std::uint64_t blocks_of(const Work& work) {
  const std::uint64_t before = nibble_test::work_meter::blocks_run();
  work();
  return nibble_test::work_meter::blocks_run() - before;
}

TEST_CASE("blocks of code count work, the same each time and the more the more there is", "[bounds]") {
  const auto turn = [](int turns) {
    volatile int odd = 0;
    for (int i = 0; i < turns; ++i) {
      if (i % 2 != 0) odd = odd + 1;
    }
  };
  const std::uint64_t thousand = blocks_of([&] { turn(1'000); });
  CHECK(thousand > 1'000);
  CHECK(thousand < 10'000);
  CHECK(blocks_of([&] { turn(1'000); }) == thousand);
  const std::uint64_t million = blocks_of([&] { turn(1'000'000); });
  CHECK(million > 900 * thousand);
  CHECK(million < 1'100 * thousand);
}

TEST_CASE("work that grows with the square of a file is beyond its bound", "[bounds]") {
  const std::string text(100'000, 'x');
  const std::uint64_t once = blocks_of([&] {
    volatile std::size_t found = 0;
    for (const char byte : text) found = found + (byte == 'x' ? 1U : 0U);
  });
  CHECK(once < nibble_test::most_blocks_of_code(text.size()));
  const std::uint64_t by_square = blocks_of([&] {
    volatile std::size_t found = 0;
    for (std::size_t i = 0; i < 1'000; ++i) {
      for (const char byte : text) found = found + (byte == 'x' ? 1U : 0U);
    }
  });
  CHECK(by_square > nibble_test::most_blocks_of_code(text.size()));
}

}  // namespace
