#include <nibble/simd/avx512.hpp>

#include <cstddef>
#include <cstdint>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__AVX512F__)

namespace {

namespace simd = nibble::simd;
using architecture = xsimd::avx512f;
constexpr architecture own{};
const simd::any_architecture portable_twin(own);

TEST_CASE("avx512 widens every byte as the portable code does, at every offset", "[avx512]") {
  const auto bytes = nibble_test::all_bytes();
  nibble_test::require_same_loads<architecture>(
      bytes, 1, [](const std::byte* from) { return simd::load_unsigned_bytes(from, own, own); },
      [](const std::byte* from) { return simd::load_unsigned_bytes(from, own, portable_twin); });
  nibble_test::require_same_loads<architecture>(
      bytes, 1, [](const std::byte* from) { return simd::load_signed_bytes(from, own, own); },
      [](const std::byte* from) { return simd::load_signed_bytes(from, own, portable_twin); });
}

TEST_CASE("avx512 widens all 65,536 bfloat16 as the portable code does", "[avx512]") {
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_halves(), 2,
      [](const std::byte* from) { return simd::load_bfloat16(from, own, own); },
      [](const std::byte* from) { return simd::load_bfloat16(from, own, portable_twin); });
}

TEST_CASE("avx512 widens all 65,536 float16 as the portable code does, NaNs bit for bit", "[avx512]") {
  nibble_test::require_same_loads<architecture>(
      nibble_test::all_halves(), 2,
      [](const std::byte* from) { return simd::load_float16(from, own, own); },
      [](const std::byte* from) { return simd::load_float16(from, own, portable_twin); });
}

TEST_CASE("avx512 rounds to float16 as the portable code does, around every boundary", "[avx512]") {
  nibble_test::require_same_stores<architecture>(
      [](const auto& values, std::byte* to) { simd::store_float16(values, to, own, own); },
      [](const auto& values, std::byte* to) { simd::store_float16(values, to, own, portable_twin); });
}

TEST_CASE("avx512 interleaves over the whole vector as the portable code does", "[avx512]") {
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

TEST_CASE("what runs on avx512 runs on the architectures above it", "[avx512]") {
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

#if defined(__AVX512BW__)

TEST_CASE("avx512 multiplies panels as the portable code does", "[avx512]") {
  nibble_test::require_panel_operations<xsimd::avx512bw>();
}

#endif

}  // namespace

#else

TEST_CASE("avx512 is passed by: this program is not compiled for it", "[avx512]") {
  WARN("passed by: compile with -mavx512f to test avx512");
}

#endif
