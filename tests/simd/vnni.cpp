#include <nibble/simd/vnni.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/simd/simd.hpp>

#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if (defined(__AVX512VNNI__) && defined(__AVX512VL__)) || defined(__AVXVNNI__)

namespace {

namespace simd = nibble::simd;

/// Bytes of 255 times bytes of +-127: 16-bit sums of them would saturate.
template <class Architecture>
void check_ends() {
  constexpr Architecture own{};
  static_assert(simd::multiplies_any_byte<Architecture>);
  using bytes = simd::vector<std::uint8_t, Architecture>;
  for (const int activation : {127, -127}) {
    std::array<std::int8_t, 4> quad;
    quad.fill(static_cast<std::int8_t>(activation));
    simd::quad_sums<Architecture> sums(0);
    for (int turn = 0; turn < 8; ++turn) {
      sums = simd::add_quads<Architecture>(sums, bytes(255), quad.data(), own, own);
    }
    for (const std::int32_t lane :
         nibble_test::numbers_of(simd::total_of_quads<Architecture>(sums, own, own)))
      CHECK(lane == 8 * 4 * 255 * activation);
  }
}

TEST_CASE("vnni multiplies any bytes without saturating", "[vnni]") {
  check_ends<xsimd::avx2>();
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
  check_ends<xsimd::avx512bw>();
#endif
}

}  // namespace

#else

TEST_CASE("vnni is passed by: this program is not compiled for it", "[vnni]") {
  WARN("passed by: compile with -mavx512vnni -mavx512vl, or -mavxvnni, to test vnni");
}

#endif
