#include <nibble/file/opened_file.hpp>

#include <cstddef>
#include <string>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

using nibble::opened_file;

TEST_CASE("a regular file is opened with the size that it has", "[opened_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "bytes";
  for (const std::size_t size : {0U, 1U, 4097U}) {
    nibble_test::write_file(path, nibble_test::random_bytes(size, 1));
    const opened_file opened = opened_file::at(path);
    CHECK(opened.file.is_open());
    CHECK(opened.size_bytes == size);
  }
}

TEST_CASE("nothing at a path and what is no file are told apart", "[opened_file]") {
  const nibble_test::temporary_directory folder;
  CHECK(nibble_test::code_of([&] { static_cast<void>(opened_file::at(folder / "absent")); }) ==
        nibble::error_code::file_not_found);
  CHECK(nibble_test::code_of([&] { static_cast<void>(opened_file::at(folder / "")); }) ==
        nibble::error_code::read_failed);
}
