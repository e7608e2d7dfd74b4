#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include <nibble/codec/apr_q4.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble::gguf {

/// The encoding with a ggml type whose blocks hold the same values as blocks of `which`: that itself
/// where it has one, q4_1 for q4 and q4_0 for apr_q4. Nothing for the others, whose values no encoding
/// of GGUF's holds bit for bit. Blocks stand for blocks only where rows are whole blocks.
[[nodiscard]] constexpr std::optional<encoding> ggml_twin_of(encoding which) noexcept {
  if (describe(which).gguf_type) return which;
  if (which == encoding::q4) return encoding::q4_1;
  if (which == encoding::apr_q4) return encoding::q4_0;
  return std::nullopt;
}

// Whoever changes one of a pair is told here that they no longer are one.
static_assert(describe(encoding::q4).block_bytes == describe(encoding::q4_1).block_bytes);
static_assert(describe(encoding::q4).block_elements == describe(encoding::q4_1).block_elements);
static_assert(describe(encoding::apr_q4).block_bytes == describe(encoding::q4_0).block_bytes);
static_assert(describe(encoding::apr_q4).block_elements == describe(encoding::q4_0).block_elements);

/// Turns whole blocks of `which` into blocks of its ggml twin, of the same number of bytes. q4 and
/// ggml's own are copied. Of apr_q4, codes of neighbours, which share a byte, come to stand 16 apart,
/// and a scale that counts as 0 is stored as 0: the values stay what they were, to the sign of zero.
inline void to_ggml_twin(encoding which, std::span<const std::byte> from,
                         std::span<std::byte> to) noexcept {
  if (which != encoding::apr_q4) {
    std::copy_n(from.begin(), to.size(), to.begin());
    return;
  }
  for (std::size_t at = 0; at < to.size(); at += sizeof(apr_q4::block)) {
    apr_q4::block block;
    std::memcpy(&block, from.data() + at, sizeof(block));
    block.scale = apr_q4::stored_scale(block);
    const auto neighbours = block.codes;
    for (std::size_t i = 0; i < neighbours.size() / 2; ++i) {
      const unsigned low = neighbours[i];       // codes 2 i and 2 i + 1
      const unsigned high = neighbours[i + 8];  // the same 16 further
      block.codes[2 * i] = static_cast<std::uint8_t>((low & 15U) | (high & 15U) << 4U);
      block.codes[2 * i + 1] = static_cast<std::uint8_t>(low >> 4U | (high & 0xF0U));
    }
    std::memcpy(to.data() + at, &block, sizeof(block));
  }
}

}  // namespace nibble::gguf
