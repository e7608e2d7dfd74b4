#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/core/bfloat16.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
inline namespace NIBBLE_ARCHITECTURE {

/// Every operation of this folder, for any architecture, lane by lane. Overloads for an instruction set
/// stand in the file of its name and give the same bits.
///
/// Each reads or writes exactly lanes<Architecture> elements at any alignment.

/// Bytes 0..255 widened to 32-bit integers.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     any_architecture) noexcept {
  std::array<std::int32_t, lanes<Architecture>> wide;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = std::to_integer<std::uint8_t>(from[i]);
  return vector<std::int32_t, Architecture>::load_unaligned(wide.data());
}

/// Bytes -128..127 widened to 32-bit integers.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   any_architecture) noexcept {
  std::array<std::int32_t, lanes<Architecture>> wide;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = std::to_integer<std::int8_t>(from[i]);
  return vector<std::int32_t, Architecture>::load_unaligned(wide.data());
}

/// float16 widened to f32, as to_float32 does it.
template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       any_architecture) noexcept {
  std::array<float16, lanes<Architecture>> halves;
  std::memcpy(halves.data(), from, sizeof(halves));
  std::array<float, lanes<Architecture>> wide;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = to_float32(halves[i]);
  return load<Architecture>(wide.data());
}

/// bfloat16 widened to f32, as to_float32 does it.
template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_bfloat16(const std::byte* from, Architecture,
                                                        any_architecture) noexcept {
  std::array<bfloat16, lanes<Architecture>> halves;
  std::memcpy(halves.data(), from, sizeof(halves));
  std::array<float, lanes<Architecture>> wide;
  for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = to_float32(halves[i]);
  return load<Architecture>(wide.data());
}

/// f32 rounded to float16, as to_float16 does it.
template <class Architecture>
void store_float16(vector<float, Architecture> values, std::byte* to, Architecture,
                   any_architecture) noexcept {
  std::array<float, lanes<Architecture>> wide;
  values.store_unaligned(wide.data());
  std::array<float16, lanes<Architecture>> halves;
  for (std::size_t i = 0; i < wide.size(); ++i) halves[i] = to_float16(wide[i]);
  std::memcpy(to, halves.data(), sizeof(halves));
}

/// f32 rounded to bfloat16, as to_bfloat16 does it.
template <class Architecture>
void store_bfloat16(vector<float, Architecture> values, std::byte* to, Architecture,
                    any_architecture) noexcept {
  std::array<float, lanes<Architecture>> wide;
  values.store_unaligned(wide.data());
  std::array<bfloat16, lanes<Architecture>> halves;
  for (std::size_t i = 0; i < wide.size(); ++i) halves[i] = to_bfloat16(wide[i]);
  std::memcpy(to, halves.data(), sizeof(halves));
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd
