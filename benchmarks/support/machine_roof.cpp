// The loops that say what the machine can do: optimized as kernels are, whatever the program around them is.
#include <benchmarks/support/machine_roof.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <nibble/simd/simd.hpp>

namespace nibble_benchmark {

float read_sweep(std::span<const float> from) noexcept {
  using architecture = nibble::simd::best_architecture;
  using floats = nibble::simd::vector<float, architecture>;
  constexpr std::size_t width = nibble::simd::lanes<architecture>;
  std::array<floats, 8> sums;
  sums.fill(floats(0.0F));
  constexpr std::size_t step = sums.size() * width;
  std::size_t i = 0;
  for (; i + step <= from.size(); i += step) {
    for (std::size_t j = 0; j < sums.size(); ++j) {
      sums[j] = sums[j] + nibble::simd::load<architecture>(from.data() + i + j * width);
    }
  }
  for (std::size_t j = 1; j < sums.size(); ++j) sums[0] = sums[0] + sums[j];
  std::array<float, width> lanes;
  sums[0].store_unaligned(lanes.data());
  float sum = 0.0F;
  for (const float lane : lanes) sum += lane;
  for (; i < from.size(); ++i) sum += from[i];
  return sum;
}

void write_past_caches(std::span<float> to, float value) noexcept {
#if defined(__AVX__)
  const __m256 line = _mm256_set1_ps(value);
  for (std::size_t i = 0; i < to.size(); i += 8) _mm256_stream_ps(to.data() + i, line);
  _mm_sfence();
#elif defined(__SSE2__)
  const __m128 line = _mm_set1_ps(value);
  for (std::size_t i = 0; i < to.size(); i += 4) _mm_stream_ps(to.data() + i, line);
  _mm_sfence();
#else
  std::ranges::fill(to, value);
#endif
}

float multiply_add_chains(std::size_t steps) noexcept {
  using architecture = nibble::simd::best_architecture;
  using floats = nibble::simd::vector<float, architecture>;
  constexpr std::size_t width = nibble::simd::lanes<architecture>;
  std::array<floats, 12> values;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = floats(static_cast<float>(i));
  const floats half(0.5F);
  const floats one(1.0F);
  for (std::size_t step = 0; step < steps; ++step) {
    for (floats& value : values) value = fma(value, half, one);
  }
  float sum = 0.0F;
  for (const floats& value : values) {
    std::array<float, width> lanes;
    value.store_unaligned(lanes.data());
    for (const float lane : lanes) sum += lane;
  }
  return sum;
}

}  // namespace nibble_benchmark
