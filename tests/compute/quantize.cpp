#include <nibble/compute/quantize.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <zlib.h>

#include <codec/apr_fixture.hpp>
#include <codec/block_distributions.hpp>
#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/guarded_memory.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::error_code;
using nibble::packing_rule;
using nibble::quantize;
using nibble::shape;
using nibble_test::guarded_memory;
using nibble_test::placed;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
using nibble_test::packable_encodings;
constexpr std::array quantized = {encoding::q8, encoding::q4, encoding::apr_q8, encoding::apr_q4};
constexpr std::array rules = {packing_rule::best, packing_rule::reference};

std::size_t bytes_for(encoding which, const shape& dimensions) {
  return static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions));
}

std::vector<std::byte> packed(encoding which, const shape& dimensions, std::span<const float> values,
                              const nibble::quantize_options& options = {}) {
  std::vector<std::byte> bytes(bytes_for(which, dimensions), std::byte{0xA5});
  quantize(which, dimensions, values, bytes, options, "w");
  return bytes;
}

/// Blocks laid one after the other by hand: along each row, or along the whole tensor.
template <class Codec, class... Rule>
std::vector<std::byte> blocks_of(std::span<const float> values, std::size_t run, Rule... rule) {
  std::vector<std::byte> bytes;
  for (std::size_t start = 0; start < values.size(); start += run) {
    for (std::size_t at = 0; at < run; at += 32) {
      typename Codec::block block;
      const std::size_t count = std::min<std::size_t>(32, run - at);
      REQUIRE(Codec::pack(values.subspan(start + at, count), block, rule...) ==
              nibble::pack_status::packed);
      const auto stored = nibble_test::bytes_of(block);
      bytes.insert(bytes.end(), stored.begin(), stored.end());
    }
  }
  return bytes;
}

TEST_CASE("rows of q8 and q4 are packed block by block, each row on its own", "[quantize]") {
  for (const std::size_t cols : {1U, 31U, 32U, 33U, 63U, 64U, 65U, 95U, 96U, 97U, 128U, 172U, 700U}) {
    for (const std::size_t rows : {1U, 2U, 5U}) {
      const auto values = nibble_test::heavy_tailed(rows * cols, static_cast<std::uint32_t>(cols));
      CHECK((packed(encoding::q8, {rows, cols}, values) == blocks_of<nibble::q8>(values, cols)));
      CHECK((packed(encoding::q4, {rows, cols}, values) == blocks_of<nibble::q4>(values, cols)));
    }
  }
}

TEST_CASE("apr_q4 is packed along the flattened tensor under either rule", "[quantize]") {
  for (const std::size_t cols : {1U, 31U, 32U, 33U, 97U, 172U}) {
    for (const std::size_t rows : {1U, 2U, 5U}) {
      const auto values = nibble_test::heavy_tailed(rows * cols, static_cast<std::uint32_t>(cols));
      for (const packing_rule rule : rules) {
        CHECK((packed(encoding::apr_q4, {rows, cols}, values, {.rule = rule}) ==
               blocks_of<nibble::apr_q4>(values, values.size(), rule)));
      }
    }
  }
}

TEST_CASE("plain floats are rounded to nearest, NaN and infinity with them", "[quantize]") {
  auto values = nibble_test::mixed_magnitudes(1000, 3);
  values[0] = infinity;
  values[500] = -infinity;
  values[700] = nan;
  values[999] = -0.0F;
  const auto as_f32 = packed(encoding::f32, {10, 100}, values);
  CHECK(std::memcmp(as_f32.data(), values.data(), as_f32.size()) == 0);
  for (const auto& [which, format] : {std::pair{encoding::f16, nibble_test::binary16},
                                      std::pair{encoding::bf16, nibble_test::brain16}}) {
    const auto halves = packed(which, {10, 100}, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto code = static_cast<std::uint16_t>(std::to_integer<int>(halves[2 * i]) +
                                                   256 * std::to_integer<int>(halves[2 * i + 1]));
      const bool right = std::isnan(values[i]) ? std::isnan(nibble_test::value_of(format, code))
                                               : code == nibble_test::nearest_code(
                                                             format, static_cast<double>(values[i]));
      if (!right) FAIL(nibble::to_string(which) << ", element " << i);
    }
  }
}

TEST_CASE("a finite value that f16 or bf16 would turn infinite is refused, but not by the reference",
          "[quantize]") {
  std::vector<float> values(100, 1.0F);
  const auto refusal = [&](encoding which) {
    return nibble_test::error_of([&] { static_cast<void>(packed(which, {10, 10}, values)); });
  };
  values[57] = 65519.0F;
  CHECK_FALSE(refusal(encoding::f16));
  values[57] = -65520.0F;
  const auto half = refusal(encoding::f16);
  REQUIRE(half);
  CHECK(half->code() == error_code::not_representable);
  CHECK(half->detail().tensor == "w");
  CHECK(half->detail().field == "element 57");
  CHECK(half->detail().found == "-65520");
  CHECK_FALSE(refusal(encoding::bf16));
  values[57] = std::numeric_limits<float>::max();
  REQUIRE(refusal(encoding::bf16));
  CHECK(refusal(encoding::bf16)->detail().field == "element 57");
  CHECK_FALSE(refusal(encoding::f32));

  const auto bytes = packed(encoding::f16, {10, 10}, values, {.rule = packing_rule::reference});
  CHECK(bytes[114] == std::byte{0x00});
  CHECK(bytes[115] == std::byte{0x7C});
}

TEST_CASE("NaN and infinity are refused wherever they stand, naming element and value", "[quantize]") {
  // Chunks are of 374 rows of 175: the borders of chunk and block fall apart.
  constexpr std::size_t rows = 800;
  constexpr std::size_t cols = 175;
  auto values = nibble_test::gaussian(rows * cols, 1);
  for (const encoding which : quantized) {
    for (const packing_rule rule : rules) {
      for (const std::size_t at : {std::size_t{0}, std::size_t{1}, cols - 1, cols, 374 * cols - 1,
                                   374 * cols, rows * cols / 2 + 3, rows * cols - 1}) {
        for (const auto& [bad, text] :
             {std::pair{nan, "nan"}, {-nan, "nan"}, {infinity, "inf"}, {-infinity, "-inf"}}) {
          const float before = std::exchange(values[at], bad);
          const auto thrown = nibble_test::error_of([&] {
            static_cast<void>(packed(which, {rows, cols}, values, {.rule = rule}));
          });
          values[at] = before;
          INFO(nibble::to_string(which) << ", element " << at << ": " << text);
          if (!thrown) FAIL("was packed");
          if (thrown->code() != error_code::not_representable || thrown->detail().tensor != "w" ||
              thrown->detail().field != fmt::format("element {}", at) ||
              thrown->detail().found != text) {
            FAIL(thrown->what());
          }
        }
      }
    }
  }
  SUCCEED("everywhere");
}

TEST_CASE("a block that float16 cannot scale is refused, naming the value that is too far",
          "[quantize]") {
  const auto refusal = [](encoding which, std::vector<float> values) {
    const auto thrown = nibble_test::error_of([&] {
      static_cast<void>(packed(which, {2, values.size() / 2}, values));
    });
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::not_representable);
    return thrown->detail();
  };
  auto values = nibble_test::gaussian(200, 2);
  values[70] = 1e6F;
  values[130] = 2e6F;
  CHECK(refusal(encoding::apr_q4, values).field == "element 70");
  CHECK(refusal(encoding::apr_q4, values).found == "1000000");
  CHECK(refusal(encoding::q4, values).field == "element 70");
  values[70] = 2e7F;
  CHECK(refusal(encoding::q8, values).field == "element 70");
  values[70] = -70000.0F;
  CHECK(refusal(encoding::q8, values).field == "element 70");
  CHECK(refusal(encoding::q4, values).found == "-70000");
  // The min is what overflows, though another value of the block is larger.
  values[72] = 80000.0F;
  CHECK(refusal(encoding::q8, values).field == "element 70");
  CHECK(refusal(encoding::q4, values).found == "-70000");
}

TEST_CASE("sizes that disagree are refused before anything is packed", "[quantize]") {
  for (const encoding which : packable_encodings) {
    const shape dimensions{3, 40};
    const std::size_t needed = bytes_for(which, dimensions);
    const auto refusal = [&](std::size_t values, std::size_t bytes) {
      const std::vector<float> from(values, 1.0F);
      std::vector<std::byte> to(bytes, std::byte{0xA5});
      auto thrown = nibble_test::error_of([&] { quantize(which, dimensions, from, to, {}, "w"); });
      if (thrown) CHECK(std::ranges::count(to, std::byte{0xA5}) == static_cast<std::ptrdiff_t>(bytes));
      return thrown;
    };
    CHECK_FALSE(refusal(120, needed));
    for (const auto& [values, bytes] : {std::pair{std::size_t{119}, needed},
                                        {std::size_t{121}, needed},
                                        {std::size_t{0}, needed},
                                        {std::size_t{120}, needed - 1},
                                        {std::size_t{120}, needed + 1},
                                        {std::size_t{120}, std::size_t{0}}}) {
      const auto thrown = refusal(values, bytes);
      REQUIRE(thrown);
      CHECK(thrown->code() == error_code::invalid_argument);
      CHECK(thrown->detail().tensor == "w");
    }
  }
}

TEST_CASE("importance that fits no columns, or is no number from 0 up, is refused by name",
          "[quantize]") {
  const std::vector<float> values(std::size_t{6} * 40, 1.0F);
  const auto refusal = [&](std::vector<float> importance) {
    return nibble_test::error_of([&] {
      static_cast<void>(packed(encoding::q4, {6, 40}, values, {.column_importance = importance}));
    });
  };
  for (const std::size_t size : {40U, 80U, 120U, 240U}) {
    CHECK_FALSE(refusal(std::vector<float>(size, 1.0F)));
  }
  for (const std::size_t size : {1U, 39U, 41U, 160U, 200U, 280U}) {
    const auto thrown = refusal(std::vector<float>(size, 1.0F));
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::invalid_argument);
    CHECK(thrown->detail().tensor == "w");
    CHECK(thrown->detail().found == fmt::format("{} numbers", size));
  }
  for (const auto& [bad, text] :
       {std::pair{nan, "nan"}, {infinity, "inf"}, {-infinity, "-inf"}, {-1.0F, "-1"}}) {
    std::vector<float> importance(80, 1.0F);
    importance[57] = bad;
    const auto thrown = refusal(importance);
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::invalid_argument);
    CHECK(thrown->detail().tensor == "w");
    CHECK(thrown->detail().field == "column importance 17 of matrix 1");
    CHECK(thrown->detail().found == text);
    importance.resize(40);
    importance[7] = bad;
    CHECK(refusal(importance)->detail().field == "column importance 7");
  }
}

TEST_CASE("every row is packed by the importance of its own matrix's columns, along rows or the tensor",
          "[quantize]") {
  constexpr std::size_t rows = 6;
  for (const std::size_t cols : {32U, 40U, 97U}) {
    const auto values = nibble_test::heavy_tailed(rows * cols, 5);
    auto importance = nibble_test::gaussian(3 * cols, 6);
    for (float& each : importance) each = each * each;
    std::vector<float> of_elements;
    for (std::size_t row = 0; row < rows; ++row) {
      const auto matrix = std::span(importance).subspan(row / 2 * cols, cols);
      of_elements.insert(of_elements.end(), matrix.begin(), matrix.end());
    }
    const auto blocks_by = [&]<class Codec>(std::size_t run, auto... rule) {
      std::vector<std::byte> bytes;
      for (std::size_t start = 0; start < values.size(); start += run) {
        for (std::size_t at = 0; at < run; at += 32) {
          typename Codec::block block;
          const std::size_t count = std::min<std::size_t>(32, run - at);
          REQUIRE(Codec::pack(std::span(values).subspan(start + at, count), block, rule...,
                              {.importance = std::span(of_elements).subspan(start + at, count)}) ==
                  nibble::pack_status::packed);
          const auto stored = nibble_test::bytes_of(block);
          bytes.insert(bytes.end(), stored.begin(), stored.end());
        }
      }
      return bytes;
    };
    const shape dimensions{rows, cols};
    CHECK((packed(encoding::q4, dimensions, values, {.column_importance = importance}) ==
           blocks_by.operator()<nibble::q4>(cols)));
    CHECK((packed(encoding::apr_q4, dimensions, values, {.column_importance = importance}) ==
           blocks_by.operator()<nibble::apr_q4>(rows * cols, packing_rule::best)));
    const std::vector<float> zeros(cols, 0.0F);
    for (const encoding which : packable_encodings) {
      CHECK((packed(which, dimensions, values, {.column_importance = zeros}) ==
             packed(which, dimensions, values)));
    }
    for (const encoding which : {encoding::apr_q4, encoding::apr_q8}) {
      CHECK((packed(which, dimensions, values,
                    {.rule = packing_rule::reference, .column_importance = importance}) ==
             packed(which, dimensions, values, {.rule = packing_rule::reference})));
    }
  }
}

TEST_CASE("encodings that are not packed from f32 are refused by name", "[quantize]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (std::ranges::find(packable_encodings, row.encoding) != packable_encodings.end()) continue;
    const std::vector<float> values(512, 1.0F);
    const auto thrown = nibble_test::error_of([&] {
      static_cast<void>(packed(row.encoding, {2, 256}, values));
    });
    CAPTURE(row.name);
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::unsupported_encoding);
    CHECK(thrown->detail().tensor == "w");
    CHECK(thrown->detail().found == row.name);
    CHECK(nibble_test::error_of([&] { static_cast<void>(packed(row.encoding, {0, 256}, {})); }));
  }
}

TEST_CASE("an empty tensor packs to no bytes and a scalar to one block", "[quantize]") {
  for (const encoding which : packable_encodings) {
    CHECK(packed(which, {0}, {}).empty());
    CHECK(packed(which, {7, 0}, {}).empty());
    CHECK(packed(which, {0, 7}, {}).empty());
    const std::vector<float> one = {0.5F};
    const auto bytes = packed(which, {}, one);
    const nibble_test::independent_decoder decoded(nibble::to_string(which), bytes, 1);
    CHECK(std::fabs(decoded(0, 0) - 0.5F) < 0.001F);
  }
}

TEST_CASE("packed bytes depend neither on threads nor on how chunks fall", "[quantize]") {
  nibble_test::shuffled_executor threads(6);
  for (const shape& dimensions :
       {shape{700, 173}, shape{3, 70001}, shape{70001, 3}, shape{4, 100, 173}, shape{1, 65537}}) {
    const auto values = nibble_test::heavy_tailed(static_cast<std::size_t>(dimensions.elements()), 77);
    for (const encoding which : packable_encodings) {
      for (const packing_rule rule : rules) {
        const bool has_rules = which == encoding::apr_q8 || which == encoding::apr_q4;
        if (rule == packing_rule::reference && !has_rules) continue;
        INFO(nibble::to_string(which) << " " << dimensions.to_string());
        const auto serial = packed(which, dimensions, values, {.rule = rule});
        CHECK((packed(which, dimensions, values, {.rule = rule, .executor = &threads}) == serial));
        if (which == encoding::apr_q4) {
          CHECK((serial == blocks_of<nibble::apr_q4>(values, values.size(), rule)));
        }
      }
    }
  }
  CHECK(threads.tasks_run > 100);
}

TEST_CASE("chunks tile the tensor's bytes and each keeps to its own", "[quantize]") {
  std::mt19937 generator(8);
  for (const shape& dimensions :
       {shape{700, 173}, shape{3, 70001}, shape{70001, 3}, shape{65537}, shape{31}}) {
    const auto values = nibble_test::gaussian(static_cast<std::size_t>(dimensions.elements()), 78);
    for (const encoding which : packable_encodings) {
      INFO(nibble::to_string(which) << " " << dimensions.to_string());
      const nibble::tensor_packer packer("w", which, dimensions, values);
      const auto expected = packed(which, dimensions, values);
      std::uint64_t end = 0;
      std::vector<std::size_t> order;
      for (std::size_t chunk = 0; chunk < packer.chunk_count(); ++chunk) {
        REQUIRE(packer.chunk_offset_bytes(chunk) == end);
        end += packer.chunk_size_bytes(chunk);
        order.push_back(chunk);
      }
      REQUIRE(end == expected.size());
      std::shuffle(order.begin(), order.end(), generator);
      for (const std::size_t chunk : order) {
        const auto offset = static_cast<std::size_t>(packer.chunk_offset_bytes(chunk));
        for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
          const guarded_memory<std::byte> to(packer.chunk_size_bytes(chunk), where);
          packer.pack(chunk, to.span());
          if (!std::ranges::equal(to.span(), std::span(expected).subspan(offset, to.span().size()))) {
            FAIL("chunk " << chunk);
          }
        }
      }
    }
  }
}

TEST_CASE("a packer reports each chunk that it reads first, and only one scale for all needs it",
          "[quantize]") {
  const shape dimensions{700, 173};
  const auto values = nibble_test::gaussian(700 * 173, 79);
  nibble_test::shuffled_executor threads(7);
  const auto chunks_read = [&](encoding which, packing_rule rule) {
    std::atomic<std::size_t> read{0};
    const nibble::tensor_packer packer("w", which, dimensions, values,
                                       {.rule = rule, .executor = &threads}, [&] { ++read; });
    return static_cast<double>(read) / static_cast<double>(packer.chunk_count());
  };
  CHECK(chunks_read(encoding::apr_q8, packing_rule::best) == 2.0);
  CHECK(chunks_read(encoding::apr_q8, packing_rule::reference) == 1.0);
  CHECK(chunks_read(encoding::apr_q4, packing_rule::best) == 0.0);
  CHECK(chunks_read(encoding::q4, packing_rule::best) == 0.0);

  CHECK_THROWS_AS(nibble::tensor_packer("w", encoding::apr_q8, dimensions, values, {}, [] { throw 5; }),
                  int);
}

TEST_CASE("packing stays between the guard pages at any alignment", "[quantize]") {
  for (const encoding which : packable_encodings) {
    for (const std::size_t cols : {1U, 31U, 32U, 33U, 63U, 64U, 65U, 97U, 127U, 128U, 129U}) {
      const shape dimensions{3, cols};
      const auto values = nibble_test::gaussian(3 * cols, 5);
      const auto expected = packed(which, dimensions, values);
      for (const packing_rule rule : rules) {
        for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
          const guarded_memory<float> from{std::span<const float>(values), where};
          const guarded_memory<std::byte> to(expected.size(), where);
          quantize(which, dimensions, from.span(), to.span(), {.rule = rule});
          if (rule == packing_rule::best && !std::ranges::equal(to.span(), expected))
            FAIL(nibble::to_string(which));
        }
      }
      std::vector<std::byte> window(expected.size() + 65);
      for (std::size_t offset = 0; offset < 64; ++offset) {
        std::ranges::fill(window, std::byte{0xA5});
        quantize(which, dimensions, values, std::span(window).subspan(offset, expected.size()));
        const bool right = std::equal(expected.begin(), expected.end(),
                                      window.begin() + static_cast<std::ptrdiff_t>(offset)) &&
                           (offset == 0 || window[offset - 1] == std::byte{0xA5}) &&
                           window[offset + expected.size()] == std::byte{0xA5};
        if (!right) FAIL(nibble::to_string(which) << " at offset " << offset);
      }
    }
  }
  SUCCEED("every encoding");
}

double squared_error(encoding which, const std::vector<std::byte>& bytes,
                     std::span<const float> values) {
  const auto decoded =
      nibble_test::independent_decoder(nibble::to_string(which), bytes, values.size()).rows(0, 1);
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = static_cast<double>(values[i]) - static_cast<double>(decoded[i]);
    sum += difference * difference;
  }
  return sum;
}

TEST_CASE("the best rule's squared error is never above the reference's", "[quantize]") {
  auto distributions = nibble_test::block_distributions();
  distributions.push_back({"long and heavy-tailed", nibble_test::heavy_tailed(200000, 9)});
  distributions.push_back({"beyond float16", nibble_test::gaussian(5000, 9, 1e20F)});
  for (const auto& of : distributions) {
    for (const encoding which : {encoding::apr_q8, encoding::apr_q4}) {
      if (which == encoding::apr_q4 && of.name == "beyond float16") continue;
      const shape dimensions{of.values.size()};
      const double best_error = squared_error(which, packed(which, dimensions, of.values), of.values);
      const double reference = squared_error(
          which, packed(which, dimensions, of.values, {.rule = packing_rule::reference}), of.values);
      // The search weighs differences rounded to f32, and what apr_q8 decodes is rounded to f32 as
      // well: at most half an f32 step of each decoded value.
      double roundings = 0.0;
      for (const float value : of.values)
        roundings += 0x1p-46 * static_cast<double>(value) * static_cast<double>(value);
      CAPTURE(of.name, nibble::to_string(which));
      CHECK(best_error <= reference * (1.0 + 0x1p-20) + roundings);
      // And it is a search: where there is something to find, it finds it.
      if (of.name == "long and heavy-tailed") CHECK(best_error < 0.8 * reference);
    }
  }
}

TEST_CASE("finite values stay finite under the best rule, up to the largest f32", "[quantize]") {
  const float highest = std::numeric_limits<float>::max();
  for (const float largest : {highest, -highest, std::nextafter(highest, 0.0F), 3.4e38F, 1e38F}) {
    auto values = nibble_test::gaussian(100, 3, std::fabs(largest) / 8);
    for (float& value : values) value = std::clamp(value, -std::fabs(largest), std::fabs(largest));
    values[41] = largest;
    const auto bytes = packed(encoding::apr_q8, {100}, values);
    for (const float decoded : nibble_test::independent_decoder("apr_q8", bytes, 100).rows(0, 1)) {
      if (!std::isfinite(decoded)) FAIL(largest << " reads back as " << decoded);
    }
  }
  SUCCEED("all finite");
}

/// Numbers that every standard library gives alike, over many powers of two and with zeros.
std::vector<float> portable_values(std::size_t count) {
  std::mt19937 generator(2024);
  std::vector<float> values(count);
  for (float& value : values) {
    const auto bits = static_cast<std::uint32_t>(generator());
    const int exponent = static_cast<int>(bits % 12U);
    const auto mantissa = static_cast<std::int32_t>(bits >> 8U) - 0x800000;
    value = bits % 61U == 0 ? 0.0F : std::ldexp(static_cast<float>(mantissa), -23 - exponent);
  }
  // One outlier that apr_q8 does better to clip.
  values[12345] = 1.3125F;
  return values;
}

TEST_CASE("the same input gives the same bytes on every machine, compiler and instruction set",
          "[quantize]") {
  struct golden {
    encoding which;
    packing_rule rule;
    std::uint32_t crc32;
  };
  const auto values = portable_values(173 * 501);
  // zlib's CRC-32 of the packed bytes. A program of its own, in another language and straight from
  // format/README.md, gave the same for f16, bf16 and the reference rule; the others pin what the search
  // finds.
  for (const golden& expected : {golden{encoding::f16, packing_rule::best, 0xD7432693U},
                                 golden{encoding::bf16, packing_rule::best, 0xF801F240U},
                                 golden{encoding::q8, packing_rule::best, 0xD2F65A62U},
                                 golden{encoding::q4, packing_rule::best, 0x8BF5B1FDU},
                                 golden{encoding::apr_q8, packing_rule::best, 0x72A5302BU},
                                 golden{encoding::apr_q8, packing_rule::reference, 0x250AEE71U},
                                 golden{encoding::apr_q4, packing_rule::best, 0x1DB414C3U},
                                 golden{encoding::apr_q4, packing_rule::reference, 0xBF927CF1U}}) {
    const auto bytes = packed(expected.which, {501, 173}, values, {.rule = expected.rule});
    const auto found = static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
    INFO(nibble::to_string(expected.which)
         << (expected.rule == packing_rule::best ? ", best" : ", reference"));
    CHECK(fmt::format("{:08x}", found) == fmt::format("{:08x}", expected.crc32));
  }
}

TEST_CASE("the reference rule writes the fixtures byte for byte, and refuses what has no scale",
          "[quantize]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  std::size_t identical = 0;
  std::vector<std::string> refused;
  for (const std::string file : {"q4.apr", "q8.apr", "f16.apr", "edge.apr"}) {
    for (const auto& tensor : nibble_test::read_apr_fixture(shared, file)) {
      if (!tensor.has_source) continue;
      const encoding which = tensor.dtype == "q4"   ? encoding::apr_q4
                             : tensor.dtype == "q8" ? encoding::apr_q8
                                                    : encoding::f16;
      const shape dimensions{std::span<const std::uint64_t>(tensor.dimensions)};
      INFO(file << ": " << tensor.name);
      std::vector<std::byte> bytes;
      const auto thrown = nibble_test::error_of(
          [&] { bytes = packed(which, dimensions, tensor.source, {.rule = packing_rule::reference}); });
      if (thrown) {
        CHECK(thrown->code() == error_code::not_representable);
        refused.push_back(tensor.name);
        continue;
      }
      CHECK((bytes == tensor.bytes));
      ++identical;
    }
  }
  CHECK(identical >= 27);
  CHECK(refused == std::vector<std::string>{"q4.huge", "q4.inf", "q4.nan", "q8.inf", "q8.nan"});
}

}  // namespace
