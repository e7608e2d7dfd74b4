// Scalar codecs on arbitrary floats and bytes: what packs decodes to finite values within the bound
// that the codec's file derives, what does not says why, and any bytes decode to what format/README.md
// says.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include <nibble/codec/codecs.hpp>

#include <codec/independent_decoder.hpp>

#include "use.hpp"

namespace {

using nibble_fuzz::require;

bool is_same(float one, float other) {
  return std::bit_cast<std::uint32_t>(one) == std::bit_cast<std::uint32_t>(other) ||
         (std::isnan(one) && std::isnan(other));
}

/// Decoded values against the decoder that was written from format/README.md.
void check_decoded(nibble::encoding which, std::span<const std::byte> bytes,
                   std::span<const float> values) {
  const nibble_test::independent_decoder expected(nibble::to_string(which), bytes, values.size());
  for (std::size_t i = 0; i < values.size(); ++i) require(is_same(values[i], expected(0, i)));
}

/// Finite floats of every size, mostly near each other, for such are what blocks are made for.
std::vector<float> some_floats(FuzzedDataProvider& from, std::size_t count) {
  std::vector<float> values(count);
  const int way = from.ConsumeIntegralInRange(0, 2);
  const float scale = std::ldexp(1.0F, from.ConsumeIntegralInRange(-149, 120));
  const float offset =
      way == 1 ? scale * static_cast<float>(from.ConsumeIntegralInRange(-300, 300)) : 0;
  for (float& value : values) {
    if (way == 2) {
      value = std::bit_cast<float>(from.ConsumeIntegral<std::uint32_t>());
    } else {
      value = scale * static_cast<float>(from.ConsumeIntegral<std::int8_t>()) + offset;
    }
    if (!std::isfinite(value)) value = 0.0F;
  }
  return values;
}

float largest_magnitude(std::span<const float> values) {
  float largest = 0.0F;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

/// The bound of each packable codec's documentation, on an element.
template <class Codec>
double bound_of(const typename Codec::block& block, std::span<const float> all, float value,
                float decoded, bool is_reference) {
  if constexpr (std::same_as<Codec, nibble::q4> || std::same_as<Codec, nibble::q8>) {
    const double slack = std::same_as<Codec, nibble::q4> ? 0x1p-18 : 0x1p-14;
    const auto scale = static_cast<double>(Codec::scale(block));
    const double from_min = static_cast<double>(value) - static_cast<double>(Codec::min(block));
    if (from_min < -0.5 * scale || from_min > (Codec::largest_code + 0.5) * scale) {
      return 2.0 * static_cast<double>(largest_magnitude(all)) + 0x1p-14;
    }
    return scale * (0.5 + slack) + 0x1p-24 * std::fabs(static_cast<double>(decoded));
  } else if constexpr (std::same_as<Codec, nibble::apr_q4>) {
    const double scale = std::fabs(static_cast<double>(Codec::scale(block)));
    const double steps =
        scale == 0.0 ? 100.0 : static_cast<double>(value) / static_cast<double>(Codec::scale(block));
    if (steps > -8.5 && steps < 7.5) return scale * (0.5 + (is_reference ? 0x1p-8 : 0x1p-19));
    return largest_magnitude(all);
  } else {
    // Nothing tighter is promised of an element: no error is larger than twice the largest value.
    return 2.0 * static_cast<double>(largest_magnitude(all)) + 0x1p-14;
  }
}

template <nibble::BlockCodec Codec>
void check_blocks(FuzzedDataProvider& from) {
  using block_type = typename Codec::block;
  const auto count = from.ConsumeIntegralInRange<std::size_t>(1, Codec::block_elements);
  block_type block;
  std::array<std::byte, sizeof(block_type)> bytes{};
  if constexpr (nibble::PackableCodec<Codec>) {
    if (from.ConsumeBool()) {
      const std::vector<float> values = some_floats(from, count);
      bool is_reference = false;
      nibble::pack_status status{};
      std::memset(&block, 0xA5, sizeof(block));
      if constexpr (requires {
                      Codec::pack(std::span<const float>(values), block, nibble::packing_rule::best);
                    }) {
        is_reference = from.ConsumeBool();
        status = Codec::pack(
            values, block, is_reference ? nibble::packing_rule::reference : nibble::packing_rule::best);
      } else {
        status = Codec::pack(values, block);
      }
      const float largest = largest_magnitude(values);
      if (status != nibble::pack_status::packed) {
        // What the type of the scale holds is always packed.
        require(largest > (Codec::encoding == nibble::encoding::nvfp4 ? 2700.0F : 60000.0F));
        return;
      }
      // And never what lies beyond 65504 times the largest numbers of any encoding, q6_k's 128 and 32.
      require(is_reference || largest < 65504.0F * 128.0F * 33.0F);
      std::memcpy(bytes.data(), &block, sizeof(block));
      std::vector<float> decoded(Codec::block_elements);
      Codec::unpack(block, decoded);
      check_decoded(Codec::encoding, bytes, decoded);
      for (std::size_t i = 0; i < count; ++i) {
        if (is_reference && largest > 60000.0F)
          break;  // its scale may overflow, as the reference's does
        require(std::isfinite(decoded[i]));
        const double error =
            std::fabs(static_cast<double>(values[i]) - static_cast<double>(decoded[i]));
        require(error <= bound_of<Codec>(block, values, values[i], decoded[i], is_reference));
      }
      // The same values, the same bytes.
      block_type again;
      std::memset(&again, 0x5A, sizeof(again));
      if constexpr (requires {
                      Codec::pack(std::span<const float>(values), again, nibble::packing_rule::best);
                    }) {
        static_cast<void>(
            Codec::pack(values, again,
                        is_reference ? nibble::packing_rule::reference : nibble::packing_rule::best));
      } else {
        static_cast<void>(Codec::pack(values, again));
      }
      require(std::memcmp(&block, &again, sizeof(block)) == 0);
      return;
    }
  }
  const auto given = from.ConsumeBytes<std::uint8_t>(sizeof(block_type));
  for (std::size_t i = 0; i < given.size(); ++i) bytes[i] = static_cast<std::byte>(given[i]);
  std::memcpy(&block, bytes.data(), sizeof(block));
  std::vector<float> decoded(count);
  Codec::unpack(block, decoded);
  check_decoded(Codec::encoding, bytes, decoded);
}

template <nibble::PlainCodec Codec>
void check_plain(FuzzedDataProvider& from) {
  using stored_type = typename Codec::stored_type;
  std::array<std::byte, sizeof(stored_type)> bytes{};
  if constexpr (Codec::can_pack) {
    if (from.ConsumeBool()) {
      const auto value = std::bit_cast<float>(from.ConsumeIntegral<std::uint32_t>());
      const stored_type stored = Codec::pack(value);
      std::memcpy(bytes.data(), &stored, sizeof(stored));
      const float decoded = Codec::unpack(stored);
      check_decoded(Codec::encoding, bytes, std::span(&decoded, 1));
      require(std::isnan(value) == std::isnan(decoded));
      // What was decoded packs to the same number.
      require(is_same(Codec::unpack(Codec::pack(decoded)), decoded));
      return;
    }
  }
  const auto given = from.ConsumeBytes<std::uint8_t>(bytes.size());
  for (std::size_t i = 0; i < given.size(); ++i) bytes[i] = static_cast<std::byte>(given[i]);
  stored_type stored;
  std::memcpy(&stored, bytes.data(), sizeof(stored));
  const float decoded = Codec::unpack(stored);
  check_decoded(Codec::encoding, bytes, std::span(&decoded, 1));
}

template <nibble::TensorScaleCodec Codec>
void check_tensor_scale(FuzzedDataProvider& from) {
  const auto count = from.ConsumeIntegralInRange<std::size_t>(1, 100);
  const std::vector<float> values = some_floats(from, count);
  const float largest = Codec::largest_magnitude(values);
  require(largest == largest_magnitude(values));
  std::vector<std::int8_t> codes(count);
  std::vector<float> decoded(count);
  std::vector<std::byte> bytes(sizeof(float) + count);
  const auto check_scale = [&](float scale, nibble::packing_rule rule) {
    Codec::code(values, scale, rule, codes);
    Codec::unpack(scale, codes, decoded);
    std::memcpy(bytes.data(), &scale, sizeof(scale));
    std::memcpy(bytes.data() + sizeof(scale), codes.data(), count);
    check_decoded(Codec::encoding, bytes, decoded);
    for (std::size_t i = 0; i < count; ++i) {
      require(codes[i] != -128);
      require(std::isfinite(decoded[i]) || rule == nibble::packing_rule::reference);
      const double steps = static_cast<double>(values[i]) / static_cast<double>(scale);
      if (scale == 0.0F || std::fabs(steps) > 127.0) continue;
      const double error = std::fabs(static_cast<double>(values[i]) - static_cast<double>(decoded[i]));
      // To f32 rounding of the quotient and of the product.
      require(error <= static_cast<double>(scale) * (0.5 + 0x1p-15) +
                           0x1p-24 * std::fabs(static_cast<double>(decoded[i])));
    }
  };
  check_scale(Codec::reference_scale(largest), nibble::packing_rule::reference);
  if (largest == 0.0F) return;
  for (const float scale : Codec::candidate_scales(largest)) {
    check_scale(scale, nibble::packing_rule::best);
  }
}

/// Rows that are put side by side come back, and decode to what format/README.md says.
template <nibble::InterleavedCodec Codec>
void check_interleaved(FuzzedDataProvider& from) {
  using row_codec = typename Codec::row_codec;
  const auto given = from.ConsumeBytes<std::uint8_t>(sizeof(typename Codec::block));
  std::array<std::byte, sizeof(typename Codec::block)> bytes{};
  std::ranges::copy(std::as_bytes(std::span(given)), bytes.begin());
  typename Codec::block block;
  std::memcpy(&block, bytes.data(), sizeof(block));
  const nibble_test::independent_decoder documented(nibble::to_string(Codec::encoding), bytes,
                                                    row_codec::block_elements);
  typename Codec::block joined{};
  for (std::size_t row = 0; row < Codec::block_rows; ++row) {
    const auto one = Codec::load_row(block, row);
    std::array<float, row_codec::block_elements> decoded{};
    row_codec::unpack(one, decoded);
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const float expected = documented(row, i);
      require(std::bit_cast<std::uint32_t>(decoded[i]) == std::bit_cast<std::uint32_t>(expected) ||
              (std::isnan(decoded[i]) && std::isnan(expected)));
    }
    Codec::store_row(joined, row, one);
  }
  require(std::memcmp(&joined, bytes.data(), sizeof(joined)) == 0);
}

template <nibble::encoding Encoding>
void check(FuzzedDataProvider& from) {
  if constexpr (nibble::has_codec<Encoding>) {
    using codec = typename nibble::codec_of<Encoding>::type;
    if constexpr (nibble::PlainCodec<codec>) {
      check_plain<codec>(from);
    } else if constexpr (nibble::TensorScaleCodec<codec>) {
      check_tensor_scale<codec>(from);
    } else if constexpr (nibble::InterleavedCodec<codec>) {
      check_interleaved<codec>(from);
    } else {
      check_blocks<codec>(from);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider from(data, size);
  const auto which = static_cast<nibble::encoding>(
      from.ConsumeIntegralInRange<std::size_t>(0, nibble::encodings.size() - 1));
  switch (which) {
#define NIBBLE_CHECK(name, ...) \
  case nibble::encoding::name: check<nibble::encoding::name>(from); break;
    NIBBLE_ENCODINGS(NIBBLE_CHECK)
#undef NIBBLE_CHECK
  }
  return 0;
}
