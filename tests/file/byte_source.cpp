#include <nibble/file/byte_source.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

using nibble::error_code;
using nibble::file_source;

TEST_CASE("a file is read piece by piece", "[byte_source]") {
  const nibble_test::temporary_directory folder;
  const auto bytes = nibble_test::random_bytes(10'000, 5);
  nibble_test::write_file(folder / "f", bytes);
  const file_source source(folder / "f");
  CHECK(source.size_bytes() == 10'000);
  for (const std::size_t offset : {0U, 1U, 4095U, 9999U}) {
    for (const std::size_t count : {0U, 1U, 4097U, 10'000U}) {
      if (count > bytes.size() - offset) continue;
      std::vector<std::byte> part(count);
      source.read_at(offset, part);
      CHECK(std::ranges::equal(part, std::span(bytes).subspan(offset, count)));
    }
  }
  nibble_test::write_file(folder / "empty", {});
  CHECK(file_source(folder / "empty").size_bytes() == 0);
}

TEST_CASE("what is no file to read is refused", "[byte_source]") {
  const nibble_test::temporary_directory folder;
  CHECK(nibble_test::code_of([&] { file_source(folder / "absent"); }) == error_code::file_not_found);
  CHECK(nibble_test::code_of([&] { file_source(folder.path().string()); }) == error_code::read_failed);
  nibble_test::write_file(folder / "f", nibble_test::random_bytes(100, 1));
  const file_source source(folder / "f");
  std::filesystem::resize_file(folder / "f", 50);
  std::vector<std::byte> part(60);
  CHECK(nibble_test::code_of([&] { source.read_at(0, part); }) == error_code::read_failed);
}
