#include <nibble/simd/sse2.hpp>

#include <cstddef>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <support/catch.hpp>

#if defined(__SSE2__)

namespace {

namespace simd = nibble::simd;
using architecture = xsimd::sse2;
constexpr architecture own{};
const simd::any_architecture portable_twin(own);

TEST_CASE("sse2 interleaves as the portable code does", "[sse2]") {
  // sse2 has no loads of its own: both vectors come from the portable ones.
  const auto bytes = [](const std::byte* from) {
    return simd::load_unsigned_bytes(from, own, portable_twin);
  };
  const auto signs = [](const std::byte* from) {
    return simd::load_signed_bytes(from, own, portable_twin);
  };
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_bytes(), 1,
      [&](const std::byte* from) {
        return simd::interleave_low<architecture>(bytes(from), signs(from), own, own);
      },
      [&](const std::byte* from) {
        return simd::interleave_low<architecture>(bytes(from), signs(from), own, portable_twin);
      });
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_bytes(), 1,
      [&](const std::byte* from) {
        return simd::interleave_high<architecture>(bytes(from), signs(from), own, own);
      },
      [&](const std::byte* from) {
        return simd::interleave_high<architecture>(bytes(from), signs(from), own, portable_twin);
      });
}

}  // namespace

#else

TEST_CASE("sse2 is passed by: this program is not compiled for it", "[sse2]") {
  WARN("passed by: compile with -msse2 to test sse2");
}

#endif
