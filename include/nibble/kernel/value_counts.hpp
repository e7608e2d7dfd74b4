#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/decode.hpp>

namespace nibble {

/// What a tensor's values are, counted over all of them.
struct value_counts {
  std::uint64_t elements = 0;
  std::uint64_t nan = 0;
  std::uint64_t infinite = 0;
  std::uint64_t zero = 0;               ///< of either sign
  std::uint64_t non_finite_scales = 0;  ///< stored scales and mins that are NaN or infinite
};

inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

template <Codec Codec>
[[nodiscard]] std::uint64_t count_non_finite_scales(std::span<const std::byte> bytes) noexcept {
  std::uint64_t count = 0;
  if constexpr (TensorScaleCodec<Codec>) {
    if (bytes.empty()) return 0;
    typename Codec::header header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    count = is_finite(header.scale) ? 0 : 1;
  } else if constexpr (BlockCodec<Codec>) {
    for (; !bytes.empty(); bytes = bytes.subspan(sizeof(typename Codec::block))) {
      typename Codec::block block;
      std::memcpy(&block, bytes.data(), sizeof(block));
      if constexpr (requires { block.scale; }) count += is_finite(block.scale) ? 0U : 1U;
      if constexpr (Codec::has_min) count += is_finite(block.min) ? 0U : 1U;
    }
  }
  return count;
}

/// As they are stored: a double beyond f32 is no infinity, though it decodes to one.
inline void count_doubles(std::span<const std::byte> bytes, value_counts& census) noexcept {
  for (; !bytes.empty(); bytes = bytes.subspan(sizeof(double))) {
    constexpr std::uint64_t infinity = 0x7FF0000000000000U;
    std::uint64_t bits = 0;
    std::memcpy(&bits, bytes.data(), sizeof(bits));
    const std::uint64_t magnitude = bits & ~(std::uint64_t{1} << 63U);
    census.nan += magnitude > infinity ? 1U : 0U;
    census.infinite += magnitude == infinity ? 1U : 0U;
    census.zero += magnitude == 0 ? 1U : 0U;
  }
}

/// count_values, by one architecture's kernels.
template <class Architecture>
[[nodiscard]] value_counts count_values(const tensor_view& of) {
  value_counts census{.elements = of.elements()};
  visit_codec(of.encoding(), of.name(), [&]<Codec Codec>(Codec) {
    census.non_finite_scales = count_non_finite_scales<Codec>(of.bytes());
  });
  if (of.elements() == 0) return census;
  if (of.encoding() == encoding::f64) {
    count_doubles(of.bytes(), census);
    return census;
  }
  const range_decoder decoder = decoder_of<Architecture>(of);
  constexpr std::uint64_t panel_elements = 1U << 14U;
  std::vector<float> panel(
      static_cast<std::size_t>(std::min<std::uint64_t>(panel_elements, of.elements())));
  const auto count = [&](row_position at, std::uint64_t length) {
    while (length != 0) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(length, panel.size()));
      decoder.decode_range(at.run, at.first, part, panel.data());
      for (const float value : std::span(panel).first(part)) {
        census.nan += is_nan(value) ? 1U : 0U;
        census.infinite += !is_finite(value) && !is_nan(value) ? 1U : 0U;
        census.zero += value == 0.0F ? 1U : 0U;
      }
      at.first += part;
      length -= part;
    }
  };
  if (decoder.of.blocks_run_along == block_run::tensor) {
    count(position_of_row(decoder.of, of, 0), of.elements());
  } else {
    for (std::uint64_t row = 0; row < of.rows(); ++row) {
      count(position_of_row(decoder.of, of, row), of.cols());
    }
  }
  return census;
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
