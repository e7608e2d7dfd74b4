#include <nibble/core/when_used.hpp>

#include <cstddef>
#include <type_traits>

#include <support/catch.hpp>

namespace {

using nibble::when_used;

/// What a header declares; this test specializes it behind those who use it.
template <class Thing>
int sides_of() {
  return -1;
}
struct triangle {};
struct square {};

// As a plain function this would fix sides_of<triangle>() here, and the specialization below would be
// refused.
template <class = when_used>
int sides_of_triangle() {
  return sides_of<triangle>();
}

class shape_counter {
 public:
  template <class = when_used>
  [[nodiscard]] int count() const {
    return sides_of<square>() * squares_;
  }

 private:
  int squares_ = 2;
};

template <>
int sides_of<triangle>() {
  return 3;
}
template <>
int sides_of<square>() {
  return 4;
}

/// Compiles for nothing.
template <class Thing>
std::size_t bytes_behind(const Thing& thing) {
  static_assert(sizeof(Thing) == 0);
  return thing.bytes_that_it_has_not();
}

template <class = when_used>
std::size_t never_called() {
  return bytes_behind(1);
}

}  // namespace

TEST_CASE("a body is compiled where it is called, and sees what stands before the call",
          "[when_used]") {
  CHECK(sides_of_triangle() == 3);
  CHECK(shape_counter().count() == 8);
}

TEST_CASE("a body that is never called is never compiled", "[when_used]") {
  // Named and not called: its type is known, its body is not looked into.
  STATIC_REQUIRE(std::is_same_v<decltype(never_called()), std::size_t>);
  STATIC_REQUIRE(std::is_empty_v<when_used>);
}
