// Views of columns, decoded, counted, repacked and multiplied: the values that an independent decoder
// finds in those columns, and the bits of a tensor of the same blocks, copied end to end.

#include <nibble/core/tensor_view.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/compute/value_counts.hpp>

#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/errors.hpp>
#include <support/guarded_memory.hpp>
#include <support/random_values.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::matmul_mode;
using nibble::tensor_view;
using nibble_test::placed;

using best_kernels = nibble::simd::best_architecture;
using portable_kernels = nibble::simd::portable;

/// Columns first .. first + count of a matrix of rows x cols.
struct column_part {
  std::uint64_t rows;
  std::uint64_t cols;
  std::uint64_t first;
  std::uint64_t count;
};

/// Parts that start where a block does, and end where one does or where the row ends.
std::vector<column_part> parts_of(encoding which, std::uint64_t rows) {
  const auto& how = nibble::describe(which);
  const bool has_partial_blocks =
      how.blocks_run_along != nibble::block_run::tensor && how.block_elements > 1;
  const std::uint64_t rest = has_partial_blocks ? how.block_cols() / 2 + 1 : 0;
  const std::uint64_t unit = how.block_elements == 1 ? 29 : how.block_cols();
  std::vector<column_part> parts = {{rows, 3 * unit, 0, unit},
                                    {rows, 3 * unit, unit, unit},
                                    {rows, 3 * unit + rest, 2 * unit, unit + rest},
                                    {rows, 11 * unit + rest, 2 * unit, 5 * unit}};
  // Longer than what kernels take in one pass.
  parts.push_back(unit == 256 ? column_part{rows, 10 * unit, unit, 9 * unit}
                              : column_part{rows, 2600 / unit * unit, 2 * unit, 2320 / unit * unit});
  if (has_partial_blocks) parts.push_back({rows, 2 * unit + rest, 2 * unit, rest});
  return parts;
}

/// Whether columns of an encoding have bytes of their own.
bool has_columns(encoding which) { return nibble::describe(which).header_bytes == 0; }

/// A view of columns, whose bytes start right behind or end right before a page that nobody may touch,
/// and the same blocks end to end. Other columns have bytes that are NaN where they are read as a scale
/// or as a float.
class cut_weight {
 public:
  cut_weight(encoding which, const column_part& part, std::span<const std::byte> whole, placed where)
      : cut_weight(which, part, nibble::describe(which), whole, where) {}

  [[nodiscard]] const tensor_view& cut() const { return cut_; }
  [[nodiscard]] const tensor_view& copied() const { return copied_; }

 private:
  cut_weight(encoding which, const column_part& part, const nibble::encoding_description& how,
             std::span<const std::byte> whole, placed where)
      : skipped_(part.first / how.block_cols() * how.block_bytes),
        own_((part.count + how.block_cols() - 1) / how.block_cols() * how.block_bytes),
        block_rows_((part.rows + how.block_rows() - 1) / how.block_rows()),
        stride_(whole.size() / block_rows_),
        guarded_(std::span<const std::byte>(with_gaps(whole)), where) {
    for (std::uint64_t row = 0; row < block_rows_; ++row) {
      const auto blocks = whole.subspan(row * stride_ + skipped_, own_);
      dense_.insert(dense_.end(), blocks.begin(), blocks.end());
    }
    // The whole tensor would start before the guarded memory and end behind it.
    const tensor_view all("w", which, {part.rows, part.cols},
                          {guarded_.span().data() - skipped_, whole.size()});
    cut_ = all.columns(part.first, part.count);
    copied_ = tensor_view("w", which, {part.rows, part.count}, dense_);
  }

  [[nodiscard]] std::vector<std::byte> with_gaps(std::span<const std::byte> whole) const {
    std::vector<std::byte> bytes((block_rows_ - 1) * stride_ + own_, std::byte{0xFF});
    for (std::uint64_t row = 0; row < block_rows_; ++row) {
      std::memcpy(bytes.data() + row * stride_, whole.data() + row * stride_ + skipped_, own_);
    }
    return bytes;
  }

  std::size_t skipped_;
  std::size_t own_;
  std::size_t block_rows_;
  std::size_t stride_;
  nibble_test::guarded_memory<std::byte> guarded_;
  std::vector<std::byte> dense_;
  tensor_view cut_;
  tensor_view copied_;
};

/// Bits, so that a NaN is equal to itself.
bool are_same(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::string name_of_part(encoding which, const column_part& part) {
  return fmt::format("{} of {}x{}, {} columns from {}", nibble::to_string(which), part.rows, part.cols,
                     part.count, part.first);
}

TEMPLATE_TEST_CASE("columns of every encoding decode to what is in the whole tensor's columns",
                   "[columns]", best_kernels, portable_kernels) {
  std::uint32_t seed = 0;
  for (const encoding which : nibble_test::decodable_encodings) {
    if (!has_columns(which)) continue;
    for (const std::uint64_t rows : {1U, 2U, 5U, 19U}) {
      for (const column_part& part : parts_of(which, rows)) {
        const auto whole = nibble_test::any_stored_bytes(which, rows, part.cols, ++seed);
        const auto decoded =
            nibble_test::independent_decoder(nibble::to_string(which), whole, part.cols).rows(0, rows);
        std::vector<float> expected;
        for (std::uint64_t row = 0; row < rows; ++row) {
          const auto first =
              decoded.begin() + static_cast<std::ptrdiff_t>(row * part.cols + part.first);
          expected.insert(expected.end(), first, first + static_cast<std::ptrdiff_t>(part.count));
        }
        for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
          const cut_weight weight(which, part, whole, where);
          std::vector<float> found(expected.size());
          nibble::dequantize<float, TestType>(weight.cut(), std::span(found));
          for (std::size_t i = 0; i < found.size(); ++i) {
            const bool is_nan = std::isnan(found[i]) && std::isnan(expected[i]);
            if (found[i] != expected[i] && !is_nan) {
              FAIL(name_of_part(which, part)
                   << ": element " << i << " is " << found[i] << " instead of " << expected[i]);
            }
          }
          // Some of the rows, and rows of a view of its own.
          const std::uint64_t skipped =
              rows / 2 / weight.cut().block_rows() * weight.cut().block_rows();
          std::vector<float> some((rows - skipped) * part.count);
          nibble::dequantize_rows<float, TestType>(weight.cut(), skipped, rows - skipped,
                                                   std::span(some));
          const auto of_these = std::span(found).subspan(skipped * part.count);
          if (!are_same(some, of_these)) FAIL(name_of_part(which, part) << ": some rows");
          nibble::dequantize<float, TestType>(weight.cut().rows(skipped, rows - skipped),
                                              std::span(some));
          if (!are_same(some, of_these)) FAIL(name_of_part(which, part) << ": a view of some rows");
        }
      }
    }
  }
  SUCCEED("every encoding");
}

TEMPLATE_TEST_CASE("columns are narrowed to 16-bit floats as a copy of them is", "[columns]",
                   nibble::float16, nibble::bfloat16) {
  for (const encoding which : nibble_test::decodable_encodings) {
    if (!has_columns(which)) continue;
    for (const column_part& part : parts_of(which, 3)) {
      const auto whole = nibble_test::finite_stored_bytes(which, part.rows, part.cols, 71);
      const cut_weight weight(which, part, whole, placed::against_the_page_behind);
      std::vector<TestType> found(part.rows * part.count);
      std::vector<TestType> expected(found.size());
      nibble::dequantize<TestType, best_kernels>(weight.cut(), std::span(found));
      nibble::dequantize<TestType, best_kernels>(weight.copied(), std::span(expected));
      if (std::memcmp(found.data(), expected.data(), found.size() * sizeof(TestType)) != 0) {
        FAIL(name_of_part(which, part));
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("values of columns are counted without those beside them", "[columns]") {
  std::uint64_t special = 0;
  for (const encoding which : nibble_test::decodable_encodings) {
    if (!has_columns(which)) continue;
    for (const column_part& part : parts_of(which, 7)) {
      const auto whole = nibble_test::any_stored_bytes(which, part.rows, part.cols, 5);
      const cut_weight weight(which, part, whole, placed::against_the_page_behind);
      const auto found = nibble::kernel::count_values<best_kernels>(weight.cut());
      const auto expected = nibble::kernel::count_values<best_kernels>(weight.copied());
      CAPTURE(name_of_part(which, part));
      CHECK(found.elements == expected.elements);
      CHECK(found.nan == expected.nan);
      CHECK(found.infinite == expected.infinite);
      CHECK(found.zero == expected.zero);
      CHECK(found.non_finite_scales == expected.non_finite_scales);
      special += found.nan + found.infinite + found.non_finite_scales;
    }
  }
  CHECK(special > 0);
}

/// Products of both views in every mode, as they are stored and repacked, for as many rows of x as every
/// kernel takes.
template <class Architecture>
void require_same_products(encoding which, const column_part& part,
                           std::span<const std::size_t> x_rows) {
  const auto whole = nibble_test::finite_stored_bytes(which, part.rows, part.cols, 91);
  const auto outputs = static_cast<std::size_t>(part.rows);
  const auto cols = static_cast<std::size_t>(part.count);
  for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
    const cut_weight weight(which, part, whole, where);
    for (const matmul_mode mode : {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8}) {
      const auto repacked = nibble::repack<Architecture>(weight.cut(), mode);
      const auto repacked_copy = nibble::repack<Architecture>(weight.copied(), mode);
      CHECK(repacked.size_bytes() == repacked_copy.size_bytes());
      for (const std::size_t m : x_rows) {
        const auto x = nibble_test::gaussian(m * cols, static_cast<std::uint32_t>(m), 1.0F);
        std::vector<float> found(m * outputs);
        std::vector<float> expected(m * outputs);
        const auto require_same = [&](std::string_view what) {
          if (are_same(found, expected)) return;
          FAIL(name_of_part(which, part)
               << ", M " << m << ", mode " << static_cast<int>(mode) << ": " << what);
        };
        nibble::matmul<Architecture>(weight.cut(), x, found, {.mode = mode});
        nibble::matmul<Architecture>(weight.copied(), x, expected, {.mode = mode});
        require_same("in place");
        nibble::matmul<Architecture>(repacked, x, found);
        nibble::matmul<Architecture>(repacked_copy, x, expected);
        require_same("repacked");
      }
    }
  }
}

TEST_CASE("columns multiply as a copy of their blocks does, bit for bit", "[columns]") {
  // From GEMV to panels, with every kernel's last tile full or not.
  constexpr std::array<std::size_t, 5> x_rows = {1, 3, 8, 17, 41};
  for (const encoding which : nibble_test::decodable_encodings) {
    if (!has_columns(which)) continue;
    for (const std::uint64_t rows : {1U, 7U, 37U}) {
      for (const column_part& part : parts_of(which, rows)) {
        require_same_products<best_kernels>(which, part, x_rows);
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("columns multiply as a copy of their blocks does without vectors", "[columns]") {
  constexpr std::array<std::size_t, 3> x_rows = {1, 5, 41};
  for (const encoding which : nibble_test::decodable_encodings) {
    if (!has_columns(which)) continue;
    require_same_products<portable_kernels>(which, parts_of(which, 5)[2], x_rows);
  }
  SUCCEED("every encoding");
}

TEST_CASE("products of all parts of the columns add up to the product", "[columns]") {
  constexpr std::size_t n = 19;
  constexpr std::size_t k = 1024;
  constexpr std::size_t m = 5;
  const auto x = nibble_test::gaussian(m * k, 3, 1.0F);
  for (const encoding which : {encoding::q4, encoding::q8_0, encoding::q6_k, encoding::f16,
                               encoding::apr_q4, encoding::iq3_s}) {
    const auto bytes = nibble_test::finite_stored_bytes(which, n, k, 13);
    const tensor_view w("w", which, {n, k}, bytes);
    const auto weights =
        nibble_test::independent_decoder(nibble::to_string(which), bytes, k).rows(0, n);
    std::vector<double> sums(m * n, 0.0);
    for (const auto& [first, count] : {std::pair{0, 256}, {256, 512}, {768, 256}}) {
      const auto from = static_cast<std::size_t>(first);
      const auto some = static_cast<std::size_t>(count);
      std::vector<float> y(m * n);
      nibble_test::shuffled_executor shuffled(static_cast<std::uint32_t>(first + 1));
      // The activations' columns are those of the weight.
      nibble::matmul(w.columns(from, some), std::span(x).subspan(from, (m - 1) * k + some), y,
                     {.executor = &shuffled, .x_stride_elements = k});
      for (std::size_t i = 0; i < y.size(); ++i) sums[i] += static_cast<double>(y[i]);
    }
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double expected = 0.0;
        double magnitudes = 0.0;
        for (std::size_t c = 0; c < k; ++c) {
          const double product =
              static_cast<double>(x[i * k + c]) * static_cast<double>(weights[j * k + c]);
          expected += product;
          magnitudes += std::fabs(product);
        }
        CAPTURE(nibble::to_string(which), i, j);
        CHECK(std::fabs(sums[i * n + j] - expected) <= 1e-5 * magnitudes);
      }
    }
  }
}

TEST_CASE("what was repacked from some columns is not for others", "[columns]") {
  const auto bytes = nibble_test::finite_stored_bytes(encoding::q4, 16, 128, 2);
  const tensor_view w("w", encoding::q4, {16, 128}, bytes);
  const tensor_view wide("w", encoding::q4, {8, 256}, bytes);
  const auto repacked = nibble::repack(w.columns(0, 64).rows(0, 8), matmul_mode::int8);
  std::vector<float> x(64, 1.0F);
  std::vector<float> y(8);
  const auto refusal = [&](const tensor_view& other) {
    return nibble_test::error_of([&] {
      nibble::matmul({{.w = other, .y = y, .repacked = &repacked}}, x, {.mode = matmul_mode::int8});
    });
  };
  CHECK_FALSE(refusal(w.columns(0, 64).rows(0, 8)));
  for (const tensor_view& other :
       {w.columns(64, 64).rows(0, 8), w.columns(0, 64).rows(8, 8), wide.columns(0, 64)}) {
    const auto thrown = refusal(other);
    REQUIRE(thrown);
    CHECK(thrown->code() == nibble::error_code::invalid_argument);
    CHECK(thrown->detail().field == "repacked");
  }
}

}  // namespace
