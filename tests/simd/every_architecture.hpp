#pragma once

#include <nibble/simd/vector.hpp>

#include <simd/emulated_widths.hpp>
#include <support/catch.hpp>

namespace nibble_test {

/// Calls check(Architecture), in a section each, for what this program is compiled for, for the
/// portable operations and for emulated widths.
template <class Check>
void for_every_architecture(const Check& check) {
  SECTION("best architecture") { check(nibble::simd::best_architecture{}); }
  SECTION("portable") { check(nibble::simd::portable{}); }
  SECTION("emulated widths") { for_emulated_widths(check); }
}

}  // namespace nibble_test
