#include <nibble/compute/dequantize.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/compute/matmul.hpp>
#include <nibble/core/composed_weight.hpp>

#include <codec/independent_decoder.hpp>
#include <simd/emulated_widths.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/errors.hpp>
#include <support/guarded_memory.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::bfloat16;
using nibble::encoding;
using nibble::error_code;
using nibble::float16;
using nibble::tensor_view;
using nibble_test::any_stored_bytes;
using nibble_test::decodable_encodings;
using nibble_test::guarded_memory;
using nibble_test::independent_decoder;
using nibble_test::placed;

/// Whether `found` is `expected`, rounded to nearest even where To is a 16-bit float.
bool is_expected(float found, float expected) { return nibble_test::is_same_float(found, expected); }
template <class Half>
bool is_expected(Half found, float expected) {
  constexpr auto format = std::is_same_v<Half, float16> ? nibble_test::binary16 : nibble_test::brain16;
  if (std::isnan(expected)) return std::isnan(nibble_test::value_of(format, found.bits));
  return found.bits == nibble_test::nearest_code(format, static_cast<double>(expected));
}

template <class To>
To sentinel() {
  if constexpr (std::is_same_v<To, float>) {
    return -12345.0F;
  } else {
    return To{0xBEEF};
  }
}
bool is_sentinel(float value) { return value == -12345.0F; }
template <class Half>
bool is_sentinel(Half value) {
  return value.bits == 0xBEEF;
}

/// A way to decode: what into, and on which architecture.
template <class To, class Architecture>
struct way {
  using to = To;
  using architecture = Architecture;
  static void rows(const tensor_view& from, std::uint64_t first, std::uint64_t count,
                   std::span<To> into, nibble::executor* on = nullptr) {
    nibble::dequantize_rows<To, Architecture>(from, first, count, into, {.executor = on});
  }
};
using best = nibble::simd::best_architecture;
using twin = nibble::simd::portable;

template <class Way>
void require_rows(const tensor_view& view, std::uint64_t first, std::uint64_t count,
                  const std::vector<float>& expected, nibble::executor* on = nullptr) {
  using to = typename Way::to;
  const auto cols = static_cast<std::size_t>(view.cols());
  const std::size_t elements = static_cast<std::size_t>(count) * cols;
  std::vector<to> values(elements + 64, sentinel<to>());
  Way::rows(view, first, count, std::span(values).subspan(32, elements), on);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool is_inside = i >= 32 && i < 32 + elements;
    const bool right =
        is_inside ? is_expected(values[i], expected[static_cast<std::size_t>(first) * cols + i - 32])
                  : is_sentinel(values[i]);
    if (!right) {
      FAIL(fmt::format("{} {}: rows {} + {}, element {}", view.dtype_text(), view.shape().to_string(),
                       first, count, static_cast<std::ptrdiff_t>(i) - 32));
    }
  }
}

#define NIBBLE_TEST_WAYS                                                              \
  (way<float, best>), (way<float, twin>), (way<float16, best>), (way<float16, twin>), \
      (way<bfloat16, best>), (way<bfloat16, twin>)

TEMPLATE_TEST_CASE("every encoding decodes to the numbers of format/README.md, whatever the columns",
                   "[dequantize]", NIBBLE_TEST_WAYS) {
  std::uint32_t seed = 0;
  for (const encoding which : decodable_encodings) {
    for (const std::uint64_t cols :
         {1U,   2U,   3U,   7U,   8U,   9U,   15U,   16U,   17U,   30U,  31U,  32U,
          33U,  47U,  48U,  49U,  63U,  64U,  65U,   95U,   96U,   97U,  127U, 128U,
          129U, 172U, 255U, 256U, 257U, 300U, 1023U, 1024U, 1025U, 1057U}) {
      const std::uint64_t rows = 1 + cols % 4;
      const auto bytes = any_stored_bytes(which, rows, cols, ++seed);
      const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, rows);
      require_rows<TestType>(tensor_view("w", which, {rows, cols}, bytes), 0, rows, expected);
    }
  }
  SUCCEED("every encoding");
}

TEMPLATE_TEST_CASE("any range of rows is decoded, and nothing beside it", "[dequantize]",
                   NIBBLE_TEST_WAYS) {
  constexpr std::uint64_t rows = 7;
  std::uint32_t seed = 1000;
  for (const encoding which : decodable_encodings) {
    for (const std::uint64_t cols : {1U, 5U, 31U, 32U, 33U, 100U, 173U}) {
      const auto bytes = any_stored_bytes(which, rows, cols, ++seed);
      const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, rows);
      const tensor_view view("w", which, {rows, cols}, bytes);
      for (std::uint64_t first = 0; first <= rows; ++first) {
        for (std::uint64_t count = 0; count <= rows - first; ++count) {
          require_rows<TestType>(view, first, count, expected);
        }
      }
    }
  }
  SUCCEED("every range");
}

TEST_CASE("all codes of a block under all float16 scales decode alike on every architecture",
          "[dequantize]") {
  // Each scale with codes of its own; mins from the other end, so that NaNs and infinities meet.
  for (const encoding which : {encoding::q8, encoding::q4, encoding::apr_q4, encoding::q4_0,
                               encoding::q5_1, encoding::iq4_nl}) {
    const std::size_t block_bytes = nibble::describe(which).block_bytes;
    constexpr std::size_t blocks = 0x10000;
    auto bytes = nibble_test::random_bytes(blocks * block_bytes, 99);
    for (std::size_t block = 0; block < blocks; ++block) {
      bytes[block * block_bytes] = static_cast<std::byte>(block % 256);
      bytes[block * block_bytes + 1] = static_cast<std::byte>(block / 256);
    }
    const auto expected = independent_decoder(nibble::to_string(which), bytes, 32).rows(0, blocks);
    const tensor_view view("w", which, {blocks, 32}, bytes);
    require_rows<way<float, best>>(view, 0, blocks, expected);
    require_rows<way<float, twin>>(view, 0, blocks, expected);
  }
  SUCCEED("65,536 scales");
}

TEST_CASE("widths that this machine lacks decode to the numbers of format/README.md", "[dequantize]") {
  nibble_test::for_emulated_widths([]<class Architecture>(Architecture) {
    constexpr std::uint64_t rows = 5;
    for (const encoding which : decodable_encodings) {
      for (const std::uint64_t cols : {1U, 31U, 64U, 95U, 129U}) {
        const auto bytes = any_stored_bytes(which, rows, cols, 8);
        const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, rows);
        const tensor_view view("w", which, {rows, cols}, bytes);
        require_rows<way<float, Architecture>>(view, 0, rows, expected);
        require_rows<way<float16, Architecture>>(view, 1, rows - 2, expected);
        require_rows<way<bfloat16, Architecture>>(view, 0, rows, expected);
      }
    }
  });
  SUCCEED("every width there is");
}

TEMPLATE_TEST_CASE("bytes may start at any address and floats at any float", "[dequantize]",
                   NIBBLE_TEST_WAYS) {
  using to = typename TestType::to;
  constexpr std::uint64_t rows = 3;
  constexpr std::uint64_t cols = 97;
  for (const encoding which : decodable_encodings) {
    const auto bytes = any_stored_bytes(which, rows, cols, 17);
    const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, rows);
    alignas(64) static std::array<std::byte, 4096> window;
    alignas(64) static std::array<to, 512> into;
    for (std::size_t offset = 0; offset < 64; ++offset) {
      std::copy(bytes.begin(), bytes.end(), window.begin() + static_cast<std::ptrdiff_t>(offset));
      const tensor_view view("w", which, {rows, cols}, std::span(window).subspan(offset, bytes.size()));
      into.fill(sentinel<to>());
      TestType::rows(view, 0, rows, std::span(into).subspan(offset, rows * cols));
      for (std::size_t i = 0; i < into.size(); ++i) {
        const bool is_inside = i >= offset && i < offset + rows * cols;
        if (is_inside ? !is_expected(into[i], expected[i - offset]) : !is_sentinel(into[i])) {
          FAIL(fmt::format("{} at offset {}: element {}", nibble::to_string(which), offset, i));
        }
      }
    }
  }
  SUCCEED("every offset");
}

TEMPLATE_TEST_CASE("decoding stays between the guard pages", "[dequantize]", NIBBLE_TEST_WAYS) {
  using to = typename TestType::to;
  for (const encoding which : decodable_encodings) {
    for (const std::uint64_t cols :
         {1U, 15U, 16U, 17U, 31U, 32U, 33U, 63U, 64U, 65U, 97U, 256U, 1025U}) {
      for (const std::uint64_t rows : {1U, 2U, 3U}) {
        const auto bytes = any_stored_bytes(which, rows, cols, 23);
        const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, rows);
        for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
          const guarded_memory<std::byte> from{std::span<const std::byte>(bytes), where};
          const guarded_memory<to> into(static_cast<std::size_t>(rows * cols), where);
          TestType::rows(tensor_view("w", which, {rows, cols}, from.span()), 0, rows, into.span());
          for (std::size_t i = 0; i < expected.size(); ++i) {
            if (!is_expected(into.span()[i], expected[i]))
              FAIL(nibble::to_string(which) << ", element " << i);
          }
        }
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("large tensors are decoded past the caches to the same values", "[dequantize]") {
  constexpr std::uint64_t cols = 1000;
  constexpr std::uint64_t rows = nibble::kernel::least_elements_past_caches / cols + 1;
  const auto bytes = any_stored_bytes(encoding::q4, rows, cols, 78);
  const tensor_view view("w", encoding::q4, {rows, cols}, bytes);
  nibble_test::shuffled_executor shuffled(5);
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  nibble::dequantize<float, best>(view, values, {.executor = &shuffled});
  for (std::uint64_t row = 0; row < rows; ++row) {
    std::vector<float> alone(cols);
    nibble::dequantize_rows<float, twin>(view, row, 1, alone);
    for (std::size_t i = 0; i < cols; ++i) {
      if (!nibble_test::is_same_float(alone[i], values[static_cast<std::size_t>(row * cols) + i])) {
        FAIL("row " << row << " column " << i);
      }
    }
  }
  SUCCEED("every row");
}

TEST_CASE("decoding does not depend on the executor", "[dequantize]") {
  nibble_test::shuffled_executor threads(9);
  for (const encoding which : decodable_encodings) {
    // Tasks are of 65,536 elements: many rows each, and one row each.
    for (const auto& [rows, cols] : {std::pair{700U, 333U}, std::pair{3U, 70001U}}) {
      const auto bytes = any_stored_bytes(which, rows, cols, 31);
      const tensor_view view("w", which, {rows, cols}, bytes);
      const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, rows);
      std::vector<float> values(expected.size());
      const std::size_t before = threads.tasks_run;
      nibble::dequantize(view, values, {.executor = &threads});
      CHECK(threads.tasks_run > before + 1);
      if (nibble_test::first_difference(values, expected) != -1) FAIL(nibble::to_string(which));
      require_rows<way<float16, best>>(view, 1, rows - 1, expected, &threads);
    }
  }
}

TEST_CASE("containers and spans of each float are taken", "[dequantize]") {
  const auto bytes = any_stored_bytes(encoding::q4, 2, 40, 3);
  const tensor_view view("w", encoding::q4, {2, 40}, bytes);
  const auto expected = independent_decoder("q4", bytes, 40).rows(0, 2);
  std::vector<float> floats(80);
  nibble::dequantize(view, floats);
  CHECK(nibble_test::first_difference(floats, expected) == -1);
  std::array<float16, 40> halves{};
  nibble::dequantize_rows(view, 1, 1, halves);
  float row[40] = {};
  nibble::dequantize_rows(view, 0, 1, row);
  CHECK(nibble_test::first_difference(row, std::span(expected).first(40)) == -1);
  std::vector<bfloat16> brains(80);
  nibble::dequantize(view, std::span(brains));
  for (std::size_t i = 0; i < 40; ++i) {
    CHECK(is_expected(halves[i], expected[40 + i]));
    CHECK(is_expected(brains[i], expected[i]));
  }
}

TEST_CASE("a tensor of more dimensions is a matrix of its last one", "[dequantize]") {
  const auto bytes = any_stored_bytes(encoding::q8, 6, 33, 4);
  const tensor_view view("w", encoding::q8, {2, 3, 33}, bytes);
  const auto expected = independent_decoder("q8", bytes, 33).rows(0, 6);
  require_rows<way<float, best>>(view, 0, 6, expected);
  require_rows<way<float, best>>(view, 4, 2, expected);

  const auto scalar_bytes = any_stored_bytes(encoding::apr_q4, 1, 1, 5);
  const tensor_view scalar("s", encoding::apr_q4, {}, scalar_bytes);
  std::vector<float> value(1);
  nibble::dequantize(scalar, value);
  CHECK(nibble_test::is_same_float(value[0], independent_decoder("apr_q4", scalar_bytes, 1)(0, 0)));
}

TEST_CASE("an empty tensor decodes to nothing, in any encoding that decodes", "[dequantize]") {
  std::vector<float> nothing;
  for (const encoding which : decodable_encodings) {
    for (const nibble::shape& empty :
         {nibble::shape{0}, nibble::shape{0, 7}, nibble::shape{7, 0},
          nibble::shape{std::uint64_t{1} << 40U, std::uint64_t{1} << 40U, 0}}) {
      const tensor_view view("w", which, empty, {});
      CHECK_FALSE(nibble_test::code_of([&] { nibble::dequantize(view, nothing); }));
      CHECK_FALSE(
          nibble_test::code_of([&] { nibble::dequantize_rows(view, 0, empty.rows(), nothing); }));
      CHECK(nibble_test::code_of([&] { nibble::dequantize_rows(view, empty.rows(), 1, nothing); }) ==
            error_code::out_of_range);
    }
  }
}

TEST_CASE("rows beyond the tensor are refused by name", "[dequantize]") {
  const auto bytes = any_stored_bytes(encoding::q4, 5, 40, 6);
  const tensor_view view("k_proj", encoding::q4, {5, 40}, bytes);
  constexpr std::uint64_t highest = ~std::uint64_t{0};
  std::vector<float> values(40);
  struct range {
    std::uint64_t first;
    std::uint64_t count;
  };
  for (const range& rows :
       {range{5, 1}, range{6, 0}, range{0, 6}, range{4, 2}, range{highest, 1}, range{1, highest},
        range{highest, highest}, range{3, highest - 2}, range{0, std::uint64_t{1} << 63U}}) {
    const auto thrown =
        nibble_test::error_of([&] { nibble::dequantize_rows(view, rows.first, rows.count, values); });
    CAPTURE(rows.first, rows.count);
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::out_of_range);
    CHECK(thrown->detail().tensor == "k_proj");
    CHECK(thrown->detail().field == "rows");
  }
  CHECK_FALSE(nibble_test::code_of([&] { nibble::dequantize_rows(view, 4, 1, values); }));
  std::vector<float> nothing;
  CHECK_FALSE(nibble_test::code_of([&] { nibble::dequantize_rows(view, 5, 0, nothing); }));
}

TEST_CASE("an output of another size is refused and left alone", "[dequantize]") {
  const auto bytes = any_stored_bytes(encoding::q8, 5, 40, 7);
  const tensor_view view("k_proj", encoding::q8, {5, 40}, bytes);
  for (const std::size_t size : {0U, 1U, 39U, 41U, 79U, 81U, 199U, 201U, 240U}) {
    std::vector<float> values(size, 3.0F);
    const auto rows = nibble_test::error_of([&] { nibble::dequantize_rows(view, 1, 2, values); });
    const auto whole = nibble_test::error_of([&] { nibble::dequantize(view, values); });
    REQUIRE(rows);
    REQUIRE(whole);
    CHECK(rows->code() == error_code::invalid_argument);
    CHECK(whole->code() == error_code::invalid_argument);
    CHECK(rows->detail().tensor == "k_proj");
    CHECK(whole->detail().found == std::to_string(size));
    CHECK(values == std::vector<float>(size, 3.0F));
  }
}

TEST_CASE("what cannot be decoded is refused by name", "[dequantize]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_decodable(row.encoding)) continue;
    const auto size = static_cast<std::size_t>(*nibble::stored_bytes(row, 2, 256));
    const auto bytes = nibble_test::random_bytes(size, 8);
    std::vector<float> values(512, 3.0F);
    const tensor_view view("ffn", row.encoding, {2, 256}, bytes);
    const auto thrown = nibble_test::error_of([&] { nibble::dequantize(view, values); });
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::unsupported_encoding);
    CHECK(thrown->detail().tensor == "ffn");
    CHECK(thrown->detail().found == row.name);
    CHECK(values == std::vector<float>(512, 3.0F));
  }
  const nibble::tensor_info unknown{.name = "odd", .dtype_id = 77, .shape = {4}, .size_bytes = 4};
  const auto bytes = nibble_test::random_bytes(4, 9);
  std::vector<float> values(4);
  const tensor_view view(unknown, bytes);
  CHECK(nibble_test::code_of([&] { nibble::dequantize(view, values); }) ==
        error_code::unsupported_encoding);
  CHECK(nibble_test::code_of([&] { nibble::dequantize_rows(view, 0, 1, values); }) ==
        error_code::unsupported_encoding);
}

/// Decodes rows of a composed weight whose values are given, and holds them to be these.
template <class To>
void require_decodes_composed(const tensor_view& view, const std::vector<float>& expected,
                              nibble::executor* executor) {
  for (const auto& [first, count] : {std::pair{0U, 700U}, {0U, 1U}, {3U, 17U}, {699U, 1U}}) {
    std::vector<To> values(count * 150);
    nibble::dequantize_rows(view, first, count, values, {.executor = executor});
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!is_expected(values[i], expected[first * 150 + i])) FAIL("row " << first << ", value " << i);
    }
  }
}

TEST_CASE("a composed weight is decoded by rows, in tasks, to every float", "[dequantize]") {
  const std::vector<float> expected = nibble_test::gaussian(std::size_t{700} * 150, 6);
  const nibble::composed_weight weight(
      "l.weight", "fp8", {7, 100, 150}, 0, 9,
      [&](std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
        if (values.size() != row_count * 150) throw std::bad_alloc();
        std::copy_n(expected.begin() + static_cast<std::ptrdiff_t>(first_row * 150), values.size(),
                    values.begin());
      });
  const tensor_view view(weight);
  nibble_test::shuffled_executor threads(4);
  for (nibble::executor* const executor :
       {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&threads)}) {
    require_decodes_composed<float>(view, expected, executor);
    require_decodes_composed<float16>(view, expected, executor);
    require_decodes_composed<bfloat16>(view, expected, executor);
  }
  std::vector<float> whole(expected.size());
  nibble::dequantize(view, whole);
  CHECK(whole == expected);
  std::vector<float> one(150);
  CHECK(nibble_test::code_of([&] { nibble::dequantize_rows(view, 700, 1, one); }) ==
        error_code::out_of_range);
  CHECK(nibble_test::code_of([&] { nibble::dequantize_rows(view, 0, 2, one); }) ==
        error_code::invalid_argument);
  std::vector<float> products(700);
  CHECK(nibble_test::code_of([&] { nibble::matmul(view, one, products); }) ==
        error_code::unsupported_encoding);
}

}  // namespace
