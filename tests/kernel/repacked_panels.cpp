#include <nibble/kernel/repacked_panels.hpp>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <nibble/kernel/lane_row_products.hpp>

#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::tensor_view;

template <class Architecture, class Codec, class Value>
nibble::repacked_panels repacked(const tensor_view& w) {
  const auto source = kernel::code_panel_source_of<Architecture, Codec, Value>();
  const auto codes = kernel::stored_codes_of<Architecture, Codec, Value>();
  nibble::repacked_panels panels =
      kernel::allocate_panels<Architecture, Value>(w, codes, source.has_offsets, nullptr);
  // In any order: the last one first.
  for (std::size_t i = panels.panels; i > 0; --i) kernel::store_panel(source, codes, w, i - 1, panels);
  return panels;
}

template <class Architecture, class Codec, class Value>
void check_repacked_panel(std::size_t m, std::size_t k) {
  nibble_test::require_kernel_products<Architecture, Codec, Value>(
      m, k, {kernel::activation_order_of<Codec>(), 1}, kernel::code_tile_rows<Architecture>,
      [](const tensor_view& w, std::uint64_t first, std::size_t count, const auto&,
         const auto& prepared, kernel::product_output y) {
        // A task starts at a panel's start: what is repacked are the rows that are asked for.
        const tensor_view rows = w.rows(first, count);
        y.y += first;
        kernel::multiply_repacked<Architecture>(repacked<Architecture, Codec, Value>(rows), {0, count},
                                                prepared, y);
      });
}

template <class Architecture>
void check_repacked_panels() {
  for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 6U, 8U, 13U}) {
    for (const std::size_t k : {1U, 256U, 1055U, 2100U}) {
      check_repacked_panel<Architecture, nibble::q4, std::int16_t>(m, k);
      check_repacked_panel<Architecture, nibble::q4, std::int8_t>(m, k);
      check_repacked_panel<Architecture, nibble::q4_k, std::int16_t>(m, k);
      check_repacked_panel<Architecture, nibble::q4_k, std::int8_t>(m, k);
      check_repacked_panel<Architecture, nibble::q4_0, std::int8_t>(m, k);
      check_repacked_panel<Architecture, nibble::q5_k, std::int16_t>(m, k);
      check_repacked_panel<Architecture, nibble::q2_k, std::int16_t>(m, k);
      check_repacked_panel<Architecture, nibble::q2_k, std::int8_t>(m, k);
      check_repacked_panel<Architecture, nibble::q3_k, std::int16_t>(m, k);
      check_repacked_panel<Architecture, nibble::q3_k, std::int8_t>(m, k);
      check_repacked_panel<Architecture, nibble::q6_k, std::int16_t>(m, k);
      if constexpr (simd::multiplies_any_byte<Architecture>) {
        check_repacked_panel<Architecture, nibble::q8_0, std::int8_t>(m, k);
        check_repacked_panel<Architecture, nibble::q8, std::int8_t>(m, k);
        check_repacked_panel<Architecture, nibble::q5_k, std::int8_t>(m, k);
        check_repacked_panel<Architecture, nibble::q5_0, std::int8_t>(m, k);
        check_repacked_panel<Architecture, nibble::q6_k, std::int8_t>(m, k);
      }
      check_repacked_panel<Architecture, nibble::q5_0, std::int16_t>(m, k);
      check_repacked_panel<Architecture, nibble::q8, std::int16_t>(m, k);
    }
  }
}

TEST_CASE("products of repacked panels lie within their bound, for few rows and several passes",
          "[repacked_panels]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    check_repacked_panels<simd::integer_architecture<Architecture>>();
  });
  SUCCEED("every number of rows");
}

TEST_CASE("panels are as large as their rows and blocks, and aligned", "[repacked_panels]") {
  using panel_architecture = simd::integer_architecture<simd::best_architecture>;
  constexpr std::size_t width = simd::lanes<panel_architecture>;
  for (const std::size_t n : {1U, 15U, 16U, 17U, 33U}) {
    for (const std::size_t k : {1U, 32U, 33U, 1055U}) {
      const auto bytes = nibble_test::finite_stored_bytes(nibble::encoding::q4, n, k, 1);
      const tensor_view w("w", nibble::encoding::q4, {n, k}, bytes);
      const auto panels = repacked<panel_architecture, nibble::q4, std::int8_t>(w);
      const std::size_t blocks = k / 32 + (k % 32 != 0 ? 1 : 0);
      const std::size_t count = n / width + (n % width != 0 ? 1 : 0);
      // 32 nibbles, a scale and an offset for each row of a panel.
      constexpr std::size_t scale_bytes = width >= 8 ? 2 : 4;
      CHECK(panels.panels == count);
      CHECK(panels.memory.bytes().size() == count * width * blocks * (16 + 2 * scale_bytes));
      CHECK(panels.memory.bytes().size() == count * panels.panel_bytes());
      CHECK(reinterpret_cast<std::uintptr_t>(panels.memory.bytes().data()) % 64 == 0);
    }
  }
}

/// Panels of rows of 256 codes, for each of which they keep so many bytes.
template <class Codec>
void check_bytes_of_units(std::size_t super_block_bytes) {
  using panel_architecture = simd::integer_architecture<simd::best_architecture>;
  constexpr std::size_t width = simd::lanes<panel_architecture>;
  for (const std::size_t k : {32U, 256U, 300U, 1024U}) {
    const auto bytes = nibble_test::finite_stored_bytes(Codec::encoding, width, k, 1);
    const tensor_view w("w", Codec::encoding, {width, k}, bytes);
    const auto panels = repacked<panel_architecture, Codec, std::int16_t>(w);
    CAPTURE(nibble::to_string(Codec::encoding), k);
    CHECK(panels.memory.bytes().size() == width * ((k + 255) / 256) * super_block_bytes);
  }
}

TEST_CASE("blocks that share units are kept in little more than the weight has", "[repacked_panels]") {
  // Codes, numbers, and two f16 or room for them.
  check_bytes_of_units<nibble::q2_k>(64 + 16 + 4);
  check_bytes_of_units<nibble::q3_k>(96 + 16 + 4);
  check_bytes_of_units<nibble::q4_k>(128 + 16 + 4);
  check_bytes_of_units<nibble::q5_k>(160 + 16 + 4);
  check_bytes_of_units<nibble::q6_k>(192 + 16 + 4);
}

template <class Codec>
std::vector<std::byte> bytes_of(std::size_t n, std::size_t k, bool has_wild_scales) {
  auto bytes =
      nibble_test::finite_stored_bytes(Codec::encoding, n, k, static_cast<std::uint32_t>(n + k));
  if (has_wild_scales) {
    // Any bits may be scales: subnormal ones, infinities and NaN stay what they are.
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] ^= static_cast<std::byte>(i * 41 % 251);
  }
  return bytes;
}

/// The products of one row of activations by(prepared activations, output).
template <class Architecture, class Value, class Multiply>
std::vector<float> products_of(std::size_t n, std::size_t k, const kernel::activation_layout& layout,
                               std::size_t tile_rows, const Multiply& by) {
  const auto x = nibble_test::gaussian(k, 7, 1.0F);
  std::vector<std::byte> memory(kernel::prepared_row_bytes<Value>(k) + 64);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
  const auto prepared =
      kernel::place_activations<Value>(memory.data() + (64 - misaligned) % 64, 1, tile_rows, k);
  kernel::prepare_row<Architecture>(x.data(), k, layout, 0, prepared);
  std::vector<float> y(n);
  by(prepared, kernel::product_output{y.data(), n, nullptr});
  return y;
}

void require_same_bits(const std::vector<float>& expected, const std::vector<float>& found) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i]) && std::isnan(found[i])) continue;
    if (std::bit_cast<std::uint32_t>(expected[i]) != std::bit_cast<std::uint32_t>(found[i]))
      FAIL("output " << i << ": " << expected[i] << " and " << found[i]);
  }
}

/// Products of repacked panels are the same bits as those of blocks as they are stored, a lane a row.
template <class Architecture, class Codec, class Value>
void check_same_bits(std::size_t n, std::size_t k, bool has_wild_scales) {
  const auto bytes = bytes_of<Codec>(n, k, has_wild_scales);
  const tensor_view w("w", Codec::encoding, {n, k}, bytes);
  const auto in_place = products_of<Architecture, Value>(
      n, k, kernel::lane_row_layout<Codec, Value>(),
      kernel::lane_row_tile_rows<Architecture, Codec, Value>(),
      [&](const auto& prepared, const kernel::product_output& y) {
        kernel::multiply_lane_rows<Architecture, Codec, Value>(w, {0, n}, prepared.tile(0), y);
      });
  const auto panels = repacked<Architecture, Codec, Value>(w);
  const auto from_panels = products_of<Architecture, Value>(
      n, k, {kernel::activation_order_of<Codec>(), 1}, kernel::code_tile_rows<Architecture>,
      [&](const auto& prepared, const kernel::product_output& y) {
        kernel::multiply_repacked<Architecture>(panels, {0, n}, prepared, y);
      });
  CAPTURE(nibble::to_string(Codec::encoding), n, k, has_wild_scales);
  require_same_bits(in_place, from_panels);
}

/// The same of blocks that share units, beside panels whose scales are f32. Of rows that fit one panel:
/// sums of longer ones are rounded in another order.
template <class Architecture, class Codec, class Value>
void check_same_bits_of_numbers(std::size_t n, std::size_t k, bool has_wild_scales) {
  const auto bytes = bytes_of<Codec>(n, k, has_wild_scales);
  const tensor_view w("w", Codec::encoding, {n, k}, bytes);
  const auto multiply = [&](const auto& by) {
    return products_of<Architecture, Value>(n, k, {kernel::activation_order_of<Codec>(), 1},
                                            kernel::code_tile_rows<Architecture>, by);
  };
  const auto source = kernel::code_panel_source_of<Architecture, Codec, Value>();
  const auto in_place = multiply([&](const auto& prepared, const kernel::product_output& y) {
    kernel::multiply_code_panels<Architecture>(source, w, {0, n}, prepared, y);
  });
  const auto panels = repacked<Architecture, Codec, Value>(w);
  REQUIRE(panels.has_units());
  const auto from_panels = multiply([&](const auto& prepared, const kernel::product_output& y) {
    kernel::multiply_repacked<Architecture>(panels, {0, n}, prepared, y);
  });
  CAPTURE(nibble::to_string(Codec::encoding), n, k, has_wild_scales);
  require_same_bits(in_place, from_panels);
}

TEST_CASE("repacking changes no bit of a product, whatever bits the scales are", "[repacked_panels]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    using tag = simd::integer_architecture<Architecture>;
    for (const bool is_wild : {false, true}) {
      for (const std::size_t n : {1U, 16U, 37U}) {
        for (const std::size_t k : {32U, 576U, 1056U}) {
          check_same_bits<tag, nibble::q4, std::int8_t>(n, k, is_wild);
          check_same_bits<tag, nibble::q4_0, std::int8_t>(n, k, is_wild);
          check_same_bits<tag, nibble::q4_1, std::int8_t>(n, k, is_wild);
          check_same_bits<tag, nibble::q8, std::int16_t>(n, k, is_wild);
          if constexpr (simd::multiplies_any_byte<tag>) {
            check_same_bits<tag, nibble::q8, std::int8_t>(n, k, is_wild);
            check_same_bits<tag, nibble::q8_0, std::int8_t>(n, k, is_wild);
          }
        }
        for (const std::size_t k : {32U, 256U, 544U, 1024U}) {
          check_same_bits_of_numbers<tag, nibble::q4_k, std::int8_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q4_k, std::int16_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q5_k, std::int16_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q2_k, std::int8_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q2_k, std::int16_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q3_k, std::int8_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q3_k, std::int16_t>(n, k, is_wild);
          check_same_bits_of_numbers<tag, nibble::q6_k, std::int16_t>(n, k, is_wild);
          if constexpr (simd::multiplies_any_byte<tag>) {
            check_same_bits_of_numbers<tag, nibble::q5_k, std::int8_t>(n, k, is_wild);
            check_same_bits_of_numbers<tag, nibble::q6_k, std::int8_t>(n, k, is_wild);
          }
        }
      }
    }
  });
  SUCCEED("every architecture");
}

}  // namespace
