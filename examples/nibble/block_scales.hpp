#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_command {

/// Scales and mins of blocks as values: of a super-block those of its sub-blocks.
struct block_scales {
  std::vector<float> scales{};
  std::vector<float> mins{};  ///< empty where the encoding has none
};

/// Appends those of one block.
template <class Codec>
void append_scales(const typename Codec::block& block, block_scales& to) {
  if constexpr (requires { Codec::scale(block); }) {
    to.scales.push_back(Codec::scale(block));
    if constexpr (requires { Codec::min(block); }) to.mins.push_back(Codec::min(block));
  } else {
    constexpr std::size_t count = Codec::block_elements / Codec::sub_block_elements;
    const auto scales = Codec::scale_numbers(block);
    for (std::size_t i = 0; i < count; ++i) {
      to.scales.push_back(Codec::scale_unit(block) * static_cast<float>(scales[i]));
    }
    if constexpr (requires { Codec::min_numbers(block); }) {
      const auto mins = Codec::min_numbers(block);
      for (std::size_t i = 0; i < count; ++i) {
        to.mins.push_back(Codec::min_unit(block) * static_cast<float>(mins[i]));
      }
    }
  }
}

/// The scales of `count` blocks of a tensor from block `first` on, the one scale of a tensor that has one,
/// or nothing for an encoding that has none or does not tell. Blocks of interleaved rows count as those of
/// each row, one row after the other.
[[nodiscard]] inline std::optional<block_scales> scales_of(const nibble::tensor_view& tensor,
                                                           std::uint64_t first, std::uint64_t count) {
  std::optional<block_scales> found;
  nibble::visit_codec(tensor.encoding(), tensor.name(), [&](auto codec) {
    using Codec = decltype(codec);
    if constexpr (nibble::TensorScaleCodec<Codec>) {
      if (tensor.bytes().empty()) return;
      typename Codec::header header;
      std::memcpy(&header, tensor.bytes().data(), sizeof(header));
      found = block_scales{.scales = {header.scale}};
    } else if constexpr (nibble::InterleavedCodec<Codec>) {
      using row_codec = typename Codec::row_codec;
      const std::uint64_t row_blocks =
          nibble::divide_round_up(tensor.cols(), row_codec::block_elements);
      found.emplace();
      for (std::uint64_t i = first; i < first + count; ++i) {
        const std::uint64_t row = i / row_blocks;
        const std::uint64_t at = row / Codec::block_rows * row_blocks + i % row_blocks;
        typename Codec::block block;
        std::memcpy(&block, tensor.bytes().data() + at * sizeof(block), sizeof(block));
        append_scales<row_codec>(
            Codec::load_row(block, static_cast<std::size_t>(row % Codec::block_rows)), *found);
      }
    } else if constexpr (nibble::BlockCodec<Codec>) {
      using Block = typename Codec::block;
      constexpr bool tells = requires(const Block& block) { Codec::scale(block); }
      || requires(const Block& block) { Codec::scale_numbers(block); };
      if constexpr (tells) {
        found.emplace();
        for (std::uint64_t i = first; i < first + count; ++i) {
          Block block;
          std::memcpy(static_cast<void*>(&block), tensor.bytes().data() + i * sizeof(block),
                      sizeof(block));
          append_scales<Codec>(block, *found);
        }
      }
    }
  });
  return found;
}

}  // namespace nibble_command
