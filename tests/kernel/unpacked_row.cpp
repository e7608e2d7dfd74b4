#include <nibble/kernel/unpacked_row.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <nibble/core/tensor_view.hpp>

#include <codec/independent_decoder.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::tensor_view;

/// Every element of a weight, from what products with Value see, pass by pass.
template <class Architecture, class Codec, class Value>
void require_unpacked_rows(std::size_t cols) {
  constexpr std::size_t rows = 3;
  constexpr std::size_t most = 16;
  using row_type = kernel::weight_row<Codec, Value, most>;
  using block_tag = simd::block_architecture<Architecture>;
  const auto bytes = nibble_test::finite_stored_bytes(Codec::encoding, rows, cols, 7);
  const tensor_view w("w", Codec::encoding, {rows, cols}, bytes);
  const nibble_test::independent_decoder expected(nibble::to_string(Codec::encoding), bytes, cols);
  const std::size_t blocks = (cols + 31) / 32;
  constexpr float bias = kernel::code_bias<Codec, Value>();
  kernel::block_scales scales;
  alignas(64) std::array<std::byte, row_type::memory_bytes> memory;
  for (std::size_t r = 0; r < rows; ++r) {
    row_type row(w, r, memory.data());
    for (std::size_t first = 0; first < blocks; first += most) {
      const std::size_t count = std::min(most, blocks - first);
      row.template load_scales<Architecture>(w, {first, count}, bias, scales);
      for (std::size_t b = 0; b < count; ++b) {
        for (std::size_t i = 0; i < 32 && (first + b) * 32 + i < cols; ++i) {
          const std::size_t col = (first + b) * 32 + i;
          const std::byte* const codes = row.codes_of(first + b);
          double value = 0.0;
          double parts = expected.parts(r, col);
          if constexpr (row_type::is_decoded) {
            float decoded;
            std::memcpy(&decoded, codes + i * sizeof(float), sizeof(decoded));
            value = static_cast<double>(decoded);
          } else {
            const auto numbers = nibble_test::numbers_of(
                kernel::load_codes<block_tag, kernel::packing_of<Codec, Value>(), Value>(codes));
            const std::size_t at = b * row_type::scales_a_block + i * row_type::scales_a_block / 32;
            value = static_cast<double>(scales.scales[at]) * numbers[i];
            if (row_type::has_offsets(bias)) value += static_cast<double>(scales.offsets[at]);
            parts += std::fabs(static_cast<double>(bias * scales.scales[at])) * 2;
          }
          const auto wanted = static_cast<double>(expected(r, col));
          if (!(std::fabs(value - wanted) <= 0x1p-22 * parts)) {
            FAIL(nibble::to_string(Codec::encoding)
                 << " row " << r << " element " << col << ": " << value << " instead of " << wanted);
          }
        }
      }
      constexpr std::size_t padding = kernel::padding_blocks * row_type::scales_a_block;
      for (std::size_t b = count * row_type::scales_a_block; !row_type::is_decoded && b % padding != 0;
           ++b) {
        CHECK(scales.scales[b] == 0.0F);
        CHECK(scales.offsets[b] == 0.0F);
      }
    }
  }
}

template <class Architecture>
void check_unpacked_rows() {
  for (const std::size_t cols : {1U, 33U, 256U, 257U, 512U, 1000U}) {
    require_unpacked_rows<Architecture, nibble::q4_k, float>(cols);
    require_unpacked_rows<Architecture, nibble::q4_k, std::int16_t>(cols);
    require_unpacked_rows<Architecture, nibble::q4_k, std::int8_t>(cols);
    require_unpacked_rows<Architecture, nibble::q5_k, std::int16_t>(cols);
    require_unpacked_rows<Architecture, nibble::q5_0, float>(cols);
    require_unpacked_rows<Architecture, nibble::q5_0, std::int16_t>(cols);
    require_unpacked_rows<Architecture, nibble::q5_0, std::int8_t>(cols);
    require_unpacked_rows<Architecture, nibble::q5_1, std::int8_t>(cols);
    require_unpacked_rows<Architecture, nibble::iq4_xs, std::int16_t>(cols);
    require_unpacked_rows<Architecture, nibble::iq4_nl, std::int8_t>(cols);
    require_unpacked_rows<Architecture, nibble::mxfp4, float>(cols);
    require_unpacked_rows<Architecture, nibble::q6_k, float>(cols);
    require_unpacked_rows<Architecture, nibble::q3_k, float>(cols);
    require_unpacked_rows<Architecture, nibble::q6_k, std::int16_t>(cols);
    require_unpacked_rows<Architecture, nibble::q6_k, std::int8_t>(cols);
    require_unpacked_rows<Architecture, nibble::q2_k, std::int8_t>(cols);
    require_unpacked_rows<Architecture, nibble::q2_k, float>(cols);
  }
}

TEST_CASE("what is unpacked for products makes the weight's values", "[unpacked_row]") {
  SECTION("best architecture") { check_unpacked_rows<simd::best_architecture>(); }
  SECTION("portable") { check_unpacked_rows<simd::portable>(); }
}

}  // namespace
