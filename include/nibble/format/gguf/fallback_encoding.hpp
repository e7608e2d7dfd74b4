#pragma once

#include <array>
#include <cstdint>

#include <nibble/core/encoding.hpp>

namespace nibble::gguf {

/// What llama-quantize stores a row in that is no multiple of an encoding's block.
struct fallback {
  encoding wanted;  ///< what was asked for
  encoding given;   ///< of blocks of 32 elements
};

/// One row an encoding of blocks of more than 32 elements that f32 is packed into, or other programs
/// pack. Source: tensor_type_fallback() in llama.cpp's
/// llama-quant.cpp.
inline constexpr std::array fallbacks{
    fallback{encoding::q2_k, encoding::q4_0},      fallback{encoding::q3_k, encoding::q4_0},
    fallback{encoding::q4_k, encoding::q5_0},      fallback{encoding::q5_k, encoding::q5_1},
    fallback{encoding::q6_k, encoding::q8_0},      fallback{encoding::q2_0, encoding::q4_0},
    fallback{encoding::tq1_0, encoding::q4_0},     fallback{encoding::tq2_0, encoding::q4_0},
    fallback{encoding::iq1_s, encoding::iq4_nl},   fallback{encoding::iq1_m, encoding::iq4_nl},
    fallback{encoding::iq2_xxs, encoding::iq4_nl}, fallback{encoding::iq2_xs, encoding::iq4_nl},
    fallback{encoding::iq2_s, encoding::iq4_nl},   fallback{encoding::iq3_xxs, encoding::iq4_nl},
    fallback{encoding::iq3_s, encoding::iq4_nl},   fallback{encoding::iq4_xs, encoding::iq4_nl},
};

/// The encoding that a row of `row_elements` is stored in where `wanted` is asked for: `wanted` itself
/// where the row is whole blocks of it, otherwise the one that llama-quantize takes, of smaller blocks
/// and about as many bits, or f16 where the row is no whole blocks of that either.
[[nodiscard]] constexpr encoding fallback_encoding(encoding wanted,
                                                   std::uint64_t row_elements) noexcept {
  const auto has_whole_blocks = [&](encoding which) {
    return row_elements % describe(which).block_elements == 0;
  };
  if (has_whole_blocks(wanted)) return wanted;
  for (const fallback& each : fallbacks) {
    if (each.wanted == wanted && has_whole_blocks(each.given)) return each.given;
  }
  return encoding::f16;
}

}  // namespace nibble::gguf
