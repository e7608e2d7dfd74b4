#include <nibble/nibble.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <codec/independent_decoder.hpp>
#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>
#include <support/guarded_memory.hpp>
#include <support/random_values.hpp>

using nibble::matmul_mode;
using nibble::reader;
using nibble::tensor_view;
using nibble_test::guarded_memory;
using nibble_test::placed;

namespace {

using file_bytes = std::vector<std::byte>;

constexpr std::array every_mode = {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8};

/// Where an encoding keeps what all of a block is multiplied by, and how wide it is.
struct scale_place {
  std::string_view encoding;
  std::size_t at;
  bool is_plain = false;  ///< no scale: the elements themselves are spoilt
};

constexpr std::array places = {
    scale_place{"q4", 0},        scale_place{"q8", 0},         scale_place{"apr_q4", 0},
    scale_place{"apr_q8", 0},    scale_place{"q4_0", 0},       scale_place{"q4_1", 0},
    scale_place{"q5_0", 0},      scale_place{"q5_1", 0},       scale_place{"q8_0", 0},
    scale_place{"q2_k", 80},     scale_place{"q3_k", 108},     scale_place{"q4_k", 0},
    scale_place{"q5_k", 0},      scale_place{"q6_k", 208},     scale_place{"iq4_nl", 0},
    scale_place{"iq4_xs", 0},    scale_place{"iq1_s", 0},      scale_place{"iq2_xxs", 0},
    scale_place{"iq2_xs", 0},    scale_place{"iq2_s", 0},      scale_place{"iq3_xxs", 0},
    scale_place{"iq3_s", 0},     scale_place{"tq1_0", 52},     scale_place{"tq2_0", 64},
    scale_place{"q1_0", 0},      scale_place{"q2_0", 0},       scale_place{"f32", 0, true},
    scale_place{"f16", 0, true}, scale_place{"bf16", 0, true}, scale_place{"f64", 0, true}};

/// Rows whose scale is infinite, minus infinite, NaN.
constexpr std::array<std::size_t, 3> spoilt_rows = {2, 5, 17};
constexpr std::uint64_t outputs = 18;
constexpr std::uint64_t inputs = 512;

void put_scale(file_bytes& bytes, const scale_place& of, std::size_t at, double value) {
  if (of.encoding == "apr_q8" || of.encoding == "f32") {
    nibble_test::put_number(bytes, at, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  } else if (of.encoding == "f64") {
    nibble_test::put_number(bytes, at, std::bit_cast<std::uint64_t>(value));
  } else if (of.encoding == "bf16") {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
    nibble_test::put_number(bytes, at, static_cast<std::uint16_t>(bits >> 16U));
  } else {
    const unsigned bits = std::isnan(value) ? 0x7E00U : std::isinf(value) ? 0x7C00U : 0x2400U;  // 2^-6
    nibble_test::put_number(bytes, at, static_cast<std::uint16_t>(bits | (value < 0 ? 0x8000U : 0U)));
  }
}

/// Random codes under a scale of 2^-6, and the spoilt rows among them.
file_bytes spoilt_bytes(const scale_place& of) {
  file_bytes bytes = nibble_test::tame_bytes(of.encoding, {outputs, inputs}, 7);
  const auto& figures = nibble_test::figures_of(of.encoding);
  if (of.at != 0) {
    for (std::size_t at = 0; at < bytes.size(); at += figures.block_bytes) {
      put_scale(bytes, of, at + of.at, 0x1p-6);
      if (of.encoding == "q2_k") put_scale(bytes, of, at + of.at + 2, -0x1p-6);
    }
  }
  if (of.encoding == "f64") {
    for (std::size_t at = 0; at < bytes.size(); at += 8) bytes[at + 7] = std::byte{0x3F};
  }
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::array values = {infinity, -infinity, std::numeric_limits<double>::quiet_NaN()};
  if (of.encoding == "apr_q8") {
    put_scale(bytes, of, 0, -infinity);
    return bytes;
  }
  const std::size_t row_bytes = bytes.size() / outputs;
  for (std::size_t i = 0; i < spoilt_rows.size(); ++i) {
    const std::size_t row = spoilt_rows[i] * row_bytes;
    // The second block of the row, or an element in its middle.
    const std::size_t block =
        figures.block_elements == 1 ? 100 * figures.block_bytes : figures.block_bytes;
    put_scale(bytes, of, row + block + of.at, values[i]);
  }
  return bytes;
}

/// A file of one tensor "w" that nobody has verified, in the container that has the encoding.
file_bytes file_of(std::string_view encoding, const file_bytes& bytes) {
  static const std::map<std::string_view, std::uint32_t> ggml = {
      {"q4_0", 2},   {"q4_1", 3},     {"q5_0", 6},    {"q5_1", 7},   {"q8_0", 8},     {"q2_k", 10},
      {"q3_k", 11},  {"q4_k", 12},    {"q5_k", 13},   {"q6_k", 14},  {"iq4_nl", 20},  {"iq4_xs", 23},
      {"iq1_s", 19}, {"iq2_xxs", 16}, {"iq2_xs", 17}, {"iq2_s", 22}, {"iq3_xxs", 18}, {"iq3_s", 21},
      {"tq1_0", 34}, {"tq2_0", 35},   {"q1_0", 41},   {"q2_0", 42}};
  if (const auto type = ggml.find(encoding); type != ggml.end()) {
    return nibble_test::gguf_file{.tensors = {{"w", type->second, {inputs, outputs}, bytes}},
                                  .is_padded_at_its_end = false}
        .bytes();
  }
  static const std::map<std::string_view, std::string_view> dtypes = {
      {"f32", "F32"}, {"f16", "F16"}, {"bf16", "BF16"}, {"f64", "F64"}};
  if (const auto dtype = dtypes.find(encoding); dtype != dtypes.end()) {
    std::string header =
        fmt::format(R"({{"w":{{"dtype":"{}","shape":[{},{}],"data_offsets":[0,{}]}}}})", dtype->second,
                    outputs, inputs, bytes.size());
    if (header.size() % 2 == 0) header += ' ';  // so that every element stands at an odd address
    file_bytes file;
    nibble_test::append_number(file, std::uint64_t{header.size()});
    nibble_test::append_bytes(file, nibble_test::bytes_of(header));
    nibble_test::append_bytes(file, bytes);
    return file;
  }
  nibble_test::apr_file file{.tensors = {{.name = "w",
                                          .dtype_id = nibble_test::figures_of(encoding).dtype_id,
                                          .dimensions = {outputs, inputs},
                                          .bytes = bytes}}};
  file.metadata =
      "{\"nibble\":" + nibble_test::record_text(file.tensors, {std::string(encoding)}) + "}";
  return file.bytes();
}

/// y = x * w^T in double, straight from the format's text, with all that IEEE 754 says of infinities.
struct reference {
  double y = 0;
  double magnitude = 0;  ///< sum of |x| times the row's largest finite |w|
  bool has_odd_weight = false;
};

reference reference_of(const std::vector<float>& weights, std::size_t row, std::span<const float> x) {
  reference of;
  double largest = 0;
  for (std::size_t k = 0; k < inputs; ++k) {
    const double w = static_cast<double>(weights[row * inputs + k]);
    of.y += static_cast<double>(x[k]) * w;
    of.has_odd_weight = of.has_odd_weight || !std::isfinite(w);
    if (std::isfinite(w)) largest = std::max(largest, std::fabs(w));
  }
  for (std::size_t k = 0; k < inputs; ++k) {
    if (std::isfinite(x[k])) of.magnitude += std::fabs(static_cast<double>(x[k])) * largest;
  }
  return of;
}

bool is_same_float(float a, float b) {
  return std::isnan(a) ? std::isnan(b)
                       : std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

double tolerance_of(matmul_mode mode) {
  return mode == matmul_mode::exact ? 1e-4 : mode == matmul_mode::int16 ? 1e-3 : 2e-2;
}

}  // namespace

TEST_CASE("scales that are not finite decode as IEEE 754 says, out of files that nobody verified",
          "[hostile_compute]") {
  for (const scale_place& of : places) {
    CAPTURE(of.encoding);
    const file_bytes bytes = spoilt_bytes(of);
    const file_bytes file = file_of(of.encoding, bytes);
    const nibble_test::independent_decoder decoded(of.encoding, bytes, inputs);
    for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
      const guarded_memory<std::byte> guarded(std::span<const std::byte>(file), where);
      const reader in(guarded.span());
      guarded_memory<float> values(outputs * inputs, where);
      nibble::dequantize(in["w"], values.span());
      std::size_t odd = 0;
      for (std::size_t i = 0; i < values.span().size(); ++i) {
        const float expected = decoded(i / inputs, i % inputs);
        odd += std::isfinite(expected) ? 0U : 1U;
        if (!is_same_float(values.span()[i], expected)) {
          FAIL("element " << i << " is " << values.span()[i] << ", not " << expected);
        }
      }
      // A scale of apr_q4 that is not finite counts as 0.
      CHECK((odd == 0) == (of.encoding == "apr_q4"));
      CHECK((nibble_test::outcome_of([&] { in.verify(); }).code == "damaged"));
    }
  }
}

TEST_CASE("scales that are not finite spoil the outputs of their own rows, in every mode",
          "[hostile_compute]") {
  for (const scale_place& of : places) {
    const file_bytes bytes = spoilt_bytes(of);
    const file_bytes file = file_of(of.encoding, bytes);
    const guarded_memory<std::byte> guarded(std::span<const std::byte>(file),
                                            placed::against_the_page_behind);
    const reader in(guarded.span());
    const nibble_test::independent_decoder decoded(of.encoding, bytes, inputs);
    std::vector<float> weights(outputs * inputs);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = decoded(i / inputs, i % inputs);
    for (const matmul_mode mode : every_mode) {
      for (const std::size_t m : {1U, 3U, 16U, 40U}) {
        const guarded_memory<float> x(
            std::span<const float>(nibble_test::gaussian(m * inputs, 3, 1.0F)),
            placed::against_the_page_behind);
        const guarded_memory<float> y(m * outputs, placed::against_the_page_behind);
        nibble::matmul(in["w"], x.span(), y.span(), {.mode = mode});
        for (std::size_t i = 0; i < m * outputs; ++i) {
          const reference right =
              reference_of(weights, i % outputs, x.span().subspan(i / outputs * inputs, inputs));
          const auto found = static_cast<double>(y.span()[i]);
          // Of a plain weight, what IEEE 754 makes of the sum; of a block's, what it makes of its
          // parts.
          const bool is_right = !right.has_odd_weight
                                    ? std::fabs(found - right.y) <= tolerance_of(mode) * right.magnitude
                                : of.is_plain ? is_same_float(y.span()[i], static_cast<float>(right.y))
                                              : !std::isfinite(found);
          if (!is_right) {
            FAIL(of.encoding << ", mode " << int(mode) << ", " << m << " rows: y[" << i << "] is "
                             << found << ", not " << right.y);
          }
        }
      }
    }
  }
  SUCCEED("every encoding, mode and number of rows");
}

TEST_CASE("activations that are not finite spoil their own row alone, and never become numbers",
          "[hostile_compute]") {
  const std::array bad = {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(),
                          std::bit_cast<float>(std::uint32_t{0xFF800001}),  // signalling, negative
                          std::bit_cast<float>(std::uint32_t{0x7FFFFFFF})};
  for (const scale_place& of : places) {
    file_bytes bytes = nibble_test::tame_bytes(of.encoding, {outputs, inputs}, 9);
    const auto& figures = nibble_test::figures_of(of.encoding);
    if (of.at != 0) {
      for (std::size_t at = of.at; at < bytes.size(); at += figures.block_bytes) {
        put_scale(bytes, of, at, 0x1p-6);
        if (of.encoding == "q2_k") put_scale(bytes, of, at + 2, -0x1p-6);
      }
    }
    if (of.encoding == "f64") {
      for (std::size_t at = 0; at < bytes.size(); at += 8) bytes[at + 7] = std::byte{0x3F};
    }
    const file_bytes file = file_of(of.encoding, bytes);
    const guarded_memory<std::byte> guarded(std::span<const std::byte>(file),
                                            placed::against_the_page_behind);
    const reader in(guarded.span());
    for (const matmul_mode mode : every_mode) {
      for (const std::size_t m : {1U, 3U, 16U, 40U}) {
        std::vector<float> x = nibble_test::gaussian(m * inputs, 4, 1.0F);
        std::vector<float> clean(m * outputs);
        nibble::matmul(in["w"], x, clean, {.mode = mode});
        for (std::size_t turn = 0; turn < bad.size(); ++turn) {
          const std::size_t row = (turn * 7 + 2) % m;
          std::vector<float> spoilt = x;
          spoilt[row * inputs + (turn * 131 + 5) % inputs] = bad[turn];
          const guarded_memory<float> guarded_x(std::span<const float>(spoilt),
                                                placed::against_the_page_behind);
          std::vector<float> y(m * outputs);
          nibble::matmul(in["w"], guarded_x.span(), y, {.mode = mode});
          for (std::size_t i = 0; i < y.size(); ++i) {
            const bool is_right = i / outputs == row ? !std::isfinite(y[i]) &&
                                                           (!std::isnan(bad[turn]) || std::isnan(y[i]))
                                                     : is_same_float(y[i], clean[i]);
            if (!is_right) {
              FAIL(of.encoding << ", mode " << int(mode) << ", " << m << " rows, " << bad[turn]
                               << " in row " << row << ": y[" << i << "] is " << y[i]);
            }
          }
        }
      }
    }
  }
  SUCCEED("every encoding, mode and number of rows");
}

TEST_CASE("tensors at odd places of a safetensors file are read where they lie", "[hostile_compute]") {
  // By hand: a header of an odd number of bytes, so that every tensor starts at an odd address.
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                             R"("b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},)"
                             R"("c":{"dtype":"F64","shape":[1],"data_offsets":[16,24]}} )";
  REQUIRE(header.size() % 2 == 1);
  file_bytes file;
  nibble_test::append_number(file, std::uint64_t{header.size()});
  nibble_test::append_bytes(file, nibble_test::bytes_of(header));
  nibble_test::append_bytes(
      file, nibble_test::bytes_of_hex("0000c03f 000020c0  803f 0040 40c0 803e  000000000000f83f"));
  const guarded_memory<std::byte> guarded(std::span<const std::byte>(file),
                                          placed::against_the_page_behind);
  const reader in(guarded.span());
  CHECK(in["a"].alignment_bytes() == 1);
  std::vector<float> values(2);
  nibble::dequantize(in["a"], values);
  CHECK(values == std::vector<float>{1.5F, -2.5F});
  std::vector<float> y(2);
  for (const matmul_mode mode : every_mode) {
    nibble::matmul(in["b"], std::vector<float>{10.0F, 1.0F}, y, {.mode = mode});
    CHECK(y == std::vector<float>{12.0F, -29.75F});
  }
  std::vector<float> one(1);
  nibble::dequantize(in["c"], one);
  CHECK(one[0] == 1.5F);
}

TEST_CASE("tensors without elements cost nothing, however many rows or columns they claim",
          "[hostile_compute]") {
  constexpr std::uint64_t huge = std::uint64_t{1} << 62U;
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const std::vector<std::uint64_t>& dimensions : std::vector<std::vector<std::uint64_t>>{
           {huge, 0}, {0, huge}, {2 * huge, 4, 0}, {most, 0}, {0, most}, {most, most, 0, 7}}) {
    for (const std::string_view encoding : {"f32", "q4", "q8", "apr_q4", "apr_q8", "q4_k"}) {
      nibble_test::apr_file file{.tensors = {{.name = "w",
                                              .dtype_id = nibble_test::figures_of(encoding).dtype_id,
                                              .dimensions = dimensions}}};
      file.metadata =
          "{\"nibble\":" + nibble_test::record_text(file.tensors, {std::string(encoding)}) + "}";
      const file_bytes bytes = file.bytes();
      const reader in(bytes);
      const tensor_view& w = in["w"];
      CAPTURE(encoding, dimensions);
      CHECK(w.elements() == 0);
      CHECK_NOTHROW(in.verify());
      nibble::dequantize(w, std::span<float>());
      nibble::dequantize_rows(w, 0, 0, std::span<float>());
      for (const matmul_mode mode : every_mode) {
        nibble::matmul(w, std::span<const float>(), std::span<float>(), {.mode = mode});
        // One row of x, which has no elements, asks for as many outputs as the tensor claims rows.
        std::vector<float> y(3);
        CHECK(nibble_test::outcome_of([&] {
                nibble::matmul(w, std::span<const float>(), y, {.mode = mode});
              }).code == "invalid_argument");
      }
    }
  }
}
