#include <nibble/simd/avx2.hpp>

#include <cstddef>
#include <cstdint>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__AVX2__)

namespace {

namespace simd = nibble::simd;
using architecture = xsimd::avx2;
constexpr architecture own{};
const simd::any_architecture portable_twin(own);

TEST_CASE("avx2 widens every byte as the portable code does, at every offset", "[avx2]") {
  const auto bytes = nibble_test::all_bytes();
  nibble_test::require_same_loads<architecture>(
      bytes, 1, [](const std::byte* from) { return simd::load_unsigned_bytes(from, own, own); },
      [](const std::byte* from) { return simd::load_unsigned_bytes(from, own, portable_twin); });
  nibble_test::require_same_loads<architecture>(
      bytes, 1, [](const std::byte* from) { return simd::load_signed_bytes(from, own, own); },
      [](const std::byte* from) { return simd::load_signed_bytes(from, own, portable_twin); });
}

TEST_CASE("avx2 widens all 65,536 bfloat16 as the portable code does", "[avx2]") {
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_halves(), 2,
      [](const std::byte* from) { return simd::load_bfloat16(from, own, own); },
      [](const std::byte* from) { return simd::load_bfloat16(from, own, portable_twin); });
}

#if defined(__F16C__)

TEST_CASE("avx2 widens all 65,536 float16 as the portable code does, NaNs bit for bit", "[avx2]") {
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_halves(), 2,
      [](const std::byte* from) { return simd::load_float16(from, own, own); },
      [](const std::byte* from) { return simd::load_float16(from, own, portable_twin); });
}

TEST_CASE("avx2 rounds to float16 as the portable code does, around every boundary", "[avx2]") {
  nibble_test::require_same_stores<architecture>(
      [](const auto& values, std::byte* to) { simd::store_float16(values, to, own, own); },
      [](const auto& values, std::byte* to) { simd::store_float16(values, to, own, portable_twin); });
}

#endif

TEST_CASE("avx2 interleaves over the whole vector as the portable code does", "[avx2]") {
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_bytes(), 1,
      [](const std::byte* from) {
        return simd::interleave_low<architecture>(simd::load_unsigned_bytes(from, own, own),
                                                  simd::load_signed_bytes(from, own, own), own, own);
      },
      [](const std::byte* from) {
        return simd::interleave_low<architecture>(simd::load_unsigned_bytes(from, own, own),
                                                  simd::load_signed_bytes(from, own, own), own,
                                                  portable_twin);
      });
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_bytes(), 1,
      [](const std::byte* from) {
        return simd::interleave_high<architecture>(simd::load_unsigned_bytes(from, own, own),
                                                   simd::load_signed_bytes(from, own, own), own, own);
      },
      [](const std::byte* from) {
        return simd::interleave_high<architecture>(simd::load_unsigned_bytes(from, own, own),
                                                   simd::load_signed_bytes(from, own, own), own,
                                                   portable_twin);
      });
}

TEST_CASE("what runs on avx2 runs on the architectures above it", "[avx2]") {
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

TEST_CASE("avx2 takes blocks apart and multiplies them as the portable code does", "[avx2]") {
  nibble_test::require_block_operations<architecture>();
  nibble_test::require_panel_operations<architecture>();
#if defined(__FMA__)
  nibble_test::require_block_operations<xsimd::fma3<xsimd::avx2>>();
#endif
}

}  // namespace

#else

TEST_CASE("avx2 is passed by: this program is not compiled for it", "[avx2]") {
  WARN("passed by: compile with -mavx2 to test avx2");
}

#endif
