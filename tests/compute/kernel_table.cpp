#include <nibble/compute/kernel_table.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <support/catch.hpp>
#include <support/errors.hpp>

namespace {

using nibble::kernel_table;
using nibble::simd::cpu_feature_set;

/// Kernels that nobody calls.
kernel_table table(const char* name, std::uint64_t needs) {
  kernel_table out{};
  out.name = name;
  out.needs = {needs};
  return out;
}

const kernel_table best_table = table("best", 0b1011);
const kernel_table other_table = table("other", 0b0110);
const kernel_table least = table("least", 0);
const std::array<const kernel_table*, 3> tables = {&best_table, &other_table, &least};

std::string_view picked(std::uint64_t available, std::string_view forced) {
  return nibble::pick_kernels(tables, cpu_feature_set{available}, forced).name;
}

TEST_CASE("the best kernels are picked of which the machine has every need", "[kernel_table]") {
  CHECK(picked(0b1111, "") == "best");
  CHECK(picked(0b1011, "") == "best");
  CHECK(picked(0b0111, "") == "other");
  CHECK(picked(0b0011, "") == "least");
  CHECK(picked(0, "") == "least");
}

TEST_CASE("kernels are forced by name where the machine can run them", "[kernel_table]") {
  CHECK(picked(0b1111, "best") == "best");
  CHECK(picked(0b1111, "other") == "other");
  CHECK(picked(0b1111, "least") == "least");
}

TEST_CASE("a name that is unknown or beyond the machine is refused", "[kernel_table]") {
  const auto refusal_of = [](std::uint64_t available, std::string_view forced) {
    const auto refusal = nibble_test::error_of([&] { static_cast<void>(picked(available, forced)); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->code() == nibble::error_code::unsupported_architecture);
    return std::string(refusal->what());
  };
  CHECK(refusal_of(0b1111, "BEST") ==
        "NIBBLE_ARCH: unsupported_architecture: found 'BEST', expected one of best, other, least");
  CHECK(refusal_of(0b0110, "x\n") ==
        "NIBBLE_ARCH: unsupported_architecture: found 'x\\x0a', expected one of other, least");
  const std::string beyond = refusal_of(0, "other");
  CHECK(beyond.find("found 'other' (this machine lacks") != std::string::npos);
  CHECK(beyond.find("expected one of least") != std::string::npos);
  const auto none = nibble_test::error_of([] {
    static_cast<void>(nibble::pick_kernels(std::span(tables).first(2), cpu_feature_set{}, ""));
  });
  REQUIRE(none.has_value());
  CHECK(none->code() == nibble::error_code::unsupported_architecture);
}

}  // namespace
