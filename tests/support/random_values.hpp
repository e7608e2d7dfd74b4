#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace nibble_test {

/// Gaussian values, seeded.
inline std::vector<float> gaussian(std::size_t count, std::uint32_t seed, float deviation = 0.02F) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0F, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = distribution(generator);
  return values;
}

/// Student's t with two degrees of freedom: tails far heavier than a Gaussian's.
inline std::vector<float> heavy_tailed(std::size_t count, std::uint32_t seed, float scale = 0.02F) {
  std::mt19937 generator(seed);
  std::student_t_distribution<float> distribution(2.0F);
  std::vector<float> values(count);
  for (float& value : values) value = scale * distribution(generator);
  return values;
}

/// Magnitudes spread evenly over powers of two from 2^-30 to 2^12, of either sign.
inline std::vector<float> mixed_magnitudes(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> exponent(-30.0F, 12.0F);
  std::vector<float> values(count);
  for (float& value : values) {
    value = std::exp2(exponent(generator)) * ((generator() & 1U) != 0 ? 1.0F : -1.0F);
  }
  return values;
}

/// Bytes of any value.
inline std::vector<std::byte> random_bytes(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator() & 0xFFU);
  return bytes;
}

}  // namespace nibble_test
