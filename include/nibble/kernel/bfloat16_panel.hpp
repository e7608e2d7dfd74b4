#pragma once

// Fills panels of bf16: as many weight rows as a vector has lanes, two neighbouring columns of a row in each
// lane. Loop nest of fill_panel:
//
//   for each tile of twice as many columns as there are lanes
//     load a vector of each row, as it is stored; transpose them in registers, store their pairs of columns

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/float_panel.hpp>
#include <nibble/kernel/half_floats.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Encodings whose values panels of bf16 take as they are stored.
template <class T>
concept BfloatCodec = PlainCodec<T> && std::same_as<typename T::stored_type, bfloat16>;

/// Two neighbouring columns of a row, as a lane holds them: the first one's bits in the lower half.
using bfloat16_pair = std::int32_t;

/// Panels of bf16 are filled with a weight's own bytes.
struct bfloat16_panel_source {};

/// Copies some columns of some rows of a bf16 weight, at most a row for each lane, into a panel. Lanes
/// without a row become zeros, and so do columns behind the last: the panel has room for columns.count
/// rounded up to twice as many as there are lanes.
template <class Architecture>
void fill_panel(const bfloat16_panel_source& /*source*/, const tensor_view& weight, row_range rows,
                column_range columns, panel_view<bfloat16_pair> panel) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t tile_cols = 2 * width;
  std::array<const std::byte*, width> from{};
  for (std::size_t n = 0; n < rows.count; ++n) {
    const row_position row = position_of_row(weight, rows.first + n);
    from[n] = row.start + (row.first_element + columns.first) * sizeof(bfloat16);
  }
  for (std::size_t k = 0; k < columns.count; k += tile_cols) {
    simd::lane_tile<Architecture> tile;
    const std::size_t left_bytes = (columns.count - k) * sizeof(bfloat16);
    constexpr std::size_t vector_bytes = tile_cols * sizeof(bfloat16);
    if (rows.count == width && left_bytes >= vector_bytes) {
      NIBBLE_UNROLL
      for (std::size_t n = 0; n < width; ++n) {
        tile[n] = simd::load_bytes<std::int32_t, Architecture>(from[n] + k * sizeof(bfloat16));
      }
    } else {
      std::array<std::array<std::byte, vector_bytes>, width> padded{};
      for (std::size_t n = 0; n < rows.count; ++n) {
        std::memcpy(padded[n].data(), from[n] + k * sizeof(bfloat16),
                    left_bytes < vector_bytes ? left_bytes : vector_bytes);
      }
      for (std::size_t n = 0; n < width; ++n) {
        tile[n] = simd::load_bytes<std::int32_t, Architecture>(padded[n].data());
      }
    }
    simd::transpose<Architecture>(tile, Architecture{}, Architecture{});
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < width; ++i) {
      tile[i].store_unaligned(panel.values + (k / 2 + i) * panel.stride_elements);
    }
  }
}

/// `count` activations rounded to nearest even, two to a pair; finite ones stay finite. What an odd number
/// of them leaves of the last pair is zero.
template <class Architecture>
void round_to_pairs(const float* from, std::size_t count, bfloat16_pair* to) noexcept {
  constexpr std::uint16_t sign_bit = 0x8000;
  constexpr std::uint16_t infinity_bits = 0x7F80;
  constexpr std::size_t most = 64;
  for (; count != 0;) {
    std::array<bfloat16, most> rounded{};
    const std::size_t next = count < most ? count : most;
    narrow<Architecture>(from, next, rounded.data());
    for (std::size_t i = 0; i < next; ++i) {
      // Not by std::isfinite, which -ffast-math takes for true.
      const bool is_infinite = (std::bit_cast<std::uint32_t>(from[i]) & 0x7FFFFFFFU) == 0x7F800000U;
      if ((rounded[i].bits & ~sign_bit) == infinity_bits && !is_infinite) --rounded[i].bits;
    }
    std::memcpy(to, rounded.data(), (next + 1) / 2 * sizeof(bfloat16_pair));
    from += next;
    to += (next + 1) / 2;
    count -= next;
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
