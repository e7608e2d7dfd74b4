#include <nibble/compute/error_feedback.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/compute/thread_pool.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>

using nibble::encoding;
using nibble::error_feedback;

namespace {

/// A symmetric matrix in float64, [n, n].
struct square_matrix {
  std::size_t n;
  std::vector<double> at_;

  explicit square_matrix(std::size_t size) : n(size), at_(size * size) {}
  double& operator()(std::size_t row, std::size_t column) { return at_[row * n + column]; }
  double operator()(std::size_t row, std::size_t column) const { return at_[row * n + column]; }
};

/// The inverse, by Gauss and Jordan.
square_matrix inverse_of(square_matrix a) {
  square_matrix made(a.n);
  for (std::size_t i = 0; i < a.n; ++i) made(i, i) = 1.0;
  for (std::size_t pivot = 0; pivot < a.n; ++pivot) {
    const double by = 1.0 / a(pivot, pivot);
    for (std::size_t column = 0; column < a.n; ++column) {
      a(pivot, column) *= by;
      made(pivot, column) *= by;
    }
    for (std::size_t row = 0; row < a.n; ++row) {
      const double factor = a(row, pivot);
      if (row == pivot || factor == 0.0) continue;
      for (std::size_t column = 0; column < a.n; ++column) {
        a(row, column) -= factor * a(pivot, column);
        made(row, column) -= factor * made(pivot, column);
      }
    }
  }
  return made;
}

/// U, upper triangular, with U^T U = a.
square_matrix upper_factor_of(const square_matrix& a) {
  square_matrix u(a.n);
  for (std::size_t row = 0; row < a.n; ++row) {
    for (std::size_t column = row; column < a.n; ++column) {
      double sum = a(row, column);
      for (std::size_t k = 0; k < row; ++k) sum -= u(k, row) * u(k, column);
      u(row, column) = column == row ? std::sqrt(sum) : sum / u(row, row);
    }
  }
  return u;
}

/// Second moments of inputs that depend on each other, some of them large.
square_matrix correlated_moments(std::size_t columns, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  constexpr std::size_t sources = 6;
  std::vector<double> mixing(columns * sources);
  for (double& each : mixing) each = normal(generator);
  square_matrix moments(columns);
  const std::size_t inputs = 4 * columns;
  std::vector<double> x(columns);
  for (std::size_t input = 0; input < inputs; ++input) {
    std::vector<double> source(sources);
    for (double& each : source) each = normal(generator);
    for (std::size_t i = 0; i < columns; ++i) {
      x[i] = 0.3 * normal(generator);
      for (std::size_t k = 0; k < sources; ++k) x[i] += mixing[i * sources + k] * source[k];
      if (i % 11 == 3) x[i] *= 5.0;
    }
    for (std::size_t i = 0; i < columns; ++i) {
      for (std::size_t j = 0; j < columns; ++j) {
        moments(i, j) += x[i] * x[j] / static_cast<double>(inputs);
      }
    }
  }
  return moments;
}

error_feedback feedback_from(const square_matrix& moments, encoding which, bool by_importance,
                             unsigned refinements) {
  std::vector<float> diagonal;
  for (std::size_t i = 0; i < moments.n; ++i) diagonal.push_back(static_cast<float>(moments(i, i)));
  error_feedback made;
  made.refinements = refinements;
  made.order = nibble::feedback_order(diagonal, nibble::describe(which).block_elements, by_importance);
  square_matrix ordered(moments.n);
  for (std::size_t i = 0; i < moments.n; ++i) {
    for (std::size_t j = 0; j < moments.n; ++j) {
      ordered(i, j) = moments(made.order[i], made.order[j]);
    }
  }
  const square_matrix factor = upper_factor_of(inverse_of(ordered));
  for (const double each : ordered.at_) made.moments.push_back(static_cast<float>(each));
  for (const double each : factor.at_) made.factor.push_back(static_cast<float>(each));
  return made;
}

std::vector<float> random_weights(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<float> values(count);
  for (float& each : values) each = normal(generator);
  return values;
}

std::vector<float> decoded(encoding which, const nibble::shape& dimensions,
                           const std::vector<std::byte>& bytes) {
  std::vector<float> values(static_cast<std::size_t>(dimensions.elements()));
  nibble::dequantize({"w", which, dimensions, bytes}, values);
  return values;
}

std::vector<std::byte> packed(encoding which, const nibble::shape& dimensions,
                              const std::vector<float>& values, const error_feedback& with,
                              nibble::executor* executor = nullptr) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)));
  nibble::quantize_with_feedback(which, dimensions, values, bytes, with, executor);
  return bytes;
}

/// (w - q) H (w - q)^T of one row.
double cost_of_row(std::span<const float> w, std::span<const float> q, const square_matrix& moments) {
  double cost = 0.0;
  for (std::size_t i = 0; i < moments.n; ++i) {
    for (std::size_t j = 0; j < moments.n; ++j) {
      cost += (static_cast<double>(w[i]) - static_cast<double>(q[i])) * moments(i, j) *
              (static_cast<double>(w[j]) - static_cast<double>(q[j]));
    }
  }
  return cost;
}

double cost_of(const std::vector<float>& w, const std::vector<float>& q, const square_matrix& moments) {
  double cost = 0.0;
  for (std::size_t at = 0; at < w.size(); at += moments.n) {
    cost +=
        cost_of_row(std::span(w).subspan(at, moments.n), std::span(q).subspan(at, moments.n), moments);
  }
  return cost;
}

/// The values that element `column` of a q4 row can have, read from its block's bytes.
std::vector<float> values_of_q4(std::span<const std::byte> row, std::size_t column) {
  nibble::q4::block block;
  std::memcpy(&block, row.data() + column / 32 * sizeof(block), sizeof(block));
  std::vector<float> values;
  for (int code = 0; code < 16; ++code) {
    values.push_back(nibble::to_float32(block.scale) * static_cast<float>(code) +
                     nibble::to_float32(block.min));
  }
  return values;
}

}  // namespace

TEST_CASE("columns come in order of importance, block by block", "[error_feedback]") {
  const std::vector<float> importance{1, 5, 2, 3, 9, 9, 0, 0, 4};
  CHECK(nibble::feedback_order(importance, 3, false) ==
        std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(nibble::feedback_order(importance, 3, true) ==
        std::vector<std::uint32_t>{4, 5, 3, 1, 2, 0, 8, 6, 7});
}

TEST_CASE("with inputs that have nothing to do with each other it is packing with the best scales",
          "[error_feedback]") {
  const nibble::shape dimensions{5, 96};
  const std::vector<float> values = random_weights(5 * 96, 1);
  square_matrix moments(96);
  for (std::size_t i = 0; i < 96; ++i) moments(i, i) = 1.0;
  for (const encoding which : {encoding::q4, encoding::q8, encoding::q4_0, encoding::q5_1}) {
    std::vector<std::byte> plain(static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)));
    nibble::quantize(which, dimensions, values, plain, {.search = nibble::packing_search::best});
    const auto with = feedback_from(moments, which, false, 3);
    const double found =
        cost_of(values, decoded(which, dimensions, packed(which, dimensions, values, with)), moments);
    const double expected = cost_of(values, decoded(which, dimensions, plain), moments);
    CHECK(std::fabs(found - expected) <= 1e-6 * expected);
  }
}

// Optimal brain surgery in its plain form: after each column the inverse is computed anew for the columns
// that are left.
TEST_CASE("each code is what float64 makes of the errors before it", "[error_feedback]") {
  constexpr std::size_t columns = 40;
  constexpr std::size_t rows = 4;
  const nibble::shape dimensions{rows, columns};
  const std::vector<float> values = random_weights(rows * columns, 2);
  const square_matrix moments = correlated_moments(columns, 3);
  for (const bool by_importance : {false, true}) {
    const error_feedback with = feedback_from(moments, encoding::q4, by_importance, 0);
    const std::vector<std::byte> bytes = packed(encoding::q4, dimensions, values, with);
    const std::vector<float> found = decoded(encoding::q4, dimensions, bytes);
    std::size_t differing = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto stored = std::span(bytes).subspan(row * bytes.size() / rows, bytes.size() / rows);
      std::vector<double> w;
      for (const std::uint32_t column : with.order) {
        w.push_back(static_cast<double>(values[row * columns + column]));
      }
      for (std::size_t i = 0; i < columns; ++i) {
        const std::size_t left = columns - i;
        square_matrix rest(left);
        for (std::size_t a = 0; a < left; ++a) {
          for (std::size_t b = 0; b < left; ++b) {
            rest(a, b) = moments(with.order[i + a], with.order[i + b]);
          }
        }
        const square_matrix inverse = inverse_of(rest);
        double nearest = 0.0;
        double distance = 1e30;
        for (const float each : values_of_q4(stored, with.order[i])) {
          if (std::fabs(static_cast<double>(each) - w[i]) >= distance) continue;
          distance = std::fabs(static_cast<double>(each) - w[i]);
          nearest = static_cast<double>(each);
        }
        const float expected = found[row * columns + with.order[i]];
        // Where two codes are as near in f32, the one that was taken goes on.
        if (std::fabs(nearest - static_cast<double>(expected)) > 1e-7) ++differing;
        const double error = (w[i] - static_cast<double>(expected)) / inverse(0, 0);
        for (std::size_t a = 0; a < left; ++a) w[i + a] -= error * inverse(0, a);
      }
    }
    CHECK(differing == 0);
  }
}

TEST_CASE("after refinement no single code is better, and rounding alone costs more",
          "[error_feedback]") {
  constexpr std::size_t columns = 72;
  constexpr std::size_t rows = 6;
  const nibble::shape dimensions{rows, columns};
  const std::vector<float> values = random_weights(rows * columns, 4);
  const square_matrix moments = correlated_moments(columns, 5);
  const auto bytes =
      packed(encoding::q4, dimensions, values, feedback_from(moments, encoding::q4, true, 100));
  const auto rounded =
      decoded(encoding::q4, dimensions,
              packed(encoding::q4, dimensions, values, feedback_from(moments, encoding::q4, true, 0)));
  std::vector<float> refined = decoded(encoding::q4, dimensions, bytes);
  CHECK(cost_of(values, refined, moments) <= cost_of(values, rounded, moments));
  for (std::size_t row = 0; row < rows; ++row) {
    const auto stored = std::span(bytes).subspan(row * bytes.size() / rows, bytes.size() / rows);
    const auto w = std::span(values).subspan(row * columns, columns);
    const auto q = std::span(refined).subspan(row * columns, columns);
    const double cost = cost_of_row(w, q, moments);
    for (std::size_t column = 0; column < columns; ++column) {
      const float kept = q[column];
      for (const float other : values_of_q4(stored, column)) {
        q[column] = other;
        CHECK(cost_of_row(w, q, moments) >= cost * (1.0 - 1e-4));
      }
      q[column] = kept;
    }
  }
}

TEST_CASE("each pass of refinement costs a row less than the one before, or changes nothing",
          "[error_feedback]") {
  constexpr std::size_t rows = 12;
  for (const encoding which :
       {encoding::q4, encoding::q4_0, encoding::q5_1, encoding::q8, encoding::q3_k, encoding::q4_k}) {
    CAPTURE(nibble::to_string(which));
    const std::size_t columns = nibble::describe(which).block_elements == 256 ? 512 : 104;
    if (!nibble::takes_error_feedback(which, columns)) continue;
    const nibble::shape dimensions{rows, columns};
    const std::vector<float> values = random_weights(rows * columns, 8);
    const square_matrix moments = correlated_moments(columns, 9);
    std::vector<double> before(rows, 1e300);
    double first = 0.0;
    double last = 0.0;
    for (const unsigned passes : {0U, 1U, 2U, 3U, 6U}) {
      const auto made =
          decoded(which, dimensions,
                  packed(which, dimensions, values, feedback_from(moments, which, true, passes)));
      last = 0.0;
      for (std::size_t row = 0; row < rows; ++row) {
        const double cost = cost_of_row(std::span(values).subspan(row * columns, columns),
                                        std::span(made).subspan(row * columns, columns), moments);
        CHECK(cost <= before[row] * (1.0 + 1e-5));
        before[row] = cost;
        last += cost;
      }
      if (passes == 0) first = last;
    }
    CHECK(last < 0.97 * first);
  }
}

TEST_CASE("after refinement no scale or min beside a block's own is better", "[error_feedback]") {
  constexpr std::size_t columns = 72;
  constexpr std::size_t rows = 6;
  const nibble::shape dimensions{rows, columns};
  const std::vector<float> values = random_weights(rows * columns, 4);
  const square_matrix moments = correlated_moments(columns, 5);
  std::vector<std::byte> bytes =
      packed(encoding::q4, dimensions, values, feedback_from(moments, encoding::q4, true, 100));
  const std::vector<float> found = decoded(encoding::q4, dimensions, bytes);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(nibble::q4::block)) {
    const std::size_t row = at / (bytes.size() / rows);
    const auto w = std::span(values).subspan(row * columns, columns);
    const double cost = cost_of_row(w, std::span(found).subspan(row * columns, columns), moments);
    nibble::q4::block block;
    std::memcpy(&block, bytes.data() + at, sizeof(block));
    // Some steps of float16, for one step of either is less than what it is rounded by.
    for (const int scale_steps : {-8, 0, 8}) {
      for (const int min_steps : {-8, 0, 8}) {
        nibble::q4::block other = block;
        other.scale.bits = static_cast<std::uint16_t>(other.scale.bits + scale_steps);
        other.min.bits = static_cast<std::uint16_t>(other.min.bits + min_steps);
        std::memcpy(bytes.data() + at, &other, sizeof(block));
        const std::vector<float> changed = decoded(encoding::q4, dimensions, bytes);
        CHECK(cost_of_row(w, std::span(changed).subspan(row * columns, columns), moments) >=
              cost * (1.0 - 1e-4));
      }
    }
    std::memcpy(bytes.data() + at, &block, sizeof(block));
  }
}

TEST_CASE("error feedback costs the output less than the best scales do, in every encoding",
          "[error_feedback]") {
  constexpr std::size_t rows = 20;
  for (const nibble::encoding_description& row : nibble::encodings) {
    const encoding which = row.encoding;
    const std::size_t columns = row.block_elements == 256 ? 256 : 96;
    if (!nibble::takes_error_feedback(which, columns)) continue;
    CAPTURE(nibble::to_string(which));
    const nibble::shape dimensions{rows, columns};
    const std::vector<float> values = random_weights(rows * columns, 6);
    const square_matrix moments = correlated_moments(columns, 7);
    std::vector<std::byte> plain(static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)));
    nibble::quantize(which, dimensions, values, plain, {.search = nibble::packing_search::best});
    const double before = cost_of(values, decoded(which, dimensions, plain), moments);
    for (const bool by_importance : {false, true}) {
      const error_feedback with = feedback_from(moments, which, by_importance, 4);
      const auto bytes = packed(which, dimensions, values, with);
      CHECK(cost_of(values, decoded(which, dimensions, bytes), moments) < 0.5 * before);
      nibble::thread_pool pool(3);
      CHECK(packed(which, dimensions, values, with, &pool) == bytes);
    }
  }
}

TEST_CASE("what has no grid of scales, and sizes that disagree, are refused", "[error_feedback]") {
  CHECK(nibble::takes_error_feedback(encoding::q4, 33));
  CHECK(nibble::takes_error_feedback(encoding::q6_k, 256));
  CHECK_FALSE(nibble::takes_error_feedback(encoding::apr_q4, 33));
  CHECK(nibble::takes_error_feedback(encoding::apr_q4, 64));
  for (const encoding which : {encoding::f16, encoding::f32, encoding::apr_q8, encoding::iq4_nl,
                               encoding::iq2_xxs, encoding::i8}) {
    CHECK_FALSE(nibble::takes_error_feedback(which, 256));
  }
  square_matrix moments(32);
  for (std::size_t i = 0; i < 32; ++i) moments(i, i) = 1.0;
  const error_feedback with = feedback_from(moments, encoding::q4, false, 1);
  const std::vector<float> values(64);
  std::vector<std::byte> bytes(40);
  const auto refusal = [&](encoding which, const nibble::shape& dimensions) {
    return nibble_test::code_of(
        [&] { nibble::quantize_with_feedback(which, dimensions, values, bytes, with); });
  };
  CHECK_FALSE(refusal(encoding::q4, {2, 32}));
  CHECK(refusal(encoding::q4, {1, 64}) == nibble::error_code::invalid_argument);
  CHECK(refusal(encoding::q4_0, {2, 32}) == nibble::error_code::invalid_argument);
  bytes.resize(128);
  CHECK(refusal(encoding::f16, {2, 32}) == nibble::error_code::unsupported_encoding);
}
