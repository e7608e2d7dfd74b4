#include <nibble/codec/scale_refit.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <nibble/codec/codecs.hpp>

#include <support/catch.hpp>

namespace {

/// A block of random values, packed.
template <class Codec>
typename Codec::block random_block(std::mt19937& generator) {
  std::normal_distribution<float> normal(0.003F, 0.02F);
  std::vector<float> values(Codec::block_elements);
  for (float& each : values) each = normal(generator);
  typename Codec::block block{};
  if constexpr (requires { Codec::pack(values, block, nibble::packing_rule::best); }) {
    REQUIRE(Codec::pack(values, block, nibble::packing_rule::best) == nibble::pack_status::packed);
  } else {
    REQUIRE(Codec::pack(values, block) == nibble::pack_status::packed);
  }
  return block;
}

/// What unpack makes of a block, as f64.
template <class Codec>
std::vector<double> values_of(const typename Codec::block& block) {
  std::vector<float> values(Codec::block_elements);
  Codec::unpack(block, values);
  return {values.begin(), values.end()};
}

/// The codes of a block's elements, from the values that unpack makes.
template <class Codec>
std::vector<std::int32_t> codes_of(const typename Codec::block& block) {
  std::vector<std::int32_t> codes;
  const std::vector<double> values = values_of<Codec>(block);
  for (std::size_t j = 0; j < values.size(); ++j) {
    codes.push_back(nibble::grid_of_element<Codec>(block, j).code_of(static_cast<float>(values[j])));
  }
  return codes;
}

/// The next float16 away from zero, as f64.
double step_above(nibble::float16 value) {
  nibble::float16 next = value;
  ++next.bits;
  return std::fabs(static_cast<double>(nibble::to_float32(next)) -
                   static_cast<double>(nibble::to_float32(value)));
}

}  // namespace

TEMPLATE_TEST_CASE("an element's value is its slopes times the scale and min that the block stores",
                   "[scale_refit]", nibble::q4, nibble::q8, nibble::apr_q4, nibble::q4_0, nibble::q4_1,
                   nibble::q5_0, nibble::q5_1, nibble::q8_0, nibble::q2_k, nibble::q3_k, nibble::q4_k,
                   nibble::q5_k, nibble::q6_k) {
  std::mt19937 generator(11);
  const auto block = random_block<TestType>(generator);
  const std::vector<double> values = values_of<TestType>(block);
  const std::vector<std::int32_t> codes = codes_of<TestType>(block);
  const auto scale = static_cast<double>(nibble::to_float32(block.scale));
  double min = 0.0;
  if constexpr (TestType::has_min) min = static_cast<double>(nibble::to_float32(block.min));
  for (std::size_t j = 0; j < values.size(); ++j) {
    const auto slopes = nibble::slopes_of_element<TestType>(block, j, codes[j]);
    const double expected =
        scale * static_cast<double>(slopes.of_scale) + min * static_cast<double>(slopes.of_min);
    // The one rounding to f32 that decoding ends with.
    CHECK(std::fabs(values[j] - expected) <= 0x1p-24 * std::fabs(expected) + 0x1p-40);
  }
}

// The error of a block is w^T H w with a random H, summed in f64 by plain loops. The bound is what
// rounding scale and min to float16, by half a step each, can add to the least error.
TEMPLATE_TEST_CASE("a refitted block errs as little as float16 allows, under any second moments",
                   "[scale_refit]", nibble::q4, nibble::q8, nibble::q4_0, nibble::q5_1, nibble::q3_k,
                   nibble::q4_k) {
  constexpr std::size_t n = TestType::block_elements;
  std::mt19937 generator(12);
  std::normal_distribution<double> normal;
  for (int turn = 0; turn < 5; ++turn) {
    auto block = random_block<TestType>(generator);
    const std::vector<std::int32_t> codes = codes_of<TestType>(block);
    std::vector<double> wanted = values_of<TestType>(block);
    for (double& each : wanted) each = 1.1 * each + 0.004 * normal(generator) + 0.002;
    constexpr std::size_t sources = 5;
    std::vector<double> mixing(n * sources);
    for (double& each : mixing) each = normal(generator);
    const auto h = [&](std::size_t i, std::size_t j) {
      double sum = i == j ? 0.5 : 0.0;
      for (std::size_t k = 0; k < sources; ++k)
        sum += mixing[i * sources + k] * mixing[j * sources + k];
      return sum;
    };
    const auto product = [&](std::span<const double> a, std::span<const double> b) {
      double sum = 0.0;
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) sum += a[i] * h(i, j) * b[j];
      }
      return sum;
    };
    const auto error_of = [&](const typename TestType::block& of) {
      std::vector<double> off = values_of<TestType>(of);
      for (std::size_t i = 0; i < n; ++i) off[i] = wanted[i] - off[i];
      return product(off, off);
    };
    std::vector<double> by_scale;
    std::vector<double> by_min;
    for (std::size_t j = 0; j < n; ++j) {
      const auto slopes = nibble::slopes_of_element<TestType>(block, j, codes[j]);
      by_scale.push_back(static_cast<double>(slopes.of_scale));
      by_min.push_back(static_cast<double>(slopes.of_min));
    }
    std::vector<double> off = values_of<TestType>(block);
    for (std::size_t i = 0; i < n; ++i) off[i] = wanted[i] - off[i];
    const nibble::scale_error error{product(by_scale, by_scale), product(by_scale, by_min),
                                    product(by_min, by_min), product(by_scale, off),
                                    product(by_min, off)};
    const double before = error_of(block);
    double least = before;
    if (TestType::has_min) {
      const double determinant =
          error.scale_square * error.min_square - error.scale_by_min * error.scale_by_min;
      least -= (error.scale_slope * error.scale_slope * error.min_square -
                2.0 * error.scale_slope * error.min_slope * error.scale_by_min +
                error.min_slope * error.min_slope * error.scale_square) /
               determinant;
    } else {
      least -= error.scale_slope * error.scale_slope / error.scale_square;
    }
    REQUIRE(nibble::refit_scale_and_min<TestType>(error, block));
    const double half_scale = 0.5 * step_above(block.scale);
    double rounding = error.scale_square * half_scale * half_scale;
    if constexpr (TestType::has_min) {
      const double half_min = 0.5 * step_above(block.min);
      rounding += error.min_square * half_min * half_min;
    }
    CHECK(error_of(block) < before);
    CHECK(error_of(block) <= least * (1.0 + 1e-6) + rounding);
    CHECK(codes_of<TestType>(block) == codes);
  }
}

TEST_CASE("what float16 cannot hold leaves a block as it is, and codes alike move min alone",
          "[scale_refit]") {
  nibble::q4::block block{};
  block.scale = nibble::to_float16(1.0F);
  block.min = nibble::to_float16(-2.0F);
  auto same = block;
  CHECK_FALSE(nibble::refit_scale_and_min<nibble::q4>({1.0, 0.0, 1.0, 1e6, 0.0}, same));
  CHECK(std::memcmp(&same, &block, sizeof(block)) == 0);
  // Sixteen times code 3: scale and min cannot be told apart.
  CHECK(nibble::refit_scale_and_min<nibble::q4>({144.0, 48.0, 16.0, 24.0, 8.0}, same));
  CHECK(nibble::to_float32(same.scale) == 1.0F);
  CHECK(nibble::to_float32(same.min) == -1.5F);
  // Nothing that counts.
  same = block;
  CHECK_FALSE(nibble::refit_scale_and_min<nibble::q4>({}, same));
  nibble::q4_0::block plain{};
  plain.scale = nibble::to_float16(0.5F);
  CHECK_FALSE(nibble::refit_scale_and_min<nibble::q4_0>({}, plain));
  CHECK_FALSE(nibble::refit_scale_and_min<nibble::q4_0>({1.0, 0.0, 0.0, 1e6, 0.0}, plain));
  CHECK(nibble::refit_scale_and_min<nibble::q4_0>({4.0, 0.0, 0.0, 1.0, 0.0}, plain));
  CHECK(nibble::to_float32(plain.scale) == 0.75F);
}
