#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <support/random_values.hpp>

namespace nibble_test {

/// Values to pack, and what they are like.
struct distribution {
  std::string name;
  std::vector<float> values;  ///< whole blocks of 32, finite
};

/// Everything that has broken a quantizer: the usual weights, tails, nothing at all, one value for all,
/// one value far from all, numbers below float16's and below f32's normal range, and its far end.
inline std::vector<distribution> block_distributions() {
  constexpr std::size_t count = 32 * 24;
  std::mt19937 generator(11);
  const auto drawn = [&](auto distribution_of_values) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(distribution_of_values(generator));
    return values;
  };
  const auto constant = [](float value) { return std::vector<float>(32, value); };
  std::vector<distribution> all = {
      {"gaussian", gaussian(count, 1)},
      {"heavy-tailed", heavy_tailed(count, 2)},
      {"mixed magnitudes", mixed_magnitudes(count, 3)},
      {"unit uniform", drawn(std::uniform_real_distribution<float>(-1.0F, 1.0F))},
      {"far from zero", drawn(std::uniform_real_distribution<float>(1000.0F, 1001.0F))},
      {"far below zero", drawn(std::uniform_real_distribution<float>(-1001.0F, -1000.0F))},
      {"all of float16", drawn(std::uniform_real_distribution<float>(-65504.0F, 65504.0F))},
      {"float16 subnormals", drawn(std::uniform_real_distribution<float>(-6e-5F, 6e-5F))},
      {"float16 vanishing", drawn(std::uniform_real_distribution<float>(-6e-8F, 6e-8F))},
      {"integers", drawn(std::uniform_int_distribution<int>(-8, 7))},
      {"two values", drawn(std::bernoulli_distribution(0.5))},
      {"zero", constant(0.0F)},
      {"minus zero", constant(-0.0F)},
      {"one", constant(1.0F)},
      {"a tenth", constant(0.1F)},
      {"minus a third", constant(-1.0F / 3.0F)},
      {"largest float16", constant(65504.0F)},
      {"lowest float16", constant(-65504.0F)},
      {"least f32", constant(std::numeric_limits<float>::denorm_min())},
      {"least negative f32", constant(-std::numeric_limits<float>::denorm_min())},
      {"f32 subnormals", {}},
      {"one outlier", gaussian(count, 4)},
      {"one negative outlier", gaussian(count, 5)},
      {"mostly zero", heavy_tailed(count, 6)},
      {"a hair above 15 steps", {}},
      {"a hair above 255 steps", {}},
  };
  for (distribution& of : all) {
    if (of.name == "f32 subnormals") {
      of.values = drawn([](std::mt19937& from) {
        return static_cast<double>(static_cast<std::int32_t>(from() % 2000001U) - 1000000) * 0x1p-149;
      });
    }
    if (of.name.starts_with("a hair above")) {
      // Over a scale of 1 the grid ends at 0; what is above is lost in any sum of doubles.
      const float lowest = of.name == "a hair above 15 steps" ? -15.0F : -255.0F;
      of.values = drawn(std::uniform_real_distribution<float>(lowest, 0.0F));
      for (std::size_t i = 0; i < of.values.size(); ++i) {
        if (i % 32 == 3) of.values[i] = lowest;
        if (i % 32 == 17) of.values[i] = 1e-40F;
      }
    }
    for (std::size_t i = 0; i < of.values.size(); ++i) {
      const bool is_marked = i % 32 == i / 32 * 7 % 32;
      if (of.name == "one outlier" && is_marked) of.values[i] = 40.0F;
      if (of.name == "one negative outlier" && is_marked) of.values[i] = -40.0F;
      if (of.name == "mostly zero" && generator() % 8U != 0U) of.values[i] = 0.0F;
    }
  }
  return all;
}

}  // namespace nibble_test
