#include <nibble/file/system_error.hpp>

#include <cerrno>

#include <support/catch.hpp>
#include <support/outcome.hpp>

namespace {

#if defined(_WIN32)
constexpr const char* no_space_text =
    "isk";  // Windows: "There is not enough space on the disk.", wine: "Disk full."
#else
constexpr const char* no_space_text = "No space left";
#endif

}  // namespace

TEST_CASE("a failed system call names file, call and the system's reason", "[system_error]") {
  const auto result = nibble_test::outcome_of([] {
#if defined(_WIN32)
    constexpr int no_space = 112;
#else
    constexpr int no_space = ENOSPC;
#endif
    nibble::throw_system_error(nibble::error_code::write_failed, "some/file", "fsync", no_space);
  });
  CHECK(result.code == "write_failed");
  CHECK(nibble_test::missing_parts(result.message, {"some/file", "fsync", no_space_text}).empty());
}

TEST_CASE("what would have let a call succeed is told", "[system_error]") {
  const auto result = nibble_test::outcome_of([] {
    nibble::throw_system_error(nibble::error_code::write_failed, "some/file",
                               {.call = "rename", .reason = 5, .expected = "a file that nobody holds"});
  });
  CHECK(result.code == "write_failed");
  CHECK(nibble_test::missing_parts(result.message,
                                   {"some/file", "rename", "expected a file that nobody holds"})
            .empty());
}
