#include <nibble/file/system_error.hpp>

#include <cerrno>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

TEST_CASE("a failed system call names file, call and the system's reason", "[system_error]") {
  const auto result = nibble_test::outcome_of([] {
    nibble::throw_system_error(nibble::error_code::write_failed, "some/file", "fsync", ENOSPC);
  });
  CHECK(result.code == "write_failed");
  CHECK(nibble_test::missing_parts(result.message, {"some/file", "fsync", "No space left"}).empty());
}
