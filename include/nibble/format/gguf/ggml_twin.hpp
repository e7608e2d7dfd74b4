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

/// The encoding with a ggml type whose blocks hold the same values as blocks of `which`, bit for bit:
/// `which` itself where it has a ggml type, q4_1 for q4, q4_0 for apr_q4. Nothing for the others: no
/// encoding of GGUF holds their values. One block becomes one block only where rows are whole blocks.
[[nodiscard]] constexpr std::optional<encoding> ggml_twin_of(encoding which) noexcept {
  if (describe(which).gguf_type) return which;
  if (which == encoding::q4) return encoding::q4_1;
  if (which == encoding::apr_q4) return encoding::q4_0;
  return std::nullopt;
}

// The encodings of a pair have blocks of one size.
static_assert(describe(encoding::q4).block_bytes == describe(encoding::q4_1).block_bytes);
static_assert(describe(encoding::q4).block_elements == describe(encoding::q4_1).block_elements);
static_assert(describe(encoding::apr_q4).block_bytes == describe(encoding::q4_0).block_bytes);
static_assert(describe(encoding::apr_q4).block_elements == describe(encoding::q4_0).block_elements);

/// Whether blocks of `which` and of its ggml twin differ in where the codes lie.
[[nodiscard]] constexpr bool moves_codes(encoding which) noexcept { return which == encoding::apr_q4; }

/// Turns the whole blocks `from` of `which` into blocks of its ggml twin, which has as many bytes; `to`
/// is `from` or does not overlap it. Blocks of q4 and of ggml's encodings are copied. In blocks of apr_q4 the
/// codes of neighbours share a byte, in those of q4_0 codes that are 16 apart; a scale that counts as 0
/// is stored as 0. The values stay the same, with the sign of zeros.
inline void to_ggml_twin(encoding which, std::span<const std::byte> from,
                         std::span<std::byte> to) noexcept {
  if (!moves_codes(which)) {
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
