#pragma once

// Counts a tensor's values by kind. Loop nest:
//
//   for each row, or once for a tensor whose blocks run along it all (not for its columns)
//     for each panel of 16,384 values (64 KiB): decode it, then count its values
//
// Scales are counted in a pass of their own, as they are stored.

#include <algorithm>
#include <bit>
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

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Stored scales and mins of a tensor that are NaN or infinite.
template <Codec Codec>
[[nodiscard]] std::uint64_t count_non_finite_scales(std::span<const std::byte> bytes) noexcept {
  std::uint64_t count = 0;
  if constexpr (TensorScaleCodec<Codec>) {
    if (bytes.empty()) return 0;
    typename Codec::header header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    count = is_finite(header.scale) ? 0 : 1;
  } else if constexpr (InterleavedCodec<Codec>) {
    for (; !bytes.empty(); bytes = bytes.subspan(sizeof(typename Codec::block))) {
      typename Codec::block block;
      std::memcpy(&block, bytes.data(), sizeof(block));
      for (const float16 scale : block.scales) count += is_finite(scale) ? 0U : 1U;
      for (const float16 min : block.mins) count += is_finite(min) ? 0U : 1U;
    }
  } else if constexpr (BlockCodec<Codec>) {
    for (; !bytes.empty(); bytes = bytes.subspan(sizeof(typename Codec::block))) {
      typename Codec::block block;
      std::memcpy(&block, bytes.data(), sizeof(block));
      if constexpr (requires { block.scale; }) {
        count += is_finite(block.scale) ? 0U : 1U;
      } else if constexpr (requires { Codec::stored_scale(block); }) {
        count += is_finite(Codec::stored_scale(block)) ? 0U : 1U;
      }
      if constexpr (Codec::has_min) count += is_finite(block.min) ? 0U : 1U;
    }
  }
  return count;
}

/// Adds the values of f64 elements to counts, as they are stored: a double that is too large for f32 is
/// finite, though it decodes to an infinity.
inline void count_doubles(std::span<const std::byte> bytes, value_counts& counts) noexcept {
  for (; !bytes.empty(); bytes = bytes.subspan(sizeof(double))) {
    constexpr std::uint64_t infinity = 0x7FF0000000000000U;
    std::uint64_t bits = 0;
    std::memcpy(&bits, bytes.data(), sizeof(bits));
    const std::uint64_t magnitude = bits & ~(std::uint64_t{1} << 63U);
    counts.nan += magnitude > infinity ? 1U : 0U;
    counts.infinite += magnitude == infinity ? 1U : 0U;
    counts.zero += magnitude == 0 ? 1U : 0U;
  }
}

/// Adds the values of some floats to counts. Counters of 32 bits, so that compilers count a vector at once.
inline void count_floats(std::span<const float> values, value_counts& counts) noexcept {
  constexpr std::uint32_t infinity = 0x7F800000U;
  constexpr std::size_t most_at_once = std::size_t{1} << 30U;
  for (; !values.empty(); values = values.subspan(std::min(values.size(), most_at_once))) {
    const auto some = values.first(std::min(values.size(), most_at_once));
    const auto magnitude = [](float value) {
      return std::bit_cast<std::uint32_t>(value) & ~(std::uint32_t{1} << 31U);
    };
    std::uint32_t zero = 0;
    std::uint32_t not_finite = 0;
    for (const float value : some) {
      zero += magnitude(value) == 0 ? 1U : 0U;
      not_finite += magnitude(value) >= infinity ? 1U : 0U;
    }
    counts.zero += zero;
    if (not_finite == 0) continue;
    for (const float value : some) {
      counts.nan += magnitude(value) > infinity ? 1U : 0U;
      counts.infinite += magnitude(value) == infinity ? 1U : 0U;
    }
  }
}

/// Counts the values of a composed weight, rows of about a panel at a time.
[[nodiscard]] inline value_counts count_composed(const tensor_view& tensor) {
  value_counts counts{.elements = tensor.elements()};
  if (tensor.elements() == 0) return counts;
  constexpr std::uint64_t panel_elements = 1U << 14U;
  const std::uint64_t panel_rows =
      std::min(tensor.rows(), std::max<std::uint64_t>(1, panel_elements / tensor.cols()));
  std::vector<float> panel(static_cast<std::size_t>(panel_rows * tensor.cols()));
  for (std::uint64_t row = 0; row < tensor.rows(); row += panel_rows) {
    const std::uint64_t rows = std::min(panel_rows, tensor.rows() - row);
    const std::span<float> decoded(panel.data(), static_cast<std::size_t>(rows * tensor.cols()));
    tensor.composed()->decode_rows(row, rows, decoded);
    count_floats(decoded, counts);
  }
  return counts;
}

/// Calls use(bytes) with all stored bytes, or where rows lie apart with those of each row, or of all rows
/// that share blocks.
template <class Use>
void for_stored_bytes(const tensor_view& tensor, Use&& use) {
  if (tensor.is_contiguous()) {
    use(tensor.bytes());
  } else {
    const std::uint64_t unit = tensor.block_rows();
    for (std::uint64_t row = 0; row < tensor.rows(); row += unit) {
      use(tensor.rows(row, std::min(unit, tensor.rows() - row)).bytes());
    }
  }
}

/// The public count_values, by one architecture's kernels.
template <class Architecture>
[[nodiscard]] value_counts count_values(const tensor_view& tensor) {
  value_counts counts{.elements = tensor.elements()};
  visit_stored_codec(tensor.encoding(), tensor.name(), [&]<Codec Codec>(Codec) {
    for_stored_bytes(tensor, [&](std::span<const std::byte> bytes) {
      counts.non_finite_scales += count_non_finite_scales<Codec>(bytes);
    });
  });
  if (tensor.elements() == 0) return counts;
  if (tensor.encoding() == encoding::f64) {
    for_stored_bytes(tensor, [&](std::span<const std::byte> bytes) { count_doubles(bytes, counts); });
    return counts;
  }
  const range_decoder decoder = decoder_of<Architecture>(tensor);
  constexpr std::uint64_t panel_elements = 1U << 14U;
  std::vector<float> panel(
      static_cast<std::size_t>(std::min<std::uint64_t>(panel_elements, tensor.elements())));
  const auto count_sequence = [&](row_position at, std::uint64_t elements) {
    while (elements != 0) {
      const auto decoded = static_cast<std::size_t>(std::min<std::uint64_t>(elements, panel.size()));
      decoder.decode(at, 0, decoded, panel.data());
      count_floats({panel.data(), decoded}, counts);
      at.first_element += decoded;
      elements -= decoded;
    }
  };
  if (is_one_sequence(decoder.description, tensor)) {
    count_sequence(position_of_row(tensor, 0), tensor.elements());
  } else {
    for (std::uint64_t row = 0; row < tensor.rows(); ++row) {
      count_sequence(position_of_row(tensor, row), tensor.cols());
    }
  }
  return counts;
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
