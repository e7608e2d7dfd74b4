#include <nibble/compute/interleaved_blocks.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/compute/repack.hpp>

#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/guarded_memory.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::matmul_mode;
using nibble::shape;
using nibble::tensor_view;

constexpr std::array interleaved_encodings = {encoding::q4_r8, encoding::q8_r8};

std::size_t bytes_of_shape(encoding which, const shape& dimensions) {
  return static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions));
}

/// Stored blocks, any of them.
nibble::block_source stored_blocks_in(std::span<const std::byte> bytes, encoding which) {
  return [bytes, unit = std::size_t{nibble::describe(which).block_bytes}](std::uint64_t first,
                                                                          std::span<std::byte> to) {
    const auto from = bytes.subspan(static_cast<std::size_t>(first) * unit, to.size());
    std::copy(from.begin(), from.end(), to.begin());
  };
}

/// All blocks of a source, `step` at a time.
std::vector<std::byte> all_blocks(const nibble::block_source& source, encoding which,
                                  const shape& dimensions, std::size_t step) {
  std::vector<std::byte> bytes(bytes_of_shape(which, dimensions), std::byte{0xA5});
  const std::size_t unit = nibble::describe(which).block_bytes;
  for (std::size_t first = 0; first * unit < bytes.size(); first += step) {
    const std::size_t size = std::min(step * unit, bytes.size() - first * unit);
    source(first, std::span(bytes).subspan(first * unit, size));
  }
  return bytes;
}

std::vector<std::byte> interleaved(std::span<const std::byte> rows, encoding to,
                                   const shape& dimensions, std::size_t step = 1000) {
  const encoding from = *nibble::row_encoding_of(to);
  return all_blocks(nibble::interleaved_blocks(to, dimensions.rows(), dimensions.cols(),
                                               stored_blocks_in(rows, from)),
                    to, dimensions, step);
}

const std::array<shape, 9> interleaved_shapes = {shape{8, 32},    shape{1, 1},     shape{7, 31},
                                                 shape{9, 33},    shape{16, 64},   shape{17, 65},
                                                 shape{3, 5, 96}, shape{40, 1000}, shape{64}};

TEST_CASE("q4 and q8 have an interleaved form each, and no other encoding has",
          "[interleaved_blocks]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    CAPTURE(row.name);
    const auto to = nibble::interleaved_encoding_of(row.encoding);
    const auto back = nibble::row_encoding_of(row.encoding);
    CHECK(to.has_value() == (row.name == "q4" || row.name == "q8"));
    CHECK(back.has_value() == row.name.ends_with("_r8"));
    if (to) CHECK(nibble::row_encoding_of(*to) == row.encoding);
  }
  CHECK(nibble::interleaved_encoding_of(encoding::q4) == encoding::q4_r8);
  CHECK(nibble::interleaved_encoding_of(encoding::q8) == encoding::q8_r8);
}

TEST_CASE("rows are interleaved and separated again bit for bit, whatever part is asked for",
          "[interleaved_blocks]") {
  for (const encoding to : interleaved_encodings) {
    const encoding from = *nibble::row_encoding_of(to);
    for (const shape& dimensions : interleaved_shapes) {
      const auto rows = nibble_test::any_stored_bytes(from, dimensions.rows(), dimensions.cols(), 5);
      const auto joined = interleaved(rows, to, dimensions);
      for (const std::size_t step : {1U, 2U, 3U, 7U, 50U}) {
        CAPTURE(nibble::to_string(to), dimensions.to_string(), step);
        CHECK(interleaved(rows, to, dimensions, step) == joined);
        CHECK(all_blocks(nibble::separated_blocks(to, dimensions.cols(), stored_blocks_in(joined, to)),
                         from, dimensions, step) == rows);
      }
    }
  }
}

TEST_CASE("interleaved rows decode to the bits of their rows", "[interleaved_blocks]") {
  for (const encoding to : interleaved_encodings) {
    const encoding from = *nibble::row_encoding_of(to);
    for (const shape& dimensions : interleaved_shapes) {
      CAPTURE(nibble::to_string(to), dimensions.to_string());
      const auto elements = static_cast<std::size_t>(dimensions.elements());
      const auto rows = nibble_test::any_stored_bytes(from, dimensions.rows(), dimensions.cols(), 6);
      const auto joined = interleaved(rows, to, dimensions);
      std::vector<float> expected(elements);
      std::vector<float> found(elements);
      nibble::dequantize(tensor_view("w", from, dimensions, rows), expected);
      nibble::dequantize(tensor_view("w", to, dimensions, joined), found);
      CHECK(nibble_test::first_difference(found, expected) == -1);
      std::vector<nibble::float16> expected_halves(elements);
      std::vector<nibble::float16> found_halves(elements);
      nibble::dequantize(tensor_view("w", from, dimensions, rows), expected_halves);
      nibble::dequantize(tensor_view("w", to, dimensions, joined), found_halves);
      CHECK(std::equal(found_halves.begin(), found_halves.end(), expected_halves.begin(),
                       [](auto a, auto b) { return a.bits == b.bits; }));
    }
  }
}

TEST_CASE("packed with interleaved rows, a tensor is what its packed rows are interleaved to",
          "[interleaved_blocks]") {
  for (const encoding to : interleaved_encodings) {
    const encoding from = *nibble::row_encoding_of(to);
    // The last ones take several chunks, whose rows are no multiple of 8 by themselves.
    for (const shape& dimensions : {shape{1, 1}, shape{9, 33}, shape{31, 40}, shape{50, 7001},
                                    shape{20, 70001}, shape{70001, 3}}) {
      CAPTURE(nibble::to_string(to), dimensions.to_string());
      const auto values = nibble_test::heavy_tailed(static_cast<std::size_t>(dimensions.elements()), 3);
      const auto importance = nibble_test::gaussian(static_cast<std::size_t>(dimensions.cols()), 4);
      std::vector<float> weighed(importance.size());
      for (std::size_t i = 0; i < weighed.size(); ++i) weighed[i] = importance[i] * importance[i];
      for (const bool is_weighed : {false, true}) {
        nibble::quantize_options options;
        if (is_weighed) options.column_importance = weighed;
        std::vector<std::byte> rows(bytes_of_shape(from, dimensions));
        std::vector<std::byte> joined(bytes_of_shape(to, dimensions), std::byte{0x5A});
        nibble::quantize(from, dimensions, values, rows, options);
        nibble::quantize(to, dimensions, values, joined, options);
        CHECK((joined == interleaved(rows, to, dimensions)));
      }
    }
  }
}

TEST_CASE("products of interleaved rows are those of repacked rows, where sums are taken alike",
          "[interleaved_blocks]") {
  constexpr std::size_t n = 43;
  constexpr std::size_t k = 200;
  using integers = nibble::simd::integer_architecture<nibble::simd::best_architecture>;
  const auto x = nibble_test::gaussian(4 * k, 8, 1.0F);
  for (const matmul_mode mode : {matmul_mode::int16, matmul_mode::int8}) {
    for (const encoding to : interleaved_encodings) {
      const encoding from = *nibble::row_encoding_of(to);
      // Codes above 127 take another bias in panels, where not every byte can be multiplied.
      if (to == encoding::q8_r8 && !nibble::simd::multiplies_any_byte<integers>) continue;
      const auto rows = nibble_test::finite_stored_bytes(from, n, k, 7);
      const auto joined = interleaved(rows, to, {n, k});
      const tensor_view plain("w", from, {n, k}, rows);
      const tensor_view w("w", to, {n, k}, joined);
      const nibble::repacked_weight repacked = nibble::repack(plain, mode);
      CHECK(nibble::repack(w, mode).size_bytes() == 0);
      for (const std::size_t m : {1U, 2U, 4U}) {
        std::vector<float> expected(m * n);
        std::vector<float> found(m * n);
        nibble::matmul(repacked, std::span(x).first(m * k), expected);
        nibble::matmul(w, std::span(x).first(m * k), found, {.mode = mode});
        CAPTURE(nibble::to_string(to), nibble::to_string(mode), m);
        CHECK(nibble_test::first_difference(found, expected) == -1);
      }
    }
  }
}

TEST_CASE("rows that were counted up to a group are read by no product", "[interleaved_blocks]") {
  constexpr std::size_t k = 96;
  for (const encoding which : interleaved_encodings) {
    for (const std::size_t n : {1U, 7U, 9U, 23U}) {
      auto bytes = nibble_test::finite_stored_bytes(which, n, k, 7);
      const std::size_t unit = nibble::describe(which).block_bytes;
      const auto product = [&](std::size_t m, matmul_mode mode) {
        const auto x = nibble_test::gaussian(m * k, 2, 1.0F);
        std::vector<float> y(m * n);
        nibble::matmul(tensor_view("w", which, {n, k}, bytes), x, y, {.mode = mode});
        return y;
      };
      for (const std::size_t m : {1U, 3U, 20U, 70U}) {
        for (const matmul_mode mode : {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8}) {
          const auto expected = product(m, mode);
          const auto kept = bytes;
          // Scales that are NaN for the rows that are not there.
          for (std::size_t block = bytes.size() - 3 * unit; block < bytes.size(); block += unit) {
            for (std::size_t row = n % 8; row < 8; ++row) {
              bytes[block + 2 * row] = bytes[block + 16 + 2 * row] = std::byte{0xFF};
              bytes[block + 2 * row + 1] = bytes[block + 16 + 2 * row + 1] = std::byte{0x7F};
            }
          }
          const auto found = product(m, mode);
          bytes = kept;
          CAPTURE(nibble::to_string(which), n, m);
          CHECK(nibble_test::first_difference(found, expected) == -1);
          CHECK(std::none_of(found.begin(), found.end(), [](float y) { return std::isnan(y); }));
        }
      }
    }
  }
}

}  // namespace
