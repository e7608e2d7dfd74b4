#include <nibble/kernel/stored_row.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/core/tensor_view.hpp>

#include <codec/independent_decoder.hpp>
#include <simd/every_architecture.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::tensor_view;

/// Every element of a weight, from the codes, scales and offsets that products with Value see.
template <class Architecture, class Codec, class Value>
void require_stored_values(std::size_t cols) {
  constexpr std::size_t rows = 5;
  using block_tag = simd::block_architecture<Architecture>;
  const auto bytes = nibble_test::finite_stored_bytes(Codec::encoding, rows, cols, 7);
  const tensor_view w("w", Codec::encoding, {rows, cols}, bytes);
  const nibble_test::independent_decoder expected(nibble::to_string(Codec::encoding), bytes, cols);
  REQUIRE(kernel::rows_are_blocks<Codec>(w));
  const std::size_t blocks = (cols + 31) / 32;
  constexpr float bias = kernel::code_bias<Codec, Value>();
  kernel::block_scales scales;
  std::array<std::byte, kernel::stored_row<Codec>::memory_bytes + 1> memory;
  for (std::size_t r = 0; r < rows; ++r) {
    const kernel::stored_row<Codec> row(w, r, memory.data());
    row.template load_scales<Architecture>(w, {0, blocks}, bias, scales);
    for (std::size_t b = 0; b < blocks; ++b) {
      const auto codes = nibble_test::numbers_of(
          kernel::load_codes<block_tag, Codec::packing, Value>(row.codes_of(b)));
      for (std::size_t i = 0; i < 32 && b * 32 + i < cols; ++i) {
        const bool is_natural =
            kernel::activation_order_of<Codec>() == kernel::activation_order::natural;
        const std::size_t place = is_natural ? i : i / 2 + i % 2 * 16;
        double value = static_cast<double>(scales.scales[b]) * codes[place];
        if (kernel::stored_row<Codec>::has_offsets(bias))
          value += static_cast<double>(scales.offsets[b]);
        const double wanted = static_cast<double>(expected(r, b * 32 + i));
        const double parts =
            expected.parts(r, b * 32 + i) + std::fabs(bias * static_cast<double>(scales.scales[b])) * 2;
        if (!(std::fabs(value - wanted) <= 0x1p-22 * parts)) {
          FAIL(nibble::to_string(Codec::encoding) << " row " << r << " element " << b * 32 + i << ": "
                                                  << value << " instead of " << wanted);
        }
      }
    }
    for (std::size_t b = blocks; b % kernel::padding_blocks != 0; ++b) CHECK(scales.scales[b] == 0.0F);
  }
}

template <class Architecture>
void check_stored_rows() {
  for (const std::size_t cols : {1U, 31U, 32U, 33U, 512U, 1000U}) {
    require_stored_values<Architecture, nibble::q8, std::int16_t>(cols);
    require_stored_values<Architecture, nibble::q8, std::int8_t>(cols);
    require_stored_values<Architecture, nibble::q4, std::int16_t>(cols);
    require_stored_values<Architecture, nibble::q4, std::int8_t>(cols);
    require_stored_values<Architecture, nibble::apr_q8, std::int16_t>(cols);
    require_stored_values<Architecture, nibble::apr_q8, std::int8_t>(cols);
    if (cols % 32 != 0) continue;
    require_stored_values<Architecture, nibble::apr_q4, std::int16_t>(cols);
    require_stored_values<Architecture, nibble::apr_q4, std::int8_t>(cols);
  }
}

TEST_CASE("codes, scales and offsets of blocks make the weight's values", "[stored_row]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_stored_rows<Architecture>(); });
}

}  // namespace
