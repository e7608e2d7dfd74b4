#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/pack_status.hpp>

#include <codec/block_distributions.hpp>
#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>

namespace nibble_test {

/// Packs every distribution, in blocks of every length 1..32, and holds each element that lies on the
/// grid or up to half a step outside against the bound that the codec documents:
/// |x - x^| <= scale * (1/2 + slack) + 2^-24 |x^|. Others are to have the code of the end next to them.
template <class Codec>
void require_errors_within(std::string_view encoding, double slack) {
  std::size_t elements = 0;
  std::size_t outside = 0;
  for (const distribution& of : block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      for (std::size_t count = 1; count <= 32; count += at == 0 ? 1 : 31) {
        const std::span<const float> values = std::span(of.values).subspan(at, count);
        typename Codec::block block;
        if (Codec::pack(values, block) != nibble::pack_status::packed) {
          FAIL(fmt::format("{}: block at {} of {} was refused", of.name, at, count));
        }
        const auto bytes = bytes_of(block);
        const independent_decoder decoded(encoding, bytes, 32);
        const double scale = value_of(binary16, block.scale.bits);
        for (std::size_t j = 0; j < count; ++j) {
          const auto x = static_cast<double>(values[j]);
          const auto stored = static_cast<double>(decoded(0, j));
          const double bound = scale * (0.5 + slack) + 0x1p-24 * std::fabs(stored);
          const double min = value_of(binary16, block.min.bits);
          const double highest = min + scale * Codec::largest_code;
          const bool is_below = x < min - scale / 2;
          if (is_below || x > highest + scale / 2) {
            const double end = is_below ? min : highest;
            if (!(std::fabs(stored - end) <= 0x1p-23 * std::fabs(end))) FAIL("not at the end");
            ++outside;
            continue;
          }
          if (!(std::fabs(x - stored) <= bound)) {
            FAIL(fmt::format("{}: element {} of {}: {} reads back as {}, scale {}", of.name, at + j,
                             count, x, stored, scale));
          }
          ++elements;
        }
        for (std::size_t j = count; j < 32; ++j) {
          if (decoded(0, j) != static_cast<float>(value_of(binary16, block.min.bits))) {
            FAIL(fmt::format("{}: spare element {} of a block of {} is coded", of.name, j, count));
          }
        }
      }
    }
  }
  CHECK(elements > 20000);
  CHECK(outside < elements / 8);
}

/// Unpacks random blocks, NaN and infinite scales and mins among them, whole and in part.
template <class Codec>
void require_unpacks_as_documented(std::string_view encoding) {
  const std::vector<std::byte> bytes = random_bytes(4000 * sizeof(typename Codec::block), 21);
  std::size_t nans = 0;
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(typename Codec::block)) {
    const auto stored = std::span(bytes).subspan(at, sizeof(typename Codec::block));
    const independent_decoder expected(encoding, stored, 32);
    const std::size_t count = at % 33;
    std::vector<float> values(33, 1234.5F);
    Codec::unpack(block_from<typename Codec::block>(stored), std::span(values).first(count));
    for (std::size_t j = 0; j < values.size(); ++j) {
      const float wanted = j < count ? expected(0, j) : 1234.5F;
      if (!is_same_float(values[j], wanted)) {
        FAIL(fmt::format("block at {}, element {}: {} instead of {}", at, j, values[j], wanted));
      }
      nans += std::isnan(wanted) ? 1U : 0U;
    }
  }
  CHECK(nans > 100);
}

/// Refuses what float16 scales and mins cannot reach, at the last f32 on either side.
template <class Codec>
void require_refuses_beyond_float16(float largest_code) {
  using nibble::pack_status;
  const auto status_of = [](float low, float high) {
    typename Codec::block block;
    const std::vector<float> values = {low, high, low / 2 + high / 2};
    return Codec::pack(values, block);
  };
  const float infinity = HUGE_VALF;
  CHECK(status_of(-65504.0F, 0.0F) == pack_status::packed);
  CHECK(status_of(std::nextafter(-65504.0F, -infinity), 0.0F) == pack_status::min_overflow);
  CHECK(status_of(-3e38F, 3e38F) == pack_status::min_overflow);
  const float reach = 65504.0F * largest_code;  // exact: 11 bits by at most 8
  CHECK(status_of(0.0F, reach) == pack_status::packed);
  CHECK(status_of(0.0F, std::nextafter(reach, infinity)) == pack_status::scale_overflow);
  CHECK(status_of(-65504.0F, reach - 65504.0F) == pack_status::packed);
  CHECK(status_of(-65504.0F, std::nextafter(reach - 65504.0F, infinity)) ==
        pack_status::scale_overflow);
  CHECK(status_of(0.0F, 3e38F) == pack_status::scale_overflow);
}

}  // namespace nibble_test
