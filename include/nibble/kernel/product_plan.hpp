#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/bit_code_products.hpp>
#include <nibble/kernel/code_panel_products.hpp>
#include <nibble/kernel/float_panel_products.hpp>
#include <nibble/kernel/interleaved_row_products.hpp>
#include <nibble/kernel/lane_row_products.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/repacked_panels.hpp>
#include <nibble/kernel/small_batch_products.hpp>
#include <nibble/kernel/super_block_products.hpp>
#include <nibble/simd/simd.hpp>

// The one place where the way to multiply is chosen, by mode, encoding and rows of activations:
//
//   few rows (most_lane_rows)    lane-row products, of encodings whose blocks have their header before
//                                whole codes; of interleaved rows quantized ones of any number
//   exact, up to 15 rows         small-batch products: each block is unpacked once for all rows
//   int8, 4 rows and more        panels of bf16, of bf16 where the processor multiplies them
//   exact, more                  float panels: decoding once for all rows costs less than a pass for
//                                every 15 of them; of f32, f16 and bf16 from 20 rows on
//   int16 (int8), up to 15 (12)  products of bit codes where codes have their bits in several places, else
//                                small-batch products of codes
//   int8, the same, AVX-512 VNNI products of super-blocks, of k-quants
//   int16 and int8, more         code panels; of encodings without any, the same as before. With AVX-512 those
//                                of encodings that have lane-row products follow them
//   int16 and int8, repacked     repacked panels, for up to most_repacked_rows rows
//
// Float panels alone are there for apr_q4 whose rows do not start where blocks do (cols no multiple of
// 32), for f64 and integer weights, and for ScalarCodecs.

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The loops that compute a product, each in a file of its name.
enum class product_kernel : std::uint8_t {
  lane_rows,
  small_batch,
  bit_codes,
  super_blocks,
  code_panels,
  repacked_panels,
  float_panels
};

/// How activations are laid out for a kernel.
struct activation_plan {
  activation_format format = activation_format::f32_blocks;
  activation_layout layout{};
  std::size_t tile_rows = 0;  ///< the most rows that are multiplied together
  friend bool operator==(const activation_plan&, const activation_plan&) = default;
};

/// How one product is computed. Products with equal activation plans share prepared activations.
struct product_plan {
  activation_plan activations{};
  product_kernel kernel = product_kernel::float_panels;
  friend bool operator==(const product_plan&, const product_plan&) = default;
};

/// Rows of activations from which panels beat small-batch products. Measured: a panel costs a pass over
/// its weights, which pays from here on; of float weights, that have to be transposed and not just
/// unpacked, later (20 is in between: 16 to 24 with AVX-512 and AVX2, in cache and out of it).
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr std::size_t least_panel_rows() noexcept {
  if constexpr (std::same_as<Value, float>) return PlainCodec<Codec> ? 20 : 16;
  return std::same_as<Value, std::int8_t> ? 13 : 16;
}
/// The most rows of f32 that are prepared in blocks, for any encoding and instruction set: those of lane-row
/// products with AVX-512.
inline constexpr std::size_t most_float_rows = 32;
static_assert(most_float_rows >= least_panel_rows<f32, float>() - 1 &&
              most_float_rows >= most_lane_rows<simd::best_architecture, q4, float>() &&
              most_float_rows >= most_lane_rows<simd::best_architecture, q4_r8, float>());

/// Rows of activations from which panels of bf16 beat small-batch products of f32, where the processor
/// multiplies bf16.
inline constexpr std::size_t least_bfloat16_rows = 4;

/// The most rows of activations that repacked panels are used for. Measured: words are taken out of five
/// or six bits, or fewer than four, anew for every tile, and from these rows on panels are faster that are
/// filled once for all of them.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr std::size_t most_repacked_rows() noexcept {
  constexpr panel_code_bits bits = panel_bits_of<Codec>();
  if constexpr (std::same_as<Value, std::int8_t> || (bits.high == 0 && bits.low >= 4)) {
    return std::numeric_limits<std::size_t>::max();
  }
  return simd::lanes<Architecture> >= 16 ? 31 : 19;
}

/// Encodings that have small-batch products of f32 activations.
template <Codec Codec>
[[nodiscard]] constexpr bool has_small_batch_products() noexcept {
  if constexpr (PlainCodec<Codec>) return Codec::can_pack;
  return !ScalarCodec<Codec>;
}

/// Whether repacked panels are those that this architecture multiplies with Value. Null: there are
/// none.
template <class Architecture, Activation Value>
[[nodiscard]] bool suits_kernels(const repacked_panels* panels) noexcept {
  return panels != nullptr && panels->lanes == simd::lanes<simd::integer_architecture<Architecture>> &&
         panels->lane_code_bytes == sizeof(Value);
}

/// The plan for a weight whose rows_are_blocks, and `x_rows` rows of activations; where float panels
/// are best, `float_panels`. `repacked` was made for the same mode, or is null.
template <class Architecture, Codec Codec>
[[nodiscard]] product_plan choose_block_plan(const tensor_view& weight, std::size_t x_rows,
                                             matmul_mode mode, const repacked_panels* repacked,
                                             const product_plan& float_panels) noexcept {
  using block_architecture = simd::block_architecture<Architecture>;
  using integer_architecture = simd::integer_architecture<Architecture>;
  const auto lane_rows = []<class LaneArchitecture, Activation Value>(LaneArchitecture,
                                                                      Value) -> product_plan {
    return {{block_format_of<Value>(), lane_row_layout<Codec, Value>(),
             lane_row_tile_rows<LaneArchitecture, Codec, Value>()},
            product_kernel::lane_rows};
  };
  const auto in_place = [&]<Activation Value>(Value value) -> product_plan {
    if constexpr (InterleavedCodec<Codec>) {
      using lane_architecture =
          std::conditional_t<std::same_as<Value, float>, Architecture, integer_architecture>;
      return lane_rows(lane_architecture{}, value);
    } else if constexpr (has_super_block_products<integer_architecture, Codec, Value>()) {
      return {{block_format_of<Value>(), super_block_layout, super_block_tile_rows},
              product_kernel::super_blocks};
    } else if constexpr (unpacks_in_registers<Codec>() && !std::same_as<Value, float>) {
      return {{block_format_of<Value>(), {}, bit_code_tile_rows<block_architecture>},
              product_kernel::bit_codes};
    } else {
      return {{block_format_of<Value>(), small_batch_layout<block_architecture, Codec, Value>(),
               max_small_batch_rows<block_architecture, Value>()},
              product_kernel::small_batch};
    }
  };
  const auto takes_lane_rows = [&]<class LaneArchitecture, Activation Value>(LaneArchitecture, Value) {
    // So few of longer rows of f32 are prepared together that codes would be multiplied, where bounds
    // of that many rows are those of products with values.
    constexpr std::uint64_t most_cols = 32'768;
    if (std::same_as<Value, float> && x_rows >= least_panel_rows<Codec, float>() &&
        weight.cols() > most_cols) {
      return false;
    }
    return x_rows <= most_lane_rows<LaneArchitecture, Codec, Value>();
  };
  // Calls use(Value) for codes of activations in a format.
  const auto with_codes = [](activation_format format, const auto& use) {
    if (format == activation_format::int8_codes) return use(std::int8_t{});
    return use(std::int16_t{});
  };
  const activation_format format = activation_format_for<Architecture, Codec>(weight, mode);
  if (format != activation_format::f32_blocks) {
    const activation_format panel_format = panel_format_for<Architecture, Codec>(weight, mode);
    const auto in_panels = [&](product_kernel kernel) -> product_plan {
      return {{panel_format, {activation_order_of<Codec>(), 1}, code_tile_rows<integer_architecture>},
              kernel};
    };
    const bool has_panels = panel_format != activation_format::f32_blocks;
    const bool suits = with_codes(panel_format, [&]<Activation Value>(Value) {
      return has_panels && suits_kernels<Architecture, Value>(repacked) &&
             x_rows <= most_repacked_rows<integer_architecture, Codec, Value>();
    });
    if (suits) return in_panels(product_kernel::repacked_panels);
    return with_codes(format, [&]<Activation Value>(Value value) -> product_plan {
      if (takes_lane_rows(integer_architecture{}, value))
        return lane_rows(integer_architecture{}, value);
      // With AVX-512 there is nothing between lane-row products and panels.
      constexpr bool has_lane_rows = simd::lanes<integer_architecture> >= 16 &&
                                     most_lane_rows<integer_architecture, Codec, Value>() != 0;
      if (has_panels && (has_lane_rows || x_rows >= least_panel_rows<Codec, Value>())) {
        return in_panels(product_kernel::code_panels);
      }
      return in_place(value);
    });
  }
  if constexpr (BfloatCodec<Codec> && simd::multiplies_bfloat16<Architecture>) {
    if (mode == matmul_mode::int8 && x_rows >= least_bfloat16_rows) {
      return {{activation_format::bfloat16_interleaved, {}, float_tile_rows<Architecture>},
              product_kernel::float_panels};
    }
  }
  if (takes_lane_rows(Architecture{}, float{})) return lane_rows(Architecture{}, float{});
  const bool is_small = x_rows < least_panel_rows<Codec, float>();
  return is_small ? in_place(float{}) : float_panels;
}

/// The plan for a weight of one encoding and `x_rows` rows of activations. `repacked` as above.
template <class Architecture, Codec Codec>
[[nodiscard]] product_plan choose_product_plan(const tensor_view& weight, std::size_t x_rows,
                                               matmul_mode mode,
                                               const repacked_panels* repacked) noexcept {
  const product_plan float_panels{
      {activation_format::f32_interleaved, {}, float_tile_rows<Architecture>},
      product_kernel::float_panels};
  if constexpr (has_small_batch_products<Codec>()) {
    if (rows_are_blocks<Codec>(weight)) {
      return choose_block_plan<Architecture, Codec>(weight, x_rows, mode, repacked, float_panels);
    }
  }
  return float_panels;
}

/// The plan for a weight of any encoding. Throws unsupported_encoding.
template <class Architecture>
[[nodiscard]] product_plan choose_product_plan(const tensor_view& weight, std::size_t x_rows,
                                               matmul_mode mode, const repacked_panels* repacked) {
  product_plan plan;
  visit_stored_codec(weight.encoding(), weight.name(), [&]<Codec Codec>(Codec) {
    plan = choose_product_plan<Architecture, Codec>(weight, x_rows, mode, repacked);
  });
  return plan;
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
