#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/activations.hpp>
#include <nibble/compute/bit_blocks.hpp>
#include <nibble/compute/product_output.hpp>
#include <nibble/compute/weight_blocks.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Products of a few rows of activations with blocks as they lie in the file: a vector runs along a
// weight's row, each block is taken apart once for all activations, and nothing is written but sums.

/// The most rows of activations that row products take at once: what registers hold sums for.
inline constexpr std::size_t max_row_products = 8;

/// Blocks of a pass: its activations fill half a first-level cache, in which they stay while all weight
/// rows of a task go over them.
[[nodiscard]] constexpr std::size_t pass_blocks(std::size_t rows, std::size_t value_bytes) noexcept {
  constexpr std::size_t pass_bytes = 16384;
  const std::size_t blocks = pass_bytes / (rows * value_bytes * simd::block_codes);
  return std::clamp(blocks / padding_blocks * padding_blocks, padding_blocks, max_pass_blocks);
}

/// Part of a weight's row.
struct row_part {
  const std::byte* codes;    ///< of the first block
  std::size_t stride_bytes;  ///< from one block's codes to the next
  std::size_t blocks;
  const float* scales;
  const float* offsets;        ///< of all blocks that this part answers for
  std::size_t offsets_blocks;  ///< how many they are, or 0 where none has an offset
  std::size_t next_bytes;      ///< from here to what is multiplied next
};

/// Takes a block's codes apart into vectors of floats, in the order that its activations are in.
template <class Architecture, code_packing Packing>
struct code_loader {
  static constexpr bool has_scales = true;
  template <class Use>
  static void each(const std::byte* codes, Use&& use) noexcept {
    using integers = simd::vector<std::int32_t, Architecture>;
    constexpr std::size_t width = simd::lanes<Architecture>;
    if constexpr (Packing == code_packing::unsigned_bytes) {
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < simd::block_codes; j += width) {
        use(to_float(simd::load_unsigned_bytes(codes + j, Architecture{}, Architecture{})), j);
      }
    } else if constexpr (Packing == code_packing::signed_bytes) {
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < simd::block_codes; j += width) {
        use(to_float(simd::load_signed_bytes(codes + j, Architecture{}, Architecture{})), j);
      }
    } else {
      constexpr std::size_t half = simd::block_codes / 2;
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < half; j += width) {
        const integers pairs = simd::load_unsigned_bytes(codes + j, Architecture{}, Architecture{});
        use(to_float(pairs & integers(15)), j);
        use(to_float(pairs >> 4), j + half);
      }
    }
  }
};

/// The same for blocks of numbers.
template <class Architecture, class Stored>
struct number_loader {
  static constexpr bool has_scales = false;
  template <class Use>
  static void each(const std::byte* numbers, Use&& use) noexcept {
    constexpr std::size_t width = simd::lanes<Architecture>;
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < simd::block_codes; j += width) {
      const std::byte* const from = numbers + j * sizeof(Stored);
      if constexpr (std::same_as<Stored, float16>) {
        use(simd::load_float16(from, Architecture{}, Architecture{}), j);
      } else if constexpr (std::same_as<Stored, bfloat16>) {
        use(simd::load_bfloat16(from, Architecture{}, Architecture{}), j);
      } else {
        std::array<float, width> values;
        std::memcpy(values.data(), from, sizeof(values));
        use(simd::load<Architecture>(values.data()), j);
      }
    }
  }
};

/// Blocks whose products are summed up side by side: a sum waits for the one before it, and few rows of
/// activations have few sums.
[[nodiscard]] constexpr std::size_t blocks_at_once(std::size_t rows) noexcept {
  if (rows == 1) return 4;
  return rows <= 3 ? 2 : 1;
}

/// The integer sums of a block's products.
template <class Architecture>
[[nodiscard]] auto block_products(const simd::block_bytes<Architecture>& codes,
                                  const std::int8_t* x) noexcept {
  return simd::byte_products(codes, x, Architecture{}, Architecture{});
}
template <class Architecture>
[[nodiscard]] auto block_products(const simd::block_words<Architecture>& codes,
                                  const std::int16_t* x) noexcept {
  return simd::word_products(codes, x, Architecture{}, Architecture{});
}

/// Adds the products of a part with rows 0 .. Rows of x, from block `first` on, to totals. The Loader
/// takes codes, or numbers, apart for products with f32; Packing says how codes lie.
template <class Architecture, class Loader, code_packing Packing, Activation Value, std::size_t Rows>
void add_products(const row_part& part, const prepared_activations<Value>& x, std::size_t first,
                  std::array<simd::vector<float, Architecture>, Rows>& totals) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr bool has_codes = !std::same_as<Value, float>;
  // What 1 stands for in a product of codes.
  alignas(64) std::array<std::array<float, has_codes ? max_pass_blocks : 1>, Rows> steps;
  if constexpr (has_codes) {
    for (std::size_t m = 0; m < Rows; ++m) {
      const float* const own = x.steps_of(m, first);
      for (std::size_t b = 0; b < part.blocks; b += width) {
        (simd::load<Architecture>(part.scales + b) * simd::load<Architecture>(own + b))
            .store_unaligned(steps[m].data() + b);
      }
    }
  }
  const std::size_t x_stride = x.row_blocks * simd::block_codes;
  const auto add_block = [&](const std::byte* codes, const Value* from, std::size_t b,
                             std::array<floats, Rows>& to) {
    if constexpr (has_codes) {
      const auto block = load_codes<Architecture, Packing, Value>(codes);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        const auto sums = block_products<Architecture>(block, from + m * x_stride);
        to[m] = fma(to_float(sums), floats(steps[m][b]), to[m]);
      }
    } else if constexpr (Loader::has_scales) {
      std::array<floats, Rows> sums;
      Loader::each(codes, [&](const floats& values, std::size_t at) {
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          const floats activations = simd::load<Architecture>(from + m * x_stride + at);
          sums[m] = at == 0 ? activations * values : fma(values, activations, sums[m]);
        }
      });
      const floats scale(part.scales[b]);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) to[m] = fma(sums[m], scale, to[m]);
    } else {
      Loader::each(codes, [&](const floats& values, std::size_t at) {
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          to[m] = fma(values, simd::load<Architecture>(from + m * x_stride + at), to[m]);
        }
      });
    }
  };

  constexpr std::size_t at_once = blocks_at_once(Rows);
  std::array<std::array<floats, Rows>, at_once> partial;
  partial[0] = totals;
  NIBBLE_UNROLL
  for (std::size_t i = 1; i < at_once; ++i) partial[i].fill(floats(0.0F));
  const Value* from = x.values_of(0, first);
  const std::byte* codes = part.codes;
  std::size_t b = 0;
  for (; b + at_once <= part.blocks; b += at_once) {
    // The scales of the next pass are read before its codes are; without this, nothing would be on its
    // way from memory while these are multiplied.
    for (std::size_t ahead = 0; ahead < at_once * part.stride_bytes; ahead += 64) {
      simd::prefetch(codes, part.next_bytes + ahead);
    }
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < at_once; ++i) {
      add_block(codes + i * part.stride_bytes, from + i * simd::block_codes, b + i, partial[i]);
    }
    from += at_once * simd::block_codes;
    codes += at_once * part.stride_bytes;
  }
  for (; b < part.blocks; ++b) {
    add_block(codes, from, b, partial[0]);
    from += simd::block_codes;
    codes += part.stride_bytes;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    totals[m] = partial[0][m];
    NIBBLE_UNROLL
    for (std::size_t i = 1; i < at_once; ++i) totals[m] = totals[m] + partial[i][m];
  }
}

/// sums[m] = the products of a part with rows 0 .. Rows of x, from block `first` on.
template <class Architecture, class Loader, code_packing Packing, Activation Value, std::size_t Rows>
void multiply_part(const row_part& part, const prepared_activations<Value>& x, std::size_t first,
                   float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  std::array<floats, Rows> totals;
  NIBBLE_UNROLL
  for (auto& each : totals) each = floats(0.0F);
  add_products<Architecture, Loader, Packing>(part, x, first, totals);
  for (std::size_t b = 0; b < part.offsets_blocks; b += simd::lanes<Architecture>) {
    const floats offsets = simd::load<Architecture>(part.offsets + b);
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      totals[m] = fma(offsets, simd::load<Architecture>(x.sums_of(m, first) + b), totals[m]);
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] = simd::sum_of_lanes(totals[m], Architecture{}, Architecture{});
  }
}

template <Activation Value>
using multiply_part_function = void (*)(const row_part&, const prepared_activations<Value>&,
                                        std::size_t, float*) noexcept;

/// multiply_part for `rows` rows of activations, 1 to max_row_products.
template <class Architecture, class Loader, code_packing Packing, Activation Value>
[[nodiscard]] multiply_part_function<Value> choose_multiply_part(std::size_t rows) noexcept {
  return [rows]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::array<multiply_part_function<Value>, max_row_products> functions = {
        &multiply_part<Architecture, Loader, Packing, Value, I + 1>...};
    return functions[rows - 1];
  }
  (std::make_index_sequence<max_row_products>{});
}

template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] multiply_part_function<Value> multiply_part_of(std::size_t rows) noexcept {
  if constexpr (PlainCodec<Codec>) {
    using stored = typename Codec::stored_type;
    return choose_multiply_part<Architecture, number_loader<Architecture, stored>,
                                code_packing::signed_bytes, Value>(rows);
  } else if constexpr (decodes_before<Codec, Value>()) {
    return choose_multiply_part<Architecture, number_loader<Architecture, float>,
                                code_packing::signed_bytes, Value>(rows);
  } else {
    // Nibbles come apart alike wherever they lie: the activations' order makes the difference.
    constexpr code_packing own = packing_of<Codec, Value>();
    constexpr code_packing packing = is_nibbles(own) ? code_packing::nibble_halves : own;
    return choose_multiply_part<Architecture, code_loader<Architecture, packing>, packing, Value>(rows);
  }
}

/// Products of x_rows activations, at most max_row_products, with rows first_row .. first_row +
/// row_count of a weight whose rows_are_blocks.
template <class Architecture, Codec Codec, Activation Value>
void multiply_rows(const tensor_view& weight, std::uint64_t first_row, std::size_t row_count,
                   const prepared_activations<Value>& x, std::size_t x_rows,
                   const product_output& y) noexcept {
  const auto multiply = multiply_part_of<Architecture, Codec, Value>(x_rows);
  // A decoded pass and its activations share the first-level cache.
  constexpr std::size_t most_blocks = decodes_before<Codec, Value>() ? 64 : max_pass_blocks;
  using row_type = typename row_view<Codec, Value, most_blocks>::type;
  constexpr std::size_t stride_bytes = row_type::stride_bytes;
  const auto cols = static_cast<std::size_t>(weight.cols());
  const std::size_t blocks = (cols + simd::block_codes - 1) / simd::block_codes;
  const std::size_t pass = std::min(most_blocks, pass_blocks(x_rows, sizeof(Value)));
  block_scales scales;
  constexpr bool has_scales = !PlainCodec<Codec>;
  constexpr float shift = shift_of<Codec, Value>();
  constexpr bool has_offsets = has_scales && row_type::has_offsets(shift);
  for (std::size_t first = 0; first < blocks; first += pass) {
    const std::size_t count = std::min(pass, blocks - first);
    for (std::size_t n = 0; n < row_count; ++n) {
      row_type row(weight, first_row + n);
      if constexpr (has_scales) {
        if (!TensorScaleCodec<Codec> || n == 0) {
          row.template load_scales<Architecture>(weight, first, count, shift, scales);
        }
      }
      const std::size_t whole = row.whole_blocks(first, count);
      const std::size_t next_bytes = 2 * blocks * stride_bytes;
      std::array<float, max_row_products> sums;
      multiply({row.codes_of(first), stride_bytes, whole, scales.scales.data(), scales.offsets.data(),
                has_offsets ? count : 0, next_bytes},
               x, first, sums.data());
      y.put(first_row + n, sums.data(), x_rows, first == 0);
      if (whole != count) {
        multiply({row.codes_of(first + whole), stride_bytes, 1, scales.scales.data() + whole, nullptr,
                  0, next_bytes},
                 x, first + whole, sums.data());
        y.put(first_row + n, sums.data(), x_rows, false);
      }
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
