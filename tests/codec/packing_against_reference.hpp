#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>

#include <codec/block_distributions.hpp>
#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <core/independent_halves.hpp>
#include <support/catch.hpp>

namespace nibble_test {

// Quantizers as plain as they come, for packers to be held against: largest value to the end of the
// grid, nearest code, no search. They answer with what they err, squared and summed.

inline double nearest_half(double value) { return value_of(binary16, nearest_code(binary16, value)); }

/// The square of what an element errs on the nearest point of scale * q + min, q in lowest..highest.
inline double nearest_error(double value, double scale, double min, int lowest, int highest) {
  double q = scale == 0.0 ? 0.0 : std::nearbyint((value - min) / scale);
  q = std::clamp<double>(q, lowest, highest);
  const double difference = value - static_cast<double>(static_cast<float>(scale * q + min));
  return difference * difference;
}

inline double farthest(std::span<const float> values) {
  double farthest = 0.0;
  for (const float value : values) {
    if (std::fabs(static_cast<double>(value)) > std::fabs(farthest))
      farthest = static_cast<double>(value);
  }
  return farthest;
}

/// A float16 scale with the farthest value at `place`.
inline double plain_signed_error(std::span<const float> values, int lowest, int highest, double place) {
  const double scale = nearest_half(farthest(values) / place);
  double error = 0.0;
  for (const float value : values) {
    error += nearest_error(static_cast<double>(value), scale, 0.0, lowest, highest);
  }
  return error;
}

/// A float16 scale and min from lowest to highest value.
inline double plain_offset_error(std::span<const float> values, int largest_code) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const auto lowest = static_cast<double>(*low);
  const double scale = nearest_half((static_cast<double>(*high) - lowest) / largest_code);
  const double min = nearest_half(lowest);
  double error = 0.0;
  for (const float value : values) {
    error += nearest_error(static_cast<double>(value), scale, min, 0, largest_code);
  }
  return error;
}

/// Parts from the lowest value, or 0, to the highest; scales and mins in whole numbers, the largest as
/// `largest_number`.
inline double plain_offset_sub_blocks_error(std::span<const float> values, int largest_code,
                                            std::size_t part_elements = 32,
                                            double largest_number = 63.0) {
  std::vector<double> scales;
  std::vector<double> mins;
  for (std::size_t at = 0; at < values.size(); at += part_elements) {
    const auto part = values.subspan(at, std::min<std::size_t>(part_elements, values.size() - at));
    const auto [low, high] = std::minmax_element(part.begin(), part.end());
    const double min = std::min(static_cast<double>(*low), 0.0);
    mins.push_back(-min);
    scales.push_back((static_cast<double>(*high) - min) / largest_code);
  }
  const double scale = nearest_half(*std::max_element(scales.begin(), scales.end()) / largest_number);
  const double min = nearest_half(*std::max_element(mins.begin(), mins.end()) / largest_number);
  const auto number = [largest_number](double wanted, double unit) {
    return unit == 0.0 ? 0.0 : std::clamp(std::nearbyint(wanted / unit), 0.0, largest_number);
  };
  double error = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    error +=
        nearest_error(static_cast<double>(values[j]), scale * number(scales[j / part_elements], scale),
                      -min * number(mins[j / part_elements], min), 0, largest_code);
  }
  return error;
}

/// Parts of 16 with the farthest value at `lowest_code`; scales in whole numbers, the largest as
/// `lowest_number`.
inline double plain_signed_parts_error(std::span<const float> values, int lowest_code = -32,
                                       double lowest_number = -128.0) {
  std::vector<double> scales;
  double largest = 0.0;
  for (std::size_t at = 0; at < values.size(); at += 16) {
    scales.push_back(farthest(values.subspan(at, std::min<std::size_t>(16, values.size() - at))) /
                     lowest_code);
    if (std::fabs(scales.back()) > std::fabs(largest)) largest = scales.back();
  }
  const double scale = nearest_half(largest / lowest_number);
  double error = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const double number = scale == 0.0 ? 0.0
                                       : std::clamp(std::nearbyint(scales[j / 16] / scale),
                                                    lowest_number, -lowest_number - 1.0);
    error += nearest_error(static_cast<double>(values[j]), scale * number, 0.0, lowest_code,
                           -lowest_code - 1);
  }
  return error;
}

/// An E4M3 scale for every 16 with the farthest magnitude at 6, rounded as ggml does, halves up.
inline double plain_nvfp4_error(std::span<const float> values) {
  const auto scale_of = [](int code) {
    const int exponent = code / 8;
    return exponent == 0 ? std::ldexp(code, -9) : std::ldexp(8 + code % 8, exponent - 10);
  };
  constexpr std::array<double, 8> magnitudes = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  double error = 0.0;
  for (std::size_t at = 0; at < values.size(); at += 16) {
    const auto part = values.subspan(at, std::min<std::size_t>(16, values.size() - at));
    const double wanted = std::fabs(farthest(part)) / 6;
    int code = 0;
    while (code < 126 && wanted >= (scale_of(code) + scale_of(code + 1)) / 2) ++code;
    for (const float value : part) {
      double least = HUGE_VAL;
      for (const double magnitude : magnitudes) {
        const double difference = std::fabs(static_cast<double>(value)) - scale_of(code) * magnitude;
        least = std::min(least, difference * difference);
      }
      error += least;
    }
  }
  return error;
}

/// The sign of each value, under a float16 of their mean magnitude.
inline double plain_sign_error(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += std::fabs(static_cast<double>(value));
  const double scale = nearest_half(sum / static_cast<double>(values.size()));
  double error = 0.0;
  for (const float value : values) {
    const double difference = std::fabs(static_cast<double>(value)) - scale;
    error += difference * difference;
  }
  return error;
}

/// Packs every distribution, in whole blocks and in part, and holds what is erred against
/// plain_error(values): block by block where `every_block`, else over each distribution. Spare codes
/// must be 0 whatever was there before. On a bell curve the error is to be below `most_on_gaussian` of
/// the plain one. Distributions with values beyond `largest` are left out.
template <class Codec, class PlainError>
void require_packs_no_worse(bool every_block, const PlainError& plain_error,
                            double most_on_gaussian = 0.95, double largest = HUGE_VAL) {
  const std::string_view name = nibble::to_string(Codec::encoding);
  constexpr std::size_t elements = Codec::block_elements;
  double gaussian_gain = 0.0;
  for (distribution& of : block_distributions()) {
    if (std::fabs(farthest(of.values)) > largest) continue;
    while (of.values.size() % elements != 0) of.values.push_back(of.values[of.values.size() % 32]);
    for (const std::size_t missing : {std::size_t{0}, std::size_t{1}, elements / 2 - 3, elements - 1}) {
      const std::size_t count = elements - missing;
      double own = 0.0;
      double plain = 0.0;
      double roundings = 0.0;
      for (std::size_t at = 0; at < of.values.size(); at += elements) {
        const auto values = std::span<const float>(of.values).subspan(at, count);
        std::array<typename Codec::block, 2> packed;
        std::memset(static_cast<void*>(&packed[0]), 0xA5, sizeof(packed[0]));
        std::memset(static_cast<void*>(&packed[1]), 0, sizeof(packed[1]));
        for (auto& block : packed) {
          if (Codec::pack(values, block) != nibble::pack_status::packed) {
            FAIL(fmt::format("{}: {} refused", name, of.name));
          }
        }
        const auto stored = bytes_of(packed[0]);
        if (stored != bytes_of(packed[1])) FAIL(name << ": bytes of the block before are left");
        const independent_decoder decoded(name, stored, elements);
        double error = 0.0;
        double own_roundings = 0.0;
        for (std::size_t j = 0; j < count; ++j) {
          const auto value = static_cast<double>(values[j]);
          const double difference = value - static_cast<double>(decoded(0, j));
          error += difference * difference;
          // What the searches weigh are differences in f32.
          own_roundings += 0x1p-44 * value * value;
        }
        const double wanted = plain_error(values);
        if (every_block && !(error <= wanted * (1.0 + 0x1p-18) + own_roundings)) {
          FAIL(fmt::format("{}: {} block at {} of {}: {} against {}", name, of.name, at, count, error,
                           wanted));
        }
        own += error;
        plain += wanted;
        roundings += own_roundings;
      }
      if (!(own <= plain * (1.0 + 0x1p-18) + roundings)) {
        FAIL(fmt::format("{}: {} by {}: {} against {}", name, of.name, count, own, plain));
      }
      if (of.name == "gaussian" && missing == 0) gaussian_gain = own / plain;
    }
  }
  CHECK(gaussian_gain < most_on_gaussian);
}

/// Packs blocks in part and holds the codes of absent elements to be 0.
template <class Codec>
void require_spare_codes_are_zero() {
  constexpr std::size_t elements = Codec::block_elements;
  const auto values = gaussian(elements, 7);
  for (std::size_t count = 1; count <= elements; count += elements == 32 ? 1 : 13) {
    typename Codec::block block;
    std::memset(static_cast<void*>(&block), 0xA5, sizeof(block));
    REQUIRE(Codec::pack(std::span(values).first(count), block) == nibble::pack_status::packed);
    const auto stored = bytes_of(block);
    const independent_decoder decoded(nibble::to_string(Codec::encoding), stored, elements);
    for (std::size_t j = count; j < elements; ++j) {
      if (decoded.stored_code(j) != 0) FAIL("element " << j << " of " << count);
    }
  }
}

/// A block whose values its encoding can hold exactly packs to those values.
template <class Codec>
void require_keeps_exact_values(std::span<const std::byte> stored) {
  std::array<float, Codec::block_elements> values{};
  Codec::unpack(block_from<typename Codec::block>(stored), values);
  typename Codec::block packed{};
  REQUIRE(Codec::pack(values, packed) == nibble::pack_status::packed);
  std::array<float, Codec::block_elements> again{};
  Codec::unpack(packed, again);
  CHECK(again == values);
}

/// Packs a farthest value of `taken` and refuses one of `refused`, whatever its sign.
template <class Codec>
void require_refuses_far_values(float taken, float refused) {
  using nibble::pack_status;
  const auto status_of = [](float value) {
    typename Codec::block block;
    const std::array values = {value, -value / 3.0F, 1.0F};
    return Codec::pack(values, block);
  };
  CHECK(status_of(taken) == pack_status::packed);
  CHECK(status_of(-taken) == pack_status::packed);
  CHECK(status_of(refused) == pack_status::scale_overflow);
  CHECK(status_of(-refused) == pack_status::scale_overflow);
  CHECK(status_of(3e38F) == pack_status::scale_overflow);
}

/// Refuses a super-block of parts whose scale or min float16 cannot hold, of which every part has up
/// to `largest_number`.
template <class Codec>
void require_refuses_far_parts(float largest_code, float largest_number = 63.0F) {
  using nibble::pack_status;
  const auto status_of = [](float low, float high) {
    typename Codec::block block;
    const std::array values = {low, high, low / 2.0F + high / 2.0F};
    return Codec::pack(values, block);
  };
  CHECK(status_of(0.0F, 60000.0F * largest_number * largest_code) == pack_status::packed);
  CHECK(status_of(0.0F, 80000.0F * largest_number * largest_code) == pack_status::scale_overflow);
  CHECK(status_of(-60000.0F * largest_number, 0.0F) == pack_status::packed);
  CHECK(status_of(-80000.0F * largest_number, 0.0F) == pack_status::min_overflow);
  CHECK(status_of(-3e38F, 3e38F) == pack_status::min_overflow);
  CHECK(status_of(1.0F, 3e38F) == pack_status::scale_overflow);
}

}  // namespace nibble_test
