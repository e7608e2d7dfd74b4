#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

namespace nibble_benchmark {

/// What the packed values are like.
enum class weight_distribution : std::uint8_t {
  normal,        ///< N(0, 0.02)
  heavy_tailed,  ///< 0.02 times Student's t of three degrees of freedom
  one_outlier,   ///< normal, but for one of every 32, which is 0.2 or -0.2
};
inline constexpr weight_distribution weight_distributions[] = {
    weight_distribution::normal, weight_distribution::heavy_tailed, weight_distribution::one_outlier};

[[nodiscard]] inline std::string_view to_string(weight_distribution which) noexcept {
  switch (which) {
    case weight_distribution::normal: return "normal";
    case weight_distribution::heavy_tailed: return "heavy_tailed";
    case weight_distribution::one_outlier: return "one_outlier";
  }
  return "";
}

/// So many values, a multiple of 32, the same for every call.
[[nodiscard]] inline std::vector<float> drawn_weights(weight_distribution which, std::size_t count) {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::student_t_distribution<float> heavy_tailed(3.0F);
  std::vector<float> values(count);
  for (float& value : values) {
    value = which == weight_distribution::heavy_tailed ? 0.02F * heavy_tailed(generator)
                                                       : normal(generator);
  }
  if (which != weight_distribution::one_outlier) return values;
  for (std::size_t block = 0; block < count; block += 32) {
    values[block + generator() % 32U] = generator() % 2U == 0U ? 0.2F : -0.2F;
  }
  return values;
}

/// Rows of 4096 values that packing errors are measured on: a sample, and a matrix.
inline constexpr std::uint64_t packing_error_rows[] = {256, 4096};

}  // namespace nibble_benchmark
