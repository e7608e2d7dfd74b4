#pragma once

#include <cstdint>
#include <string_view>

namespace nibble {

/// How the activations are treated. f16, bf16 and f32 weights are multiplied exactly in every mode (but
/// bf16 in int8, from 4 rows of activations on, by an instruction set that multiplies bf16, which takes
/// activations rounded to bf16), and so are apr_q4 weights whose rows do not start at a block's start (cols no multiple of 32) and
/// weights of nvfp4 and of iq1 to iq3, tq1_0, tq2_0, q1_0 and q2_0, which are decoded first.
enum class matmul_mode : std::uint8_t {
  exact,  ///< as f32: the result of multiplying by the dequantized weights, to f32 rounding
  int16,  ///< as 16-bit codes with a scale for every 32
  int8,   ///< as 8-bit codes with a scale for every 32; where the instruction set cannot multiply bytes
          ///< of 0..255 by signed ones without saturating, weights of more than 4 bits (of 5 and 6
          ///< bits only from 13 rows of activations on), and those whose codes are looked up (iq4_nl,
          ///< iq4_xs), take 16-bit codes, and so do everywhere mxfp4, whose scales may be near f32's
          ///< largest number, and apr_q8 under a scale of 2^64 or more
};

/// Its name: "int8".
[[nodiscard]] constexpr std::string_view to_string(matmul_mode mode) noexcept {
  switch (mode) {
    case matmul_mode::int16: return "int16";
    case matmul_mode::int8: return "int8";
    default: return "exact";
  }
}

}  // namespace nibble
