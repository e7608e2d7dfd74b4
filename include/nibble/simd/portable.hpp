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

/// a[first], b[first], a[first + 1], ... as many as there are lanes.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_from(vector<std::int32_t, Architecture> a,
                                                                 vector<std::int32_t, Architecture> b,
                                                                 std::size_t first) noexcept {
  std::array<std::array<std::int32_t, lanes<Architecture>>, 2> separate;
  a.store_unaligned(separate[0].data());
  b.store_unaligned(separate[1].data());
  std::array<std::int32_t, lanes<Architecture>> joined;
  for (std::size_t i = 0; i < joined.size(); ++i) joined[i] = separate[i % 2][first + i / 2];
  return vector<std::int32_t, Architecture>::load_unaligned(joined.data());
}

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

/// a[0], b[0], a[1], b[1], ... from the lower halves of two vectors. (xsimd's zip_lo keeps to 128-bit
/// lanes in some releases and crosses them in others.)
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_low(vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture,
                                                                any_architecture) noexcept {
  return interleave_from<Architecture>(a, b, 0);
}

/// The same from the upper halves.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_high(vector<std::int32_t, Architecture> a,
                                                                 vector<std::int32_t, Architecture> b,
                                                                 Architecture,
                                                                 any_architecture) noexcept {
  return interleave_from<Architecture>(a, b, lanes<Architecture> / 2);
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
