#pragma once

#include <nibble/simd/vector.hpp>

#include <support/catch.hpp>

namespace nibble_test {

/// Calls check(Architecture) for vectors of 128, 256 and 512 bits, whatever this machine has, where
/// xsimd emulates them: from release 13 on, if it is told to by XSIMD_WITH_EMULATED.
template <class Check>
void for_emulated_widths([[maybe_unused]] const Check& check) {
#if defined(XSIMD_WITH_EMULATED) && XSIMD_WITH_EMULATED
  check(xsimd::emulated<128>{});
  check(xsimd::emulated<256>{});
  check(xsimd::emulated<512>{});
#else
  WARN("passed by: this xsimd emulates no widths");
#endif
}

}  // namespace nibble_test
