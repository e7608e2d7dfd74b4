#include <nibble/kernel/float_panel.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

#include <codec/independent_decoder.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::encoding;
using nibble::tensor_view;

/// A panel of every encoding holds what decoding gives, bit for bit, row by row in lanes, and zeros in
/// lanes without a row.
template <class Architecture>
void check_panels() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t most = kernel::float_panel_cols<Architecture>;
  std::vector<float> panel(most * width);
  for (const encoding which : nibble_test::decodable_encodings) {
    for (const std::size_t k : {1U, 31U, 64U, 513U, 800U}) {
      constexpr std::size_t rows = 2 * width - 3;
      const auto bytes = nibble_test::finite_stored_bytes(which, rows, k, 11);
      const nibble_test::independent_decoder expected(nibble::to_string(which), bytes, k);
      const tensor_view w("w", which, {rows, k}, bytes);
      const auto source = kernel::float_panel_source_of<Architecture>(w);
      for (const std::size_t first_row : {std::size_t{0}, width}) {
        const std::size_t lanes = std::min(width, rows - first_row);
        for (std::size_t first = 0; first < k; first += most) {
          const std::size_t count = std::min(most, k - first);
          kernel::fill_panel(source, w, {first_row, lanes}, {first, count}, {panel.data(), width});
          for (std::size_t i = 0; i < count * width; ++i) {
            const std::size_t row = i % width;
            const float wanted = row < lanes ? expected(first_row + row, first + i / width) : 0.0F;
            // A lane of nothing may be -0, and so may scale * 0 where an offset was taken off.
            if (panel[i] != wanted) {
              FAIL(nibble::to_string(which)
                   << " K " << k << " row " << first_row + row << " column " << first + i / width
                   << ": " << panel[i] << " instead of " << wanted);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a panel of floats holds decoded rows in its lanes", "[float_panel]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_panels<Architecture>(); });
  SUCCEED("every encoding");
}

}  // namespace
