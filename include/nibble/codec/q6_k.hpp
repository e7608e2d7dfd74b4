#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 210 bytes, 6.5625 bits per weight, in sixteen parts of 16 elements:
/// x = scale * s[i] * (q - 32), q in 0..63, s in -128..127 for part i = j / 16. ggml's Q6_K.
///
///   byte  0                                    32                                     64
///         | l[0] + 16 l[64] ... l[31] + 16 l[95] | l[32] + 16 l[96] ... l[63] + 16 l[127] |
///         64       128                                                     160
///         | l[128] ... | h[0] + 4 h[32] + 16 h[64] + 64 h[96] ... 31 more | h[128] ... |
///         192              208     210
///         | s[0] ... s[15] | scale |
///
/// q = l + 16 h. scale * s * (q - 32) has at most 24 bits and is exact in f32.
struct q6_k {
  static constexpr nibble::encoding encoding = nibble::encoding::q6_k;
  static constexpr std::size_t block_elements = 256;
  static constexpr std::size_t part_elements = 16;
  static constexpr std::int32_t code_zero = 32;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 2> lows;
    std::array<std::uint8_t, block_elements / 4> highs;
    part_numbers parts;
    float16 scale;
  };
  static_assert(sizeof(block) == 210 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, lows) + group / 4 * 64 + group % 2 * 32,
            .count = 4,
            .shift = group % 4 < 2 ? 0U : 4U};
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, highs) + group / 4 * 32,
            .count = 2,
            .shift = static_cast<std::uint32_t>(group % 4 * 2)};
  }

  /// A part's scale is scale_unit * its number; exact.
  [[nodiscard]] static float scale_unit(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static part_numbers scale_numbers(const block& from) noexcept { return from.parts; }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.lows[j / 128 * 64 + j % 64];
      const int low = j % 128 < 64 ? pair & 15 : pair >> 4;
      const int high = from.highs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      const float scale = scale_unit(from) * static_cast<float>(from.parts[j / 16]);
      values[j] = scale * static_cast<float>(low + 16 * high - 32);
    }
  }

  /// Packs 1..256 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// First each part gets the scale that fits it best on its own; then the scale of all is laid so that
  /// the largest of them takes -128, and each part takes the whole number around its own with the least
  /// squared error.
  [[nodiscard]] static pack_status pack(std::span<const float> values, block& to) noexcept {
    std::array<float, block_elements> padded{};
    std::copy(values.begin(), values.end(), padded.begin());
    const auto part = [&](std::size_t i) {
      return std::span(padded).subspan(i * part_elements).template first<part_elements>();
    };
    static constexpr std::array places = {-32.0F,  -31.75F, -31.5F,  -31.25F, -31.0F, -30.5F, -30.0F,
                                          -32.25F, -32.5F,  -32.75F, -33.0F,  31.0F,  31.5F};
    // With few enough significant bits for products with codes to be exact.
    const auto shorten = [](float value) {
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFFFF00U);
    };
    std::array<float, parts> wanted;
    std::array<float, parts> farthest;
    float largest = 0.0F;
    for (std::size_t i = 0; i < parts; ++i) {
      farthest[i] = farthest_from_zero(part(i));
      wanted[i] = best_signed_grid<part_elements>(part(i), -32, 31, places, shorten).scale;
      if (std::fabs(wanted[i]) > std::fabs(largest)) largest = wanted[i];
    }
    // Chooses every part's number under a scale of all; returns what all of them together err.
    const auto choose_numbers = [&](float16 scale, part_numbers& numbers) {
      const float unit = to_float32(scale);
      double total = 0.0;
      for (std::size_t i = 0; i < parts; ++i) {
        double least = -1.0;
        const auto consider = [&](int number) {
          const signed_grid tried{unit * static_cast<float>(number), -32, 31};
          const double error = tried.squared_error<part_elements>(part(i));
          if (least >= 0.0 && !(error < least)) return;
          least = error;
          numbers[i] = static_cast<std::int8_t>(number);
        };
        const int nearest = nearest_number(wanted[i], unit);
        for (int own = std::max(nearest - 1, -128); own <= std::min(nearest + 1, 127); ++own) {
          consider(own);
        }
        for (const float place : {-32.0F, -31.0F}) {
          const int own = nearest_number(farthest[i] / place, unit);
          if (std::abs(own - nearest) > 1) consider(own);
        }
        total += least;
      }
      return total;
    };
    // The scale with the least squared error for the numbers, and the codes under them.
    const auto fitted = [&](float16 scale, const part_numbers& numbers) {
      lane_sums products;
      std::int64_t squares = 0;
      for (std::size_t i = 0; i < parts; ++i) {
        const signed_grid grid{to_float32(scale) * static_cast<float>(numbers[i]), -32, 31};
        auto factors = grid.codes_of<part_elements>(part(i));
        for (std::int32_t& factor : factors) {
          factor *= numbers[i];
          squares += factor * factor;
        }
        products.add_products(part(i), factors);
      }
      if (squares == 0) return scale;
      return to_float16(static_cast<float>(products.total() / static_cast<double>(squares)));
    };
    to.scale = to_float16(largest / -128.0F);
    if (!is_finite(to.scale)) return pack_status::scale_overflow;
    double least = choose_numbers(to.scale, to.parts);
    const auto consider = [&](float16 scale) {
      part_numbers numbers;
      if (!is_finite(scale) || scale == to.scale) return;
      const double error = choose_numbers(scale, numbers);
      if (!(error < least)) return;
      least = error;
      to.scale = scale;
      to.parts = numbers;
    };
    if (to_float32(to.scale) == 0.0F) consider(float16{1});
    consider(to_float16(farthest_from_zero(farthest) / -32.0F / -128.0F));
    for (const float place : {-127.0F, -125.0F, -132.0F}) consider(to_float16(largest / place));
    for (int turn = 0; turn < 2; ++turn) consider(fitted(to.scale, to.parts));
    to.lows.fill(0);
    to.highs.fill(0);
    for (std::size_t i = 0; i < parts; ++i) {
      const signed_grid grid{scale_unit(to) * static_cast<float>(to.parts[i]), -32, 31};
      const auto codes = grid.codes_of<part_elements>(part(i));
      for (std::size_t k = 0; k < part_elements; ++k) {
        const std::size_t j = i * part_elements + k;
        if (j < values.size()) store(j, codes[k] + 32, to);
      }
    }
    return pack_status::packed;
  }

 private:
  static constexpr std::size_t parts = block_elements / part_elements;

  /// The whole number of units nearest to a scale.
  [[nodiscard]] static int nearest_number(float scale, float unit) noexcept {
    if (unit == 0.0F) return 0;
    return static_cast<int>(std::min(std::max(std::round(scale / unit), -128.0F), 127.0F));
  }

  /// Stores the code of element j where there is 0.
  static void store(std::size_t j, int code, block& to) noexcept {
    std::uint8_t& low = to.lows[j / 128 * 64 + j % 64];
    std::uint8_t& high = to.highs[j / 128 * 32 + j % 32];
    low = static_cast<std::uint8_t>(low | (code % 16 << (j % 128 / 64 * 4)));
    high = static_cast<std::uint8_t>(high | (code / 16 << (j % 128 / 32 * 2)));
  }
};
static_assert(sizeof(q6_k::block) == describe(q6_k::encoding).block_bytes);
static_assert(q6_k::block_elements == describe(q6_k::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q6_k> {
  using type = q6_k;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
