#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <vector>

#include <fmt/format.h>

// All of it: the templates below see those operations alone that stand before them.
#include <nibble/simd/simd.hpp>

#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace nibble_test {

/// Lanes as their bits: NaN payloads and signs of zeros count.
template <class Vector>
auto lane_bits(const Vector& of) {
  using value = typename Vector::value_type;
  std::array<value, Vector::size> lanes;
  of.store_unaligned(lanes.data());
  return std::bit_cast<std::array<std::uint32_t, Vector::size>>(lanes);
}

/// All byte values, at every offset from a boundary of 64, through both ways of an operation that
/// loads.
template <class Architecture, class Own, class Twin>
void require_same_loads(std::span<const std::byte> bytes, std::size_t stride, const Own& own,
                        const Twin& twin) {
  constexpr std::size_t width = nibble::simd::lanes<Architecture>;
  alignas(64) std::array<std::byte, 128 + 16 * 8> window{};
  std::size_t loads = 0;
  for (std::size_t at = 0; at + width * stride <= bytes.size(); at += width * stride) {
    for (std::size_t offset = at == 0 ? 0 : at / (width * stride) % 64; offset < 64;
         offset += at == 0 ? 1 : 64) {
      std::memcpy(window.data() + offset, bytes.data() + at, width * stride);
      if (lane_bits(own(window.data() + offset)) != lane_bits(twin(window.data() + offset))) {
        FAIL(fmt::format("bytes from {} at offset {}", at, offset));
      }
      ++loads;
    }
  }
  CHECK(loads >= 64);
}

inline std::vector<std::byte> all_bytes() {
  std::vector<std::byte> bytes = random_bytes(1024, 1);
  for (std::size_t byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<std::byte>(byte));
  // Once more, each in another lane.
  for (std::size_t byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<std::byte>(byte * 37 + 5));
  return bytes;
}

/// All 65,536 codes of 16 bits, in order and then shuffled over the lanes.
inline std::vector<std::byte> all_halves() {
  std::vector<std::byte> bytes;
  bytes.reserve(0x40000);
  for (const std::uint32_t factor : {1U, 40503U}) {
    for (std::uint32_t i = 0; i < 0x10000U; ++i) {
      const std::uint32_t code = i * factor % 0x10000U;
      bytes.push_back(static_cast<std::byte>(code % 256U));
      bytes.push_back(static_cast<std::byte>(code / 256U));
    }
  }
  return bytes;
}

/// Every float16 and the f32 on either side, every midpoint and the f32 on either side, f32 around many
/// bfloat16 and their midpoints, NaNs of many payloads, infinities, f32 subnormals, and a sweep over
/// all of f32; both signs.
inline std::vector<float> boundary_floats() {
  std::vector<float> values;
  const auto add = [&](std::uint32_t bits) {
    for (const std::uint32_t sign : {0U, 0x80000000U})
      values.push_back(std::bit_cast<float>(bits | sign));
  };
  const auto add_around = [&](float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (bits != 0) add(bits - 1);
    add(bits);
    add(bits + 1);
  };
  for (int exponent = -14; exponent <= 15; ++exponent) {
    for (int step = 0; step < 2048; ++step)
      add_around(std::ldexp(static_cast<float>(2048 + step), exponent - 11));
  }
  for (int step = 0; step <= 2048; ++step) add_around(std::ldexp(static_cast<float>(step), -25));
  for (std::uint32_t bits = 0x7F800000U - 70; bits < 0x7F800000U + 70; ++bits) add(bits);
  for (std::uint32_t payload = 1; payload < 0x800000U; payload += 8191) add(0x7F800000U + payload);
  add(0x7FFFFFFFU);
  for (std::uint32_t upper = 0; upper < 0x7F80U; upper += 7) {
    for (const std::uint32_t lower : {0U, 1U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) {
      add(upper << 16U | lower);
    }
  }
  for (std::uint32_t bits = 0; bits < 0x7F800000U; bits += 65519) add(bits);
  while (values.size() % 64 != 0) values.push_back(0.0F);
  return values;
}

/// Those floats through an architecture's way and the portable one of an operation that stores 16-bit
/// floats, at every offset: store(values, to, tag).
template <class Architecture, class Store>
void require_same_stores(const Store& store) {
  constexpr std::size_t width = nibble::simd::lanes<Architecture>;
  constexpr Architecture own{};
  const nibble::simd::any_architecture twin(own);
  const std::vector<float> values = boundary_floats();
  for (std::size_t at = 0; at + width <= values.size(); at += width) {
    const std::size_t offset = 1 + at / width % 63;
    alignas(64) std::array<std::byte, 128> from_own;
    alignas(64) std::array<std::byte, 128> from_twin;
    from_own.fill(std::byte{0xA5});
    from_twin.fill(std::byte{0xA5});
    const auto loaded = nibble::simd::load<Architecture>(values.data() + at);
    store(loaded, from_own.data() + offset, own);
    store(loaded, from_twin.data() + offset, twin);
    // Whole windows: nothing may be written before or behind the lanes either.
    if (from_own != from_twin) FAIL(fmt::format("floats from {} ({:a})", at, values[at]));
    if (from_own[offset - 1] != std::byte{0xA5} || from_own[offset + 2 * width] != std::byte{0xA5}) {
      FAIL(fmt::format("wrote outside at {}", at));
    }
  }
  CHECK(values.size() > 300000);
}

/// Every byte widened by an architecture's own operations and by the portable ones.
template <class Architecture>
void require_byte_loads() {
  namespace simd = nibble::simd;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  const auto bytes = all_bytes();
  require_same_loads<Architecture>(
      bytes, 1, [&](const std::byte* from) { return simd::load_unsigned_bytes(from, own, own); },
      [&](const std::byte* from) { return simd::load_unsigned_bytes(from, own, twin); });
  require_same_loads<Architecture>(
      bytes, 1, [&](const std::byte* from) { return simd::load_signed_bytes(from, own, own); },
      [&](const std::byte* from) { return simd::load_signed_bytes(from, own, twin); });
}

/// All 65,536 bfloat16 widened.
template <class Architecture>
void require_bfloat16_loads() {
  namespace simd = nibble::simd;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  require_same_loads<Architecture>(
      all_halves(), 2, [&](const std::byte* from) { return simd::load_bfloat16(from, own, own); },
      [&](const std::byte* from) { return simd::load_bfloat16(from, own, twin); });
}

/// All 65,536 float16 widened, NaNs bit for bit.
template <class Architecture>
void require_float16_loads() {
  namespace simd = nibble::simd;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  require_same_loads<Architecture>(
      all_halves(), 2, [&](const std::byte* from) { return simd::load_float16(from, own, own); },
      [&](const std::byte* from) { return simd::load_float16(from, own, twin); });
}

/// Halves of a vector from two places, at any offset: as words, and as all 65,536 float16.
template <class Architecture>
void require_half_loads() {
  namespace simd = nibble::simd;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto bytes = all_halves();
  for (std::size_t at = 0; at + 2 * width <= bytes.size(); at += width + 1) {
    const std::byte* const low = bytes.data() + at;
    const std::byte* const high = bytes.data() + (bytes.size() - at - 2 * width);
    if (lane_bits(simd::load_float16_halves<Architecture>(low, high, own, own)) !=
        lane_bits(simd::load_float16_halves<Architecture>(low, high, own, twin)))
      FAIL("load_float16_halves at " << at);
    if (lane_bits(simd::load_halves<Architecture>(low, high, own, own)) !=
        lane_bits(simd::load_halves<Architecture>(low, high, own, twin)))
      FAIL("load_halves at " << at);
  }
}

/// f32 rounded to float16, around every boundary.
template <class Architecture>
void require_float16_stores() {
  require_same_stores<Architecture>([](const auto& values, std::byte* to, auto tag) {
    nibble::simd::store_float16(values, to, Architecture{}, tag);
  });
}

/// f32 rounded to bfloat16, around every boundary.
template <class Architecture>
void require_bfloat16_stores() {
  require_same_stores<Architecture>([](const auto& values, std::byte* to, auto tag) {
    nibble::simd::store_bfloat16(values, to, Architecture{}, tag);
  });
}

/// A line copied past the caches, from any float on, and nothing beside it.
template <class Architecture>
void require_line_copies() {
  namespace simd = nibble::simd;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  const std::vector<float> values = boundary_floats();
  constexpr std::size_t line = simd::line_bytes / sizeof(float);
  for (std::size_t at = 0; at + line <= 4000; ++at) {
    alignas(64) std::array<float, 3 * line> from_own{};
    alignas(64) std::array<float, 3 * line> from_twin{};
    simd::copy_line_past_caches(values.data() + at, from_own.data() + line, own);
    simd::order_stores_past_caches(own);
    simd::copy_line_past_caches(values.data() + at, from_twin.data() + line, twin);
    simd::order_stores_past_caches(twin);
    if (std::memcmp(from_own.data(), from_twin.data(), sizeof(from_own)) != 0) {
      FAIL("line from float " << at);
    }
  }
  SUCCEED("every line");
}

/// Both halves of two vectors interleaved, and bits of both joined.
template <class Architecture>
void require_interleaving() {
  namespace simd = nibble::simd;
  constexpr Architecture own{};
  const simd::any_architecture twin(own);
  const auto bytes = [&](const std::byte* from) { return simd::load_unsigned_bytes(from, own, twin); };
  const auto signs = [&](const std::byte* from) { return simd::load_signed_bytes(from, own, twin); };
  require_same_loads<Architecture>(
      all_bytes(), 1,
      [&](const std::byte* from) {
        return simd::interleave_low<Architecture>(bytes(from), signs(from), own, own);
      },
      [&](const std::byte* from) {
        return simd::interleave_low<Architecture>(bytes(from), signs(from), own, twin);
      });
  require_same_loads<Architecture>(
      all_bytes(), 1,
      [&](const std::byte* from) {
        return simd::interleave_high<Architecture>(bytes(from), signs(from), own, own);
      },
      [&](const std::byte* from) {
        return simd::interleave_high<Architecture>(bytes(from), signs(from), own, twin);
      });
  for (std::uint32_t seed = 0; seed < 100; ++seed) {
    constexpr std::size_t width = simd::lanes<Architecture>;
    const auto words = random_bytes(3 * width * sizeof(std::int32_t), seed);
    const auto vector = [&](std::size_t index) {
      return simd::load_bytes<std::int32_t, Architecture>(words.data() +
                                                          index * width * sizeof(std::int32_t));
    };
    const auto lanes_of = [](const auto& of) {
      std::array<std::int32_t, width> all;
      of.store_unaligned(all.data());
      return all;
    };
    const auto joined =
        lanes_of(simd::join_bits<Architecture>(vector(0), vector(1), vector(2), own, own));
    for (std::size_t i = 0; i < width; ++i) {
      const auto mask = lanes_of(vector(2))[i];
      if (joined[i] != ((lanes_of(vector(0))[i] & mask) | (lanes_of(vector(1))[i] & ~mask)))
        FAIL("join_bits " << seed << " lane " << i);
    }
  }
}

}  // namespace nibble_test
