#include <nibble/file/posix/file_descriptor.hpp>

#include <cerrno>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <support/catch.hpp>

using nibble::file_descriptor;

namespace {

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; }

}  // namespace

static_assert(!std::is_copy_constructible_v<file_descriptor>);
static_assert(!std::is_copy_assignable_v<file_descriptor>);

TEST_CASE("a descriptor is closed with its owner", "[file_descriptor]") {
  int number = -1;
  {
    const file_descriptor owner(open_null());
    number = owner.get();
    CHECK(owner.is_open());
    CHECK(is_open(number));
  }
  CHECK_FALSE(is_open(number));
}

TEST_CASE("no descriptor is not open, and closing it does nothing", "[file_descriptor]") {
  errno = 0;
  {
    const file_descriptor none;
    CHECK_FALSE(none.is_open());
    CHECK(none.get() == -1);
  }
  CHECK(errno == 0);
}

TEST_CASE("a moved descriptor has one owner", "[file_descriptor]") {
  file_descriptor first(open_null());
  const int number = first.get();
  {
    const file_descriptor second(std::move(first));
    CHECK(second.get() == number);
    CHECK_FALSE(first.is_open());  // NOLINT: what is left behind is the point
  }
  CHECK_FALSE(is_open(number));
}

TEST_CASE("descriptor 0 is one like any other", "[file_descriptor]") {
  const int saved = ::dup(0);
  if (saved < 0) return;  // without standard input, 0 may be anybody's
  {
    const file_descriptor standard_input(::dup2(saved, 0));
    CHECK(standard_input.is_open());
  }
  CHECK_FALSE(is_open(0));
  REQUIRE(::dup2(saved, 0) == 0);
  ::close(saved);
}

TEST_CASE("assigning a descriptor closes the former one at last", "[file_descriptor]") {
  int old_number = -1;
  int new_number = -1;
  {
    file_descriptor owner(open_null());
    old_number = owner.get();
    {
      file_descriptor other(open_null());
      new_number = other.get();
      owner = std::move(other);
    }
    CHECK_FALSE(is_open(old_number));
    CHECK(is_open(new_number));
    CHECK(owner.get() == new_number);
  }
  CHECK_FALSE(is_open(new_number));
}
