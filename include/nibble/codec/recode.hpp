#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Blocks whose values are x = scale * q + min, and into which codes can be put without touching scale
/// and min.
template <class T>
concept AffineCodec = PackableCodec<T> &&
    requires(const std::array<std::uint8_t, T::block_elements>& codes, typename T::block& to) {
  { T::code_zero } -> std::convertible_to<std::int32_t>;
  T::store_codes(codes, to);
};

/// The grid on which element j < block_elements of a block lies: the values that it can have under the
/// scales which the block holds. Codes count from code_zero: q_stored = q + code_zero.
template <AffineCodec Codec>
[[nodiscard]] affine_grid grid_of_element(const typename Codec::block& from, std::size_t j) noexcept {
  affine_grid grid{0.0F, 0.0F, 0, 0};
  if constexpr (requires { Codec::scale_unit(from); }) {
    const std::size_t i = j / Codec::sub_block_elements;
    grid.scale = Codec::scale_unit(from) * static_cast<float>(Codec::scale_numbers(from)[i]);
    if constexpr (Codec::has_min) {
      grid.min = Codec::min_unit(from) * static_cast<float>(Codec::min_numbers(from)[i]);
    }
  } else {
    grid.scale = Codec::scale(from);
    if constexpr (Codec::has_min) grid.min = Codec::min(from);
  }
  if constexpr (Codec::has_min) {
    grid.highest = static_cast<std::int32_t>(Codec::largest_code);
  } else {
    grid.lowest = Codec::lowest_code;
    grid.highest = Codec::highest_code;
  }
  return grid;
}

/// Codes 1..block_elements finite values anew under the scales that `to` holds, each on the nearest
/// value that it can have; spare codes become 0. What rounding with error feedback ends with: scales
/// are chosen first, then the codes one after the other.
template <AffineCodec Codec>
void recode(std::span<const float> values, typename Codec::block& to) noexcept {
  constexpr std::size_t grid_elements = [] {
    if constexpr (requires { Codec::sub_block_elements; })
      return std::size_t{Codec::sub_block_elements};
    return std::size_t{Codec::block_elements};
  }();
  std::array<std::uint8_t, Codec::block_elements> codes{};
  for (std::size_t at = 0; at < values.size(); at += grid_elements) {
    const affine_grid grid = grid_of_element<Codec>(to, at);
    for (std::size_t j = at; j < values.size() && j < at + grid_elements; ++j) {
      codes[j] = static_cast<std::uint8_t>(grid.code_of(values[j]) + Codec::code_zero);
    }
  }
  Codec::store_codes(codes, to);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
