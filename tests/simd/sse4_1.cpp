#include <nibble/simd/sse4_1.hpp>

#include <cstddef>
#include <cstdint>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <support/catch.hpp>

#if defined(__SSE4_1__)

namespace {

namespace simd = nibble::simd;
using architecture = xsimd::sse4_1;
constexpr architecture own{};
const simd::any_architecture portable_twin(own);

TEST_CASE("sse4_1 widens every byte as the portable code does, at every offset", "[sse4_1]") {
  const auto bytes = nibble_test::all_bytes();
  nibble_test::require_same_loads<architecture>(
      bytes, 1, [](const std::byte* from) { return simd::load_unsigned_bytes(from, own, own); },
      [](const std::byte* from) { return simd::load_unsigned_bytes(from, own, portable_twin); });
  nibble_test::require_same_loads<architecture>(
      bytes, 1, [](const std::byte* from) { return simd::load_signed_bytes(from, own, own); },
      [](const std::byte* from) { return simd::load_signed_bytes(from, own, portable_twin); });
}

TEST_CASE("what runs on sse4_1 runs on the architectures above it", "[sse4_1]") {
  // The operations are found through the tags' bases; a lane count that disagrees would not compile.
  using best = simd::best_architecture;
  const auto bytes = nibble_test::all_bytes();
  nibble_test::require_same_loads<best>(
      bytes, 1, [](const std::byte* from) { return simd::load_unsigned_bytes(from, best{}, best{}); },
      [](const std::byte* from) {
        return simd::load_unsigned_bytes(from, best{}, simd::any_architecture(best{}));
      });
  nibble_test::require_same_loads<best>(
      bytes, 1, [](const std::byte* from) { return simd::load_signed_bytes(from, best{}, best{}); },
      [](const std::byte* from) {
        return simd::load_signed_bytes(from, best{}, simd::any_architecture(best{}));
      });
}

}  // namespace

#else

TEST_CASE("sse4_1 is passed by: this program is not compiled for it", "[sse4_1]") {
  WARN("passed by: compile with -msse4.1 to test sse4_1");
}

#endif
