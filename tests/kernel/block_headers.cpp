#include <nibble/kernel/block_headers.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codecs.hpp>
#include <nibble/simd/simd.hpp>

#include <core/independent_halves.hpp>
#include <simd/every_architecture.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

double half_at(const std::byte* from) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
  return nibble_test::value_of(nibble_test::binary16, bits);
}

/// Scales and offsets of blocks, read by an independent decoder of float16. Fewer blocks than lanes end
/// where their memory does.
template <class Architecture, class Codec>
void require_scales(float code_bias, double zero) {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t block_bytes = sizeof(typename Codec::block);
  const auto bytes = nibble_test::finite_stored_bytes(Codec::encoding, width, 32, 41);
  for (std::size_t count = 0; count <= width; ++count) {
    const auto headers =
        count == width ? kernel::load_headers<Architecture, block_bytes>(bytes.data())
                       : kernel::load_partial_headers<Architecture, block_bytes>(bytes.data(), count);
    std::array<float, width> scales;
    std::array<float, width> offsets;
    kernel::store_scales_from_headers<Architecture, Codec>(headers, code_bias, scales.data(),
                                                           offsets.data());
    for (std::size_t i = 0; i < width; ++i) {
      const std::byte* const block = bytes.data() + i * block_bytes;
      const double scale = i < count ? half_at(block) : 0.0;
      const double min = i < count && Codec::has_min ? half_at(block + 2) : 0.0;
      const double offset = min - scale * (static_cast<double>(code_bias) + zero);
      CHECK(static_cast<double>(scales[i]) == scale);
      CHECK(static_cast<double>(offsets[i]) == static_cast<double>(static_cast<float>(offset)));
    }
  }
}

TEST_CASE("headers of blocks are scales and offsets, and zeros where there is no block",
          "[block_headers]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    require_scales<Architecture, nibble::q4>(0.0F, 0.0);
    require_scales<Architecture, nibble::q8>(0.0F, 0.0);
    require_scales<Architecture, nibble::apr_q4>(0.0F, 8.0);
    require_scales<Architecture, nibble::q8>(128.0F, 0.0);
  });
}

}  // namespace
