#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <nibble/core/bfloat16.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
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

/// The bits of `low` where mask has ones, else those of `high`.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> join_bits(vector<std::int32_t, Architecture> low,
                                                           vector<std::int32_t, Architecture> high,
                                                           vector<std::int32_t, Architecture> mask,
                                                           Architecture, any_architecture) noexcept {
  return high ^ ((low ^ high) & mask);
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

/// The first half of the lanes from `low` on, the second half from `high` on: half a vector's bytes of
/// each.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_halves(const std::byte* low,
                                                             const std::byte* high, Architecture,
                                                             any_architecture) noexcept {
  std::array<std::int32_t, lanes<Architecture>> words;
  std::memcpy(words.data(), low, sizeof(words) / 2);
  std::memcpy(words.data() + words.size() / 2, high, sizeof(words) / 2);
  return vector<std::int32_t, Architecture>::load_unaligned(words.data());
}

/// The same of float16, widened as load_float16 does it.
template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16_halves(const std::byte* low,
                                                              const std::byte* high, Architecture,
                                                              any_architecture) noexcept {
  std::array<std::byte, lanes<Architecture> * sizeof(float16)> both;
  std::memcpy(both.data(), low, both.size() / 2);
  std::memcpy(both.data() + both.size() / 2, high, both.size() / 2);
  return load_float16<Architecture>(both.data(), Architecture{}, Architecture{});
}

/// As many 32-bit words as there are lanes, each StrideBytes (16 or more) behind the one before it.
/// Reads nothing before the first of them nor behind as many StrideBytes.
template <std::size_t StrideBytes, class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_words_apart(const std::byte* from, Architecture,
                                                                  any_architecture) noexcept {
  static_assert(StrideBytes >= 16);
  std::array<std::int32_t, lanes<Architecture>> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::memcpy(&words[i], from + i * StrideBytes, sizeof(words[i]));
  }
  return vector<std::int32_t, Architecture>::load_unaligned(words.data());
}

/// Two float16 of every word, widened to f32: those of the low halves, those of the high halves.
template <class Architecture>
[[nodiscard]] vector_pair<Architecture> widen_float16_pairs(vector<std::int32_t, Architecture> pairs,
                                                            Architecture, any_architecture) noexcept {
  std::array<float16, 2 * lanes<Architecture>> halves;
  std::array<std::int32_t, lanes<Architecture>> words;
  pairs.store_unaligned(words.data());
  std::memcpy(halves.data(), words.data(), sizeof(halves));
  std::array<float, lanes<Architecture>> low;
  std::array<float, lanes<Architecture>> high;
  for (std::size_t i = 0; i < lanes<Architecture>; ++i) {
    low[i] = to_float32(halves[2 * i]);
    high[i] = to_float32(halves[2 * i + 1]);
  }
  return {load<Architecture>(low.data()), load<Architecture>(high.data())};
}

/// Values that are finite and at least 2^-14 in magnitude, the normal numbers of float16, and 0 for
/// the others.
template <class Architecture>
[[nodiscard]] vector<float, Architecture> normal_float16_or_zero(vector<float, Architecture> values,
                                                                 Architecture,
                                                                 any_architecture) noexcept {
  std::array<float, lanes<Architecture>> kept;
  values.store_unaligned(kept.data());
  for (float& each : kept) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(each) & 0x7FFFFFFFU;
    if (magnitude < 0x38800000U || magnitude >= 0x7F800000U) each = 0.0F;
  }
  return load<Architecture>(kept.data());
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

/// Copies a cache line of floats to `to`, aligned to 64 bytes, past the caches where the instruction
/// set can: has_stores_past_caches. Others see it after order_stores_past_caches().
inline void copy_line_past_caches(const float* from, float* to, any_architecture) noexcept {
  std::memcpy(to, from, line_bytes);
}

/// Orders what was copied past the caches before all that is stored later.
inline void order_stores_past_caches(any_architecture) noexcept {}

/// The exact value of one float16, as to_float32 does it.
template <class Architecture>
[[nodiscard]] float widen_float16(float16 from, Architecture, any_architecture) noexcept {
  return to_float32(from);
}

/// sums + the products of the two bfloat16 in each lane of a and b: lower half times lower half, upper half
/// times upper half. Products are exact; sums are rounded once or twice, in any order, and what is smaller
/// than f32's least normal number counts as itself or as zero.
template <class Architecture>
[[nodiscard]] vector<float, Architecture> add_bfloat16_products(vector<float, Architecture> sums,
                                                                vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture,
                                                                any_architecture) noexcept {
  using pair = std::array<bfloat16, 2>;
  std::array<std::int32_t, lanes<Architecture>> left, right;
  a.store_unaligned(left.data());
  b.store_unaligned(right.data());
  std::array<float, lanes<Architecture>> totals;
  sums.store_unaligned(totals.data());
  for (std::size_t i = 0; i < totals.size(); ++i) {
    const auto [x, y] = std::pair(std::bit_cast<pair>(left[i]), std::bit_cast<pair>(right[i]));
    totals[i] += to_float32(x[0]) * to_float32(y[0]);
    totals[i] += to_float32(x[1]) * to_float32(y[1]);
  }
  return load<Architecture>(totals.data());
}

/// The sum of all lanes, halves added to each other until one is left.
template <class Architecture>
[[nodiscard]] float sum_of_lanes(vector<float, Architecture> of, Architecture,
                                 any_architecture) noexcept {
  std::array<float, lanes<Architecture>> sums;
  of.store_unaligned(sums.data());
  for (std::size_t half = sums.size() / 2; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

/// Lane i of vector j becomes lane j of vector i.
template <class Architecture>
void transpose(lane_tile<Architecture>& rows, Architecture, any_architecture) noexcept {
  constexpr std::size_t width = lanes<Architecture>;
  std::array<std::array<std::int32_t, width>, width> from;
  for (std::size_t i = 0; i < width; ++i) rows[i].store_unaligned(from[i].data());
  for (std::size_t i = 0; i < width; ++i) {
    std::array<std::int32_t, width> column;
    for (std::size_t j = 0; j < width; ++j) column[j] = from[j][i];
    rows[i] = vector<std::int32_t, Architecture>::load_unaligned(column.data());
  }
}

/// Sixteen bytes of as many rows as there are lanes, each row_bytes behind the one before it, a lane a
/// row.
template <class Architecture>
[[nodiscard]] row_words<Architecture> load_row_words(const std::byte* from, std::size_t row_bytes,
                                                     Architecture, any_architecture) noexcept {
  constexpr std::size_t width = lanes<Architecture>;
  row_words<Architecture> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::array<std::int32_t, width> column;
    for (std::size_t row = 0; row < width; ++row) {
      std::memcpy(&column[row], from + row * row_bytes + 4 * i, sizeof(column[row]));
    }
    words[i] = vector<std::int32_t, Architecture>::load_unaligned(column.data());
  }
  return words;
}

/// Thirty-two bytes of as many rows as there are lanes, as load_row_words does it.
template <class Architecture>
[[nodiscard]] long_row_words<Architecture> load_long_row_words(const std::byte* from,
                                                               std::size_t row_bytes, Architecture,
                                                               any_architecture) noexcept {
  long_row_words<Architecture> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::array<std::int32_t, lanes<Architecture>> column;
    for (std::size_t row = 0; row < column.size(); ++row) {
      std::memcpy(&column[row], from + row * row_bytes + 4 * i, sizeof(column[row]));
    }
    words[i] = vector<std::int32_t, Architecture>::load_unaligned(column.data());
  }
  return words;
}

/// The largest of a block's 32 magnitudes; where there is NaN or an infinity, one of them.
template <class Architecture>
[[nodiscard]] float largest_magnitude(const float* values, Architecture, any_architecture) noexcept {
  // Magnitudes compare as their bits do, and beyond infinity lie the NaNs.
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < block_codes; ++i) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(values[i]) & 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  return std::bit_cast<float>(largest);
}

/// codes[i] = values[i] * steps rounded to nearest even, for 32 of them; every product lies within
/// Code. Returns the sum of the codes.
template <class Code, class Architecture>
std::int32_t quantize_block(const float* values, float steps, Code* codes, Architecture,
                            any_architecture) noexcept {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < block_codes; ++i) {
    const auto code = static_cast<std::int32_t>(std::nearbyint(values[i] * steps));
    codes[i] = static_cast<Code>(code);
    sum += code;
  }
  return sum;
}

/// A block's 32 codes from 32 numbers.
template <class Block, class Number>
[[nodiscard]] Block block_from(const std::array<Number, block_codes>& codes) noexcept {
  using part = typename Block::value_type;
  Block block;
  for (std::size_t i = 0; i < block.size(); ++i) {
    block[i] = part::load_unaligned(codes.data() + i * part::size);
  }
  return block;
}

/// Writes a block's 32 bytes.
template <class Architecture>
void store_block(const block_bytes<Architecture>& block, std::byte* to) noexcept {
  using part = vector<std::uint8_t, Architecture>;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < block_codes / part::size; ++i) {
    block[i].store_unaligned(reinterpret_cast<std::uint8_t*>(to) + i * part::size);
  }
}

/// The low nibbles of 16 bytes, then their high nibbles.
template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_nibble_bytes(const std::byte* from, Architecture,
                                                          any_architecture) noexcept {
  std::array<std::uint8_t, block_codes> codes;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto pair = std::to_integer<std::uint8_t>(from[i]);
    codes[i] = pair & 15U;
    codes[i + 16] = static_cast<std::uint8_t>(pair >> 4U);
  }
  return block_from<block_bytes<Architecture>>(codes);
}

/// The same as 16-bit words.
template <class Architecture>
[[nodiscard]] block_words<Architecture> load_nibble_words(const std::byte* from, Architecture,
                                                          any_architecture) noexcept {
  std::array<std::int16_t, block_codes> codes;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto pair = std::to_integer<std::uint8_t>(from[i]);
    codes[i] = pair & 15;
    codes[i + 16] = static_cast<std::int16_t>(pair >> 4U);
  }
  return block_from<block_words<Architecture>>(codes);
}

/// 32 bytes 0..255 as 16-bit words.
template <class Architecture>
[[nodiscard]] block_words<Architecture> load_unsigned_words(const std::byte* from, Architecture,
                                                            any_architecture) noexcept {
  std::array<std::int16_t, block_codes> codes;
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = std::to_integer<std::uint8_t>(from[i]);
  return block_from<block_words<Architecture>>(codes);
}

/// 32 bytes -128..127 as 16-bit words.
template <class Architecture>
[[nodiscard]] block_words<Architecture> load_signed_words(const std::byte* from, Architecture,
                                                          any_architecture) noexcept {
  std::array<std::int16_t, block_codes> codes;
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = std::to_integer<std::int8_t>(from[i]);
  return block_from<block_words<Architecture>>(codes);
}

/// (byte >> shift) % 2^count * 2^place of 32 bytes; shift + count and place + count are at most 8.
template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_bit_fields(const std::byte* from, int shift, int count,
                                                        int place, Architecture,
                                                        any_architecture) noexcept {
  std::array<std::uint8_t, block_codes> fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const int field = (std::to_integer<int>(from[i]) >> shift) % (1 << count);
    fields[i] = static_cast<std::uint8_t>(field << place);
  }
  return block_from<block_bytes<Architecture>>(fields);
}

/// The 32 bits of 4 bytes, lowest first, as bytes of 0 or 1.
template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_single_bits(const std::byte* from, Architecture,
                                                         any_architecture) noexcept {
  std::array<std::uint8_t, block_codes> bits;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    bits[i] = static_cast<std::uint8_t>((std::to_integer<int>(from[i / 8]) >> (i % 8)) % 2);
  }
  return block_from<block_bytes<Architecture>>(bits);
}

/// low + 2^count * high for each of 32 bytes; low is below 2^count, and the sum below 256.
template <class Architecture>
[[nodiscard]] block_bytes<Architecture> join_bits(const block_bytes<Architecture>& low,
                                                  const block_bytes<Architecture>& high, int count,
                                                  Architecture, any_architecture) noexcept {
  std::array<std::uint8_t, block_codes> joined;
  std::array<std::uint8_t, block_codes> highs;
  store_block<Architecture>(low, reinterpret_cast<std::byte*>(joined.data()));
  store_block<Architecture>(high, reinterpret_cast<std::byte*>(highs.data()));
  for (std::size_t i = 0; i < joined.size(); ++i) {
    joined[i] = static_cast<std::uint8_t>(joined[i] + (highs[i] << count));
  }
  return block_from<block_bytes<Architecture>>(joined);
}

/// table[index], as the byte it is in two's complement, for each of 32 indices 0..15.
template <class Architecture>
[[nodiscard]] block_bytes<Architecture> look_up(const std::array<std::int8_t, 16>& table,
                                                const block_bytes<Architecture>& indices, Architecture,
                                                any_architecture) noexcept {
  std::array<std::uint8_t, block_codes> found;
  store_block<Architecture>(indices, reinterpret_cast<std::byte*>(found.data()));
  for (std::uint8_t& each : found) each = static_cast<std::uint8_t>(table[each]);
  return block_from<block_bytes<Architecture>>(found);
}

/// The sum of codes[i] * activations[i] over a block, spread over the lanes: exact for codes that
/// multiplies_any_byte allows, else of at most largest_block_code, and activations within -127..127.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                               const std::int8_t* activations,
                                                               Architecture,
                                                               any_architecture) noexcept {
  constexpr std::size_t size = vector<std::uint8_t, Architecture>::size;
  std::array<std::int32_t, lanes<Architecture>> sums{};
  for (std::size_t part = 0; part < codes.size(); ++part) {
    std::array<std::uint8_t, size> own;
    codes[part].store_unaligned(own.data());
    for (std::size_t i = 0; i < size; ++i) sums[i / 4] += own[i] * activations[part * size + i];
  }
  return vector<std::int32_t, Architecture>::load_unaligned(sums.data());
}

/// Bytes -128..127 as 16-bit words.
template <class Architecture>
[[nodiscard]] block_words<Architecture> widen_signed_bytes(const block_bytes<Architecture>& bytes,
                                                           Architecture, any_architecture) noexcept {
  std::array<std::byte, block_codes> codes;
  store_block<Architecture>(bytes, codes.data());
  std::array<std::int16_t, block_codes> words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = std::to_integer<std::int8_t>(codes[i]);
  return block_from<block_words<Architecture>>(words);
}

/// Sixteen bytes -128..127 as words.
template <class Architecture>
[[nodiscard]] factor_words<Architecture> load_factors(const std::int8_t* from, Architecture,
                                                      any_architecture) noexcept {
  using part = vector<std::int16_t, Architecture>;
  std::array<std::int16_t, 16> words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = from[i];
  factor_words<Architecture> factors;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    factors[i] = part::load_unaligned(words.data() + i * part::size);
  }
  return factors;
}

/// The factors of the halves of block `Block`, each in the words of its half.
template <std::size_t Block, class Architecture>
[[nodiscard]] half_factors<Architecture> half_factors_of(const factor_words<Architecture>& all,
                                                         Architecture, any_architecture) noexcept {
  using part = vector<std::int16_t, Architecture>;
  std::array<std::int16_t, 16> words;
  for (std::size_t i = 0; i < all.size(); ++i) all[i].store_unaligned(words.data() + i * part::size);
  half_factors<Architecture> factors;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    std::array<std::int16_t, part::size> own;
    for (std::size_t j = 0; j < own.size(); ++j) own[j] = words[2 * Block + (i * own.size() + j) / 8];
    factors[i] = part::load_unaligned(own.data());
  }
  return factors;
}

/// The sum of codes[i] * activations[i] * the factor of i's half over a block, spread over the lanes:
/// exact for codes of at most 127, activations within -127..127 and factors within -128..127.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> scaled_byte_products(
    const block_bytes<Architecture>& codes, const std::int8_t* activations,
    const half_factors<Architecture>& factors, Architecture, any_architecture) noexcept {
  constexpr std::size_t size = vector<std::uint8_t, Architecture>::size;
  std::array<std::int32_t, lanes<Architecture>> sums{};
  for (std::size_t part = 0; part < codes.size(); ++part) {
    std::array<std::uint8_t, size> own;
    std::array<std::int16_t, size / 2> own_factors;
    codes[part].store_unaligned(own.data());
    factors[part].store_unaligned(own_factors.data());
    for (std::size_t i = 0; i < size; ++i) {
      sums[i / 4] += own[i] * activations[part * size + i] * own_factors[i / 2];
    }
  }
  return vector<std::int32_t, Architecture>::load_unaligned(sums.data());
}

/// Codes 0..15 of as many blocks as there are lanes, the nibbles of their 16 bytes that lie StrideBytes
/// apart: for every joined_blocks of them the low nibbles of each, then the high ones.
template <std::size_t StrideBytes, class Architecture>
[[nodiscard]] lane_blocks<Architecture> load_lane_blocks(const std::byte* from, Architecture,
                                                         any_architecture) noexcept {
  using part = vector<std::uint8_t, Architecture>;
  constexpr std::size_t joined = joined_blocks<Architecture>;
  lane_blocks<Architecture> group;
  for (std::size_t i = 0; i < group.size(); ++i) {
    std::array<std::uint8_t, part::size> codes;
    for (std::size_t j = 0; j < codes.size(); ++j) {
      const std::size_t block = i / 2 * joined + j / 16;
      const auto pair = std::to_integer<std::uint8_t>(from[block * StrideBytes + j % 16]);
      codes[j] = static_cast<std::uint8_t>(i % 2 == 0 ? pair & 15U : pair >> 4U);
    }
    group[i] = part::load_unaligned(codes.data());
  }
  return group;
}

/// Lane i: the sum of the products of block i's codes with its activations, which lie as
/// load_lane_blocks orders codes, those for each joined_blocks stride_elements apart.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> lane_block_products(
    const lane_blocks<Architecture>& group, const std::int8_t* activations, std::size_t stride_elements,
    Architecture, any_architecture) noexcept {
  constexpr std::size_t size = vector<std::uint8_t, Architecture>::size;
  std::array<std::int32_t, lanes<Architecture>> sums{};
  for (std::size_t i = 0; i < group.size(); ++i) {
    std::array<std::uint8_t, size> codes;
    group[i].store_unaligned(codes.data());
    const std::int8_t* const own = activations + i / 2 * stride_elements + i % 2 * size;
    for (std::size_t j = 0; j < size; ++j) {
      sums[i / 2 * joined_blocks<Architecture> + j / 16] += codes[j] * own[j];
    }
  }
  return vector<std::int32_t, Architecture>::load_unaligned(sums.data());
}

/// The same as byte_products for words: exact for codes within -4096..4096 and any activations.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> word_products(block_words<Architecture> codes,
                                                               const std::int16_t* activations,
                                                               Architecture,
                                                               any_architecture) noexcept {
  constexpr std::size_t size = vector<std::int16_t, Architecture>::size;
  std::array<std::int32_t, lanes<Architecture>> sums{};
  for (std::size_t part = 0; part < codes.size(); ++part) {
    std::array<std::int16_t, size> own;
    codes[part].store_unaligned(own.data());
    for (std::size_t i = 0; i < size; ++i) sums[i / 2] += own[i] * activations[part * size + i];
  }
  return vector<std::int32_t, Architecture>::load_unaligned(sums.data());
}

/// Adds to every lane the sum of its four codes (of at most 15 unless multiplies_any_byte), each times
/// one of the four activations. Exact for up to eight quads.
template <class Architecture>
[[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                vector<std::uint8_t, Architecture> codes,
                                                const std::int8_t* activations, Architecture,
                                                any_architecture) noexcept {
  using number = typename quad_sums<Architecture>::value_type;
  constexpr std::size_t codes_a_lane = sizeof(number) == 4 ? 4 : 2;
  std::array<std::uint8_t, vector<std::uint8_t, Architecture>::size> own;
  codes.store_unaligned(own.data());
  std::array<number, quad_sums<Architecture>::size> totals;
  sums.store_unaligned(totals.data());
  for (std::size_t i = 0; i < own.size(); ++i) {
    number& total = totals[i / codes_a_lane];
    total = static_cast<number>(total + own[i] * activations[i % 4]);
  }
  return quad_sums<Architecture>::load_unaligned(totals.data());
}

/// What add_quads has summed up, lane by lane.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> total_of_quads(quad_sums<Architecture> sums,
                                                                Architecture,
                                                                any_architecture) noexcept {
  if constexpr (has_pair_sums<Architecture>) {
    std::array<std::int16_t, quad_sums<Architecture>::size> pairs;
    sums.store_unaligned(pairs.data());
    std::array<std::int32_t, lanes<Architecture>> totals;
    for (std::size_t i = 0; i < totals.size(); ++i) totals[i] = pairs[2 * i] + pairs[2 * i + 1];
    return vector<std::int32_t, Architecture>::load_unaligned(totals.data());
  } else {
    return sums;
  }
}

/// Adds to every lane the sum of its two codes, each times one of the two activations. Exact for codes
/// within -255..255, any activations and up to 128 pairs.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> add_pairs(vector<std::int32_t, Architecture> sums,
                                                           vector<std::int16_t, Architecture> codes,
                                                           const std::int16_t* activations,
                                                           Architecture, any_architecture) noexcept {
  std::array<std::int16_t, vector<std::int16_t, Architecture>::size> own;
  codes.store_unaligned(own.data());
  std::array<std::int32_t, lanes<Architecture>> totals;
  sums.store_unaligned(totals.data());
  for (std::size_t i = 0; i < own.size(); ++i) totals[i / 2] += own[i] * activations[i % 2];
  return vector<std::int32_t, Architecture>::load_unaligned(totals.data());
}

/// The codes of a super-block, of which some bits lie in one place and the others, which are above them,
/// in another. All of the layout `bytes`, and of the same counts; High may have no bits.
template <auto Low, auto High, class Architecture>
[[nodiscard]] super_block_vectors<Architecture> load_super_block(const std::byte* block, Architecture,
                                                                 any_architecture) noexcept {
  using codes_type = vector<std::uint8_t, Architecture>;
  const auto bits_of = [&](const code_bits& bits, std::size_t i) {
    return (std::to_integer<unsigned>(block[bits.at_byte + i]) >> bits.shift) % (1U << bits.count);
  };
  super_block_vectors<Architecture> vectors;
  for (std::size_t v = 0; v < vectors.size(); ++v) {
    std::array<std::uint8_t, codes_type::size> codes;
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const code_bits& low = Low[v][i / block_codes];
      const unsigned high = bits_of(High[v][i / block_codes], i % block_codes);
      codes[i] = static_cast<std::uint8_t>(bits_of(low, i % block_codes) + (high << low.count));
    }
    vectors[v] = codes_type::load_unaligned(codes.data());
  }
  return vectors;
}

/// Adds to every lane the sum of four products of codes with activations.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> add_quad_products(
    vector<std::int32_t, Architecture> sums, vector<std::uint8_t, Architecture> codes,
    const std::int8_t* activations, Architecture, any_architecture) noexcept {
  std::array<std::uint8_t, vector<std::uint8_t, Architecture>::size> own;
  codes.store_unaligned(own.data());
  std::array<std::int32_t, lanes<Architecture>> totals;
  sums.store_unaligned(totals.data());
  for (std::size_t i = 0; i < own.size(); ++i) totals[i / 4] += own[i] * activations[i];
  return vector<std::int32_t, Architecture>::load_unaligned(totals.data());
}

/// The lanes of a pair, which fit 16 bits, as words: each 128 bits have those of `first`, then those of
/// `second`.
template <class Architecture>
[[nodiscard]] vector<std::int16_t, Architecture> narrow_quads(vector<std::int32_t, Architecture> first,
                                                              vector<std::int32_t, Architecture> second,
                                                              Architecture, any_architecture) noexcept {
  std::array<std::array<std::int32_t, lanes<Architecture>>, 2> quads;
  first.store_unaligned(quads[0].data());
  second.store_unaligned(quads[1].data());
  std::array<std::int16_t, 2 * lanes<Architecture>> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = static_cast<std::int16_t>(quads[i % 8 / 4][i / 8 * 4 + i % 4]);
  }
  return vector<std::int16_t, Architecture>::load_unaligned(words.data());
}

/// Words times their factors, and the sum of every two. Exact for words within -32767..32767.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> multiply_quads(
    vector<std::int16_t, Architecture> words, vector<std::int16_t, Architecture> factors, Architecture,
    any_architecture) noexcept {
  std::array<std::int16_t, 2 * lanes<Architecture>> own;
  words.store_unaligned(own.data());
  std::array<std::int16_t, 2 * lanes<Architecture>> own_factors;
  factors.store_unaligned(own_factors.data());
  std::array<std::int32_t, lanes<Architecture>> sums{};
  for (std::size_t i = 0; i < own.size(); ++i) sums[i / 2] += own[i] * own_factors[i];
  return vector<std::int32_t, Architecture>::load_unaligned(sums.data());
}

/// The factors of a super-block's pairs, whose vectors have its blocks in `Order`: factor_step times its
/// numbers, of which it has one for every CodesANumber codes (16 or 32).
template <std::size_t CodesANumber, super_block_order Order, class Architecture>
[[nodiscard]] super_block_factors<Architecture> spread_factors(const std::int8_t* numbers, Architecture,
                                                               any_architecture) noexcept {
  using part = vector<std::int16_t, Architecture>;
  super_block_factors<Architecture> factors;
  for (std::size_t pair = 0; pair < factors.size(); ++pair) {
    std::array<std::int16_t, part::size> own;
    for (std::size_t i = 0; i < own.size(); ++i) {
      const std::size_t place = code_of_pair_lane<Architecture>(pair, i / 2);
      const std::size_t code = Order[place / block_codes] * block_codes + place % block_codes;
      own[i] = static_cast<std::int16_t>(numbers[code / CodesANumber] * factor_step);
    }
    factors[pair] = part::load_unaligned(own.data());
  }
  return factors;
}

/// The scales of a super-block's eight blocks, for the lanes of its pairs, whose vectors have its blocks
/// in `Order`.
template <super_block_order Order, class Architecture>
[[nodiscard]] super_block_scales<Architecture> spread_scales(const float* blocks, Architecture,
                                                             any_architecture) noexcept {
  super_block_scales<Architecture> scales;
  for (std::size_t pair = 0; pair < scales.size(); ++pair) {
    std::array<float, lanes<Architecture>> own;
    for (std::size_t i = 0; i < own.size(); ++i) {
      own[i] = blocks[Order[code_of_pair_lane<Architecture>(pair, i) / block_codes]];
    }
    scales[pair] = load<Architecture>(own.data());
  }
  return scales;
}

/// The numbers of a super-block, of which it has one for every CodesANumber codes (16 or 32), in 32
/// bits: sixteen of them or, where there are eight, zeros behind those.
template <std::size_t CodesANumber, class Architecture>
[[nodiscard]] auto widen_numbers(const std::int8_t* numbers, Architecture, any_architecture) noexcept {
  using part = vector<std::int32_t, Architecture>;
  std::array<part, 16 / part::size> all;
  for (std::size_t at = 0; at < 16; at += part::size) {
    std::array<std::int32_t, part::size> own{};
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (at + i < super_block_codes / CodesANumber) own[i] = numbers[at + i];
    }
    all[at / part::size] = part::load_unaligned(own.data());
  }
  return all;
}

/// Two numbers as f32, each in all lanes.
template <class Architecture>
[[nodiscard]] vector_pair<Architecture> spread_float16_pair(float16 first, float16 second, Architecture,
                                                            any_architecture) noexcept {
  using floats = vector<float, Architecture>;
  return {floats(to_float32(first)), floats(to_float32(second))};
}

/// Sixteen numbers -32..31 from twelve bytes, less 32: four bits of number i in byte i % 8, the lower ones
/// for i < 8, and above them two bits in byte 8 + i % 4, from bit i / 4 * 2 on.
template <class Architecture>
[[nodiscard]] sub_block_numbers load_six_bit_numbers(const std::uint8_t* from, Architecture,
                                                     any_architecture) noexcept {
  sub_block_numbers numbers;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const int low = from[i % 8] >> (i / 8 * 4) & 15;
    const int high = from[8 + i % 4] >> (i / 4 * 2) & 3;
    numbers[i] = static_cast<std::int8_t>(low + 16 * high - 32);
  }
  return numbers;
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd
