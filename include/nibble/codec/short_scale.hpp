#pragma once

#include <bit>
#include <cstdint>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// `scale` cut to 16 significant bits, towards zero: its product with a code of up to 8 bits is exact
/// in f32.
[[nodiscard]] inline float short_scale(float scale) noexcept {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scale) & 0xFFFFFF00U);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
