#pragma once

#include <cstddef>
#include <span>

#include <nibble/codec/codec.hpp>
#include <nibble/codec/nibble_halves.hpp>
#include <nibble/codec/offset_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 20 bytes, 5 bits per weight: x = scale * q + min, q in 0..15. ggml's Q4_1: q4's block
/// and values bit for bit, packed with a wider search.
struct q4_1 : q4 {
  static constexpr nibble::encoding encoding = nibble::encoding::q4_1;

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See best_offset_grid for how scale and min are chosen; the error is never above ggml's.
  [[nodiscard]] static pack_status pack(std::span<const float> values, block& to) noexcept {
    const auto [status, grid, codes] = best_offset_grid(values, 15);
    if (status != pack_status::packed) return status;
    to.scale = to_float16(grid.scale);
    to.min = to_float16(grid.min);
    store_nibble_halves(codes, to.codes);
    return pack_status::packed;
  }
};
static_assert(sizeof(q4_1::block) == describe(q4_1::encoding).block_bytes);
static_assert(q4_1::block_elements == describe(q4_1::encoding).block_elements);
static_assert(q4_1::has_min == describe(q4_1::encoding).has_min);

template <>
struct codec_of<nibble::encoding::q4_1> {
  using type = q4_1;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
