#include <nibble/file/path_text.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/file/atomic_file.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/input_file.hpp>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

using nibble::path_of_text;
using nibble::text_of_path;

namespace {

// German, Greek, Japanese, and an emoji that takes two units of UTF-16.
const std::vector<std::string> path_names = {"plain",
                                             "gr\xC3\xB6\xC3\x9F"
                                             "e",
                                             "\xCE\xBB\xCF\x8C\xCE\xB3\xCE\xBF\xCF\x82",
                                             "\xE9\x87\x8D\xE3\x81\xBF.apr", "\xF0\x9F\x90\x8B model"};

void write(const std::string& path, std::span<const std::byte> bytes) {
  nibble::atomic_file file(path, bytes.size());
  file.write_at(0, bytes);
  file.commit();
}

/// The bytes of a file, three ways that agree.
std::vector<std::byte> read(const std::string& path) {
  const nibble::input_file mapped(path, nibble::file_access::mapped);
  const nibble::input_file copied(path, nibble::file_access::read);
  const nibble::file_source source(path);
  std::vector<std::byte> bytes(static_cast<std::size_t>(source.size_bytes()));
  source.read_at(0, bytes);
  REQUIRE(std::ranges::equal(mapped.bytes(), bytes));
  REQUIRE(std::ranges::equal(copied.bytes(), bytes));
  return bytes;
}

}  // namespace

TEST_CASE("texts and paths are each other's inverse", "[path_text]") {
  for (const std::string& name : path_names) {
    CHECK(text_of_path(path_of_text(name)) == name);
    CHECK(text_of_path(path_of_text("folder/" + name).filename()) == name);
    CHECK(text_of_path(path_of_text(name + "/file").parent_path()) == name);
  }
  CHECK(path_of_text("").empty());
}

TEST_CASE("a text that is no path of the system is told", "[path_text]") {
  for (const std::string text : {"\xFF", "folder/\xC3", "\xED\xA0\x80"}) {
#if defined(_WIN32)
    CHECK(nibble_test::code_of([&] { static_cast<void>(path_of_text(text)); }) ==
          nibble::error_code::invalid_argument);
    CHECK(nibble_test::code_of([&] { nibble::input_file(text, nibble::file_access::read); }) ==
          nibble::error_code::read_failed);
    CHECK(nibble_test::code_of([&] { nibble::atomic_file(text, 1); }) ==
          nibble::error_code::write_failed);
#else
    CHECK(text_of_path(path_of_text(text)) == text);
#endif
  }
}

TEST_CASE("files of any name are written, read and listed", "[path_text]") {
  const nibble_test::temporary_directory folder;
  for (const std::string& name : path_names) {
    CAPTURE(name);
    const std::string path = folder / name;
    for (const std::size_t size : {5000U, 3U}) {
      const auto bytes = nibble_test::random_bytes(size, 7);
      write(path, bytes);
      CHECK(read(path) == bytes);
      CHECK(std::filesystem::is_regular_file(path_of_text(path)));
    }
  }
  std::vector<std::string> found;
  nibble::system_calls::for_each_name(
      folder.path(), [&](std::string name, const auto&) { found.push_back(std::move(name)); });
  std::ranges::sort(found);
  std::vector<std::string> expected = path_names;
  std::ranges::sort(expected);
  CHECK(found == expected);
}

TEST_CASE("leftovers of any name go", "[path_text]") {
  const nibble_test::temporary_directory folder;
  for (const std::string& name : path_names) write(folder / (name + ".nibble-partial"), {});
  std::vector<std::string> asked;
  nibble::atomic_file::remove_leftovers(folder.path(), [&](const std::string& name) {
    asked.push_back(name);
    return true;
  });
  std::ranges::sort(asked);
  std::vector<std::string> expected = path_names;
  std::ranges::sort(expected);
  CHECK(asked == expected);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("paths longer than 260 characters work like others", "[path_text]") {
  const nibble_test::temporary_directory folder;
  std::string path = text_of_path(folder.path());
  const std::string part = "a folder whose name has some sixty characters, as many may have";
  for (int depth = 0; depth < 6; ++depth) {
    path += "/" + part;
    nibble_test::make_directory(path);
    const auto bytes = nibble_test::random_bytes(1000, static_cast<std::uint32_t>(depth));
    for (const std::string name : {"a", "a file with a name that is neither short nor long"}) {
      const std::string file = path + "/" + name;
      CAPTURE(file.size());
      write(file, std::span(bytes).first(10));
      write(file, bytes);
      CHECK(read(file) == bytes);
      CHECK(nibble_test::code_of([&] { nibble::file_source(file + "-none"); }) ==
            nibble::error_code::file_not_found);
      const nibble::atomic_file first(file, 3);
      CHECK(nibble_test::code_of([&] { nibble::atomic_file(file, 3); }) ==
            nibble::error_code::already_being_written);
    }
    std::vector<std::string> found;
    nibble::system_calls::for_each_name(
        path_of_text(path), [&](std::string name, const auto&) { found.push_back(std::move(name)); });
    CHECK(found.size() == 2);
  }
  CHECK(path.size() > 400);
  std::error_code failure;
  nibble_test::remove_tree(folder.path(), failure);
  CHECK_FALSE(failure);
}
