#include <engine/vector_math.hpp>

#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

const std::vector<std::size_t> lengths{1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100, 257};

/// Both are finite and differ by no more than `bound` times `magnitude`.
bool is_near(float found, double expected, double bound, double magnitude) {
  return std::isfinite(found) && std::abs(static_cast<double>(found) - expected) <= bound * magnitude;
}

double magnitude_of(double value) { return std::max(std::abs(value), 1e-30); }

}  // namespace

TEST_CASE("dot and add_scaled agree with sums in double at any length", "[engine]") {
  using namespace nibble_engine;
  CHECK(dot(nullptr, nullptr, 0) == 0.0F);
  for (const std::size_t length : lengths) {
    const std::vector<float> a = nibble_test::gaussian(length, 1, 3.0F);
    const std::vector<float> b = nibble_test::gaussian(length, 2, 3.0F);
    double sum = 0.0;
    double magnitudes = 0.0;
    for (std::size_t i = 0; i < length; ++i) {
      sum += double{a[i]} * double{b[i]};
      magnitudes += std::abs(double{a[i]} * double{b[i]});
    }
    CAPTURE(length);
    CHECK(is_near(dot(a.data(), b.data(), length), sum, 1e-6, magnitudes));
    std::vector<float> to(b);
    to.push_back(42.0F);
    add_scaled(-2.5F, a.data(), to.data(), length);
    for (std::size_t i = 0; i < length; ++i) {
      const double expected = double{b[i]} - 2.5 * double{a[i]};
      CHECK(is_near(to[i], expected, 3e-7, std::abs(expected) + std::abs(2.5 * double{a[i]})));
    }
    CHECK(to.back() == 42.0F);
  }
}

TEST_CASE("a sum of scaled rows is that of one row after the other, bit for bit", "[engine]") {
  for (const std::size_t rows : {0U, 1U, 3U, 4U, 5U, 8U, 11U}) {
    for (const std::size_t length : lengths) {
      const std::vector<float> factors = nibble_test::gaussian(rows, 5, 1.0F);
      const std::vector<float> values = nibble_test::gaussian(rows * length, 6, 3.0F);
      std::vector<float> expected(length, 0.0F);
      for (std::size_t row = 0; row < rows; ++row) {
        nibble_engine::add_scaled(factors[row], values.data() + row * length, expected.data(), length);
      }
      std::vector<float> found(length + 1, 42.0F);  // whatever was there is no part of the sum
      nibble_engine::scaled_sum(factors, values.data(), found.data(), length);
      CAPTURE(rows, length);
      CHECK(found.back() == 42.0F);
      found.pop_back();
      CHECK(found == expected);
    }
  }
}

TEST_CASE("softmax agrees with double, and no magnitude overflows", "[engine]") {
  for (const std::size_t length : lengths) {
    for (const float shift : {0.0F, 1e4F, -1e4F}) {
      std::vector<float> values = nibble_test::gaussian(length, 3, 4.0F);
      for (float& value : values) value += shift;
      double most = double{values[0]};
      for (const float value : values) most = std::max(most, double{value});
      double sum = 0.0;
      for (const float value : values) sum += std::exp(double{value} - most);
      std::vector<float> found(values);
      nibble_engine::softmax(found);
      CAPTURE(length, shift);
      for (std::size_t i = 0; i < length; ++i) {
        const double expected = std::exp(double{values[i]} - most) / sum;
        CHECK(is_near(found[i], expected, 3e-6, expected));
      }
    }
  }
  std::vector<float> far{1e4F, -1e4F, 0.0F, 1e4F, -3e38F};
  nibble_engine::softmax(far);
  CHECK(far == std::vector<float>{0.5F, 0.0F, 0.0F, 0.5F, 0.0F});
  std::vector<float> wide(19, -1e4F);
  wide[17] = 1e4F;
  nibble_engine::softmax(wide);
  for (std::size_t i = 0; i < wide.size(); ++i) CHECK(wide[i] == (i == 17 ? 1.0F : 0.0F));
}

TEST_CASE("SwiGLU and GELU agree with double, and saturate far out", "[engine]") {
  for (const std::size_t length : lengths) {
    std::vector<float> x = nibble_test::gaussian(length, 4, 3.0F);
    const std::vector<float> extremes{-1e30F, -1e4F, -100.0F, -88.8F, 0.0F, 88.8F, 100.0F, 1e4F, 1e12F};
    for (std::size_t i = 0; i < std::min(length, extremes.size()); ++i) x[length - 1 - i] = extremes[i];
    const std::vector<float> up = nibble_test::gaussian(length, 5, 2.0F);
    std::vector<float> gated(x);
    nibble_engine::swiglu(gated, up.data());
    std::vector<float> bent(x);
    nibble_engine::gelu(bent);
    for (std::size_t i = 0; i < length; ++i) {
      const double value = double{x[i]};
      CAPTURE(length, i, value);
      const double silu = value / (1.0 + std::exp(-value));
      CHECK(is_near(gated[i], silu * double{up[i]}, 3e-6, magnitude_of(silu * double{up[i]})));
      const double inner =
          std::sqrt(2.0 / std::numbers::pi) * (value + 0.044715 * value * value * value);
      const double gelu = 0.5 * value * (1.0 + std::tanh(inner));
      // 1 + tanh cancels far left of zero, where GELU is nothing beside x.
      CHECK(is_near(bent[i], gelu, 3e-6,
                    std::max(std::abs(gelu), 1e-3 * std::min(1.0, std::abs(value)))));
    }
  }
}

TEST_CASE("norms agree with double", "[engine]") {
  for (const std::size_t length : lengths) {
    for (const float scale : {1e-3F, 1.0F, 1e4F}) {
      std::vector<float> x = nibble_test::gaussian(length, 6, scale);
      for (float& value : x) value += 0.5F * scale;
      const std::vector<float> gain = nibble_test::gaussian(length, 7, 1.0F);
      const std::vector<float> bias = nibble_test::gaussian(length, 8, 1.0F);
      const double epsilon = 1e-5;
      const auto count = static_cast<double>(length);
      double squares = 0.0;
      double mean = 0.0;
      for (const float value : x) {
        squares += double{value} * double{value};
        mean += double{value} / count;
      }
      double variance = 0.0;
      for (const float value : x) variance += (double{value} - mean) * (double{value} - mean) / count;
      std::vector<float> rms(length);
      nibble_engine::rms_norm(x, gain, epsilon, rms.data());
      std::vector<float> layer(length);
      nibble_engine::layer_norm(x, gain, bias, epsilon, layer.data());
      CAPTURE(length, scale);
      for (std::size_t i = 0; i < length; ++i) {
        const double by_rms = double{x[i]} / std::sqrt(squares / count + epsilon) * double{gain[i]};
        CHECK(is_near(rms[i], by_rms, 2e-6, magnitude_of(by_rms)));
        const double root = std::sqrt(variance + epsilon);
        const double by_layer = (double{x[i]} - mean) / root * double{gain[i]} + double{bias[i]};
        // What the mean loses in f32 grows by the gain over the deviation.
        const double magnitude =
            std::abs(double{bias[i]}) + std::abs(double{gain[i]}) * (1.0 + double{scale} / root);
        CHECK(is_near(layer[i], by_layer, 2e-6, magnitude));
      }
    }
  }
}
