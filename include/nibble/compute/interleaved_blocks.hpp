#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/block_source.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

namespace interleaving {
template <nibble::encoding Encoding>
[[nodiscard]] constexpr std::optional<encoding> row_encoding() noexcept {
  if constexpr (has_codec<Encoding>) {
    using codec = typename codec_of<Encoding>::type;
    if constexpr (InterleavedCodec<codec>) return codec::row_codec::encoding;
  }
  return std::nullopt;
}
}  // namespace interleaving

/// The encoding of the same values row by row: q4 of q4_r8, q8 of q8_r8. Nothing where rows of `which`
/// are not interleaved.
[[nodiscard]] constexpr std::optional<encoding> row_encoding_of(encoding which) noexcept {
  switch (which) {
#define NIBBLE_ROW_ENCODING(name, ...) \
  case encoding::name: return interleaving::row_encoding<encoding::name>();
    NIBBLE_ENCODINGS(NIBBLE_ROW_ENCODING)
#undef NIBBLE_ROW_ENCODING
  }
  return std::nullopt;
}

/// The encoding of the same values with interleaved rows: q4_r8 of q4, q8_r8 of q8. Nothing where `which`
/// has none.
[[nodiscard]] constexpr std::optional<encoding> interleaved_encoding_of(encoding which) noexcept {
  for (const encoding_description& row : encodings) {
    if (row_encoding_of(row.encoding) == which) return row.encoding;
  }
  return std::nullopt;
}

namespace interleaving {

/// Calls use(codec) with the codec of an encoding whose rows are interleaved.
template <class Use>
void with_codec(encoding which, Use&& use) {
  visit_codec(which, {}, [&]<Codec Codec>(Codec codec) {
    if constexpr (InterleavedCodec<Codec>) use(codec);
  });
}

/// Calls use(block_row, first_column_block, blocks) for each run of blocks, whose bytes are `blocks`, of
/// one block row of `row_blocks` blocks, `block_bytes` each.
template <class Use>
void for_each_run(std::uint64_t first_block, std::span<std::byte> blocks, std::uint64_t row_blocks,
                  std::size_t block_bytes, Use&& use) {
  while (!blocks.empty()) {
    const std::uint64_t column = first_block % row_blocks;
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>(row_blocks - column, blocks.size() / block_bytes));
    use(first_block / row_blocks, column, blocks.first(count * block_bytes));
    first_block += count;
    blocks = blocks.subspan(count * block_bytes);
  }
}

}  // namespace interleaving

/// The blocks of a matrix of `rows` x `cols` with interleaved rows, as `to` (q4_r8, q8_r8) has them, of
/// `from`, its blocks row by row, as row_encoding_of(to) has them: values bit for bit. Rows beyond the
/// last are zeros. There are columns.
[[nodiscard]] inline block_source interleaved_blocks(encoding to, std::uint64_t rows,
                                                     std::uint64_t cols, block_source from) {
  return
      [to, rows, cols, from = std::move(from)](std::uint64_t first_block, std::span<std::byte> blocks) {
        interleaving::with_codec(to, [&]<InterleavedCodec Codec>(Codec) {
          using block = typename Codec::block;
          using row_block = typename Codec::row_codec::block;
          const std::uint64_t row_blocks = divide_round_up(cols, Codec::row_codec::block_elements);
          std::vector<row_block> of_row;
          std::fill(blocks.begin(), blocks.end(), std::byte{0});
          interleaving::for_each_run(
              first_block, blocks, row_blocks, sizeof(block),
              [&](std::uint64_t block_row, std::uint64_t column, std::span<std::byte> run) {
                of_row.resize(run.size() / sizeof(block));
                const std::uint64_t first = block_row * Codec::block_rows;
                const std::uint64_t count = std::min<std::uint64_t>(Codec::block_rows, rows - first);
                for (std::size_t lane = 0; lane < count; ++lane) {
                  from((first + lane) * row_blocks + column, std::as_writable_bytes(std::span(of_row)));
                  for (std::size_t i = 0; i < of_row.size(); ++i) {
                    block joined;
                    std::memcpy(&joined, run.data() + i * sizeof(block), sizeof(block));
                    Codec::store_row(joined, lane, of_row[i]);
                    std::memcpy(run.data() + i * sizeof(block), &joined, sizeof(block));
                  }
                }
              });
        });
      };
}

/// The other way round: the blocks row by row, as row_encoding_of(which) has them, of `from`, blocks of
/// interleaved rows as `which` has them.
[[nodiscard]] inline block_source separated_blocks(encoding which, std::uint64_t cols,
                                                   block_source from) {
  return [which, cols, from = std::move(from)](std::uint64_t first_block, std::span<std::byte> blocks) {
    interleaving::with_codec(which, [&]<InterleavedCodec Codec>(Codec) {
      using row_block = typename Codec::row_codec::block;
      const std::uint64_t row_blocks = divide_round_up(cols, Codec::row_codec::block_elements);
      std::vector<typename Codec::block> joined;
      interleaving::for_each_run(
          first_block, blocks, row_blocks, sizeof(row_block),
          [&](std::uint64_t row, std::uint64_t column, std::span<std::byte> run) {
            joined.resize(run.size() / sizeof(row_block));
            from(row / Codec::block_rows * row_blocks + column,
                 std::as_writable_bytes(std::span(joined)));
            const auto lane = static_cast<std::size_t>(row % Codec::block_rows);
            for (std::size_t i = 0; i < joined.size(); ++i) {
              const row_block one = Codec::load_row(joined[i], lane);
              std::memcpy(run.data() + i * sizeof(one), &one, sizeof(one));
            }
          });
    });
  };
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
