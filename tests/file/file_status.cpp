#include <nibble/file/file_status.hpp>

#include <string>

#include <support/catch.hpp>

TEST_CASE("messages say in words what a path is", "[file_status]") {
  CHECK(std::string(to_string(nibble::file_type::regular)) == "a regular file");
  CHECK(std::string(to_string(nibble::file_type::folder)) == "a directory");
  CHECK(std::string(to_string(nibble::file_type::special)) == "a special file");
  CHECK(nibble::file_status().type == nibble::file_type::special);
}
