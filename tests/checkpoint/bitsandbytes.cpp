#include <nibble/checkpoint/bitsandbytes.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "scheme_checkpoint.hpp"

using nibble_test::bytes_of;
using nibble_test::bytes_of_numbers;
using nibble_test::check_composed;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::random_bytes;
using nibble_test::scheme_checkpoint;
using nibble_test::scheme_tensor;

namespace {

constexpr const char* nibbles_config = R"({"quant_method":"bitsandbytes","load_in_4bit":true})";

/// bitsandbytes' levels of nf4, as its source lists them.
const std::vector<float> nf4_levels = {-1.0F,
                                       -0.6961928009986877F,
                                       -0.5250730514526367F,
                                       -0.39491748809814453F,
                                       -0.28444138169288635F,
                                       -0.18477343022823334F,
                                       -0.09105003625154495F,
                                       0.0F,
                                       0.07958029955625534F,
                                       0.16093020141124725F,
                                       0.24611230194568634F,
                                       0.33791524171829224F,
                                       0.44070982933044434F,
                                       0.5626170039176941F,
                                       0.7229568362236023F,
                                       1.0F};

/// 9 rows of 90 columns in blocks of 64: rows and blocks start at different places, the last block is cut.
struct nf4_weight {
  static constexpr std::size_t elements = 810;
  static constexpr std::size_t blocks = 13;
  std::vector<std::byte> codes = random_bytes(elements / 2, 1);
  std::vector<float> scales{};
  std::string kind = "nf4";

  nf4_weight() {
    for (std::size_t i = 0; i < blocks; ++i) scales.push_back(0.011F + 0.0037F * static_cast<float>(i));
  }
  [[nodiscard]] std::vector<float> expected(const std::vector<float>& by) const {
    std::vector<float> values;
    for (std::size_t i = 0; i < elements; ++i) {
      const auto pair = std::to_integer<unsigned>(codes[i / 2]);
      const float level = nf4_levels[i % 2 == 0 ? pair / 16 : pair % 16];
      values.push_back(static_cast<float>(double{level} * double{by[i / 64]}));
    }
    return values;
  }
  [[nodiscard]] std::vector<scheme_tensor> parts(const std::string& more = "") const {
    const std::string state = fmt::format(
        R"({{"quant_type":"{}","blocksize":64,"dtype":"bfloat16","shape":[9,90]{}}})", kind, more);
    return {{"l.weight", "U8", {elements / 2, 1}, codes},
            {"l.weight.absmax", "F32", {blocks}, bytes_of_numbers(scales)},
            {"l.weight.quant_map", "F32", {16}, bytes_of_numbers(nf4_levels)},
            {"l.weight.quant_state.bitsandbytes__" + kind, "U8", {state.size()}, bytes_of(state)}};
  }
};

TEST_CASE("nf4, told by its config or by its names", "[bitsandbytes]") {
  nf4_weight weight;
  for (const char* const config : {nibbles_config, ""}) {
    check_composed({config, weight.parts()}, "l.weight", {9, 90}, weight.expected(weight.scales));
  }
  // Codes may be kept in elements of another size.
  std::vector<scheme_tensor> parts = weight.parts();
  parts[0].dtype = "BF16";
  parts[0].shape = {202, 1};
  CHECK(scheme_checkpoint(nibbles_config, parts).opened().code != "taken");
  weight.kind = "fp4";
  const scheme_checkpoint other(nibbles_config, weight.parts());
  check_composed(other, "l.weight", {9, 90}, weight.expected(weight.scales));
  CHECK(other.listing() == "l.weight[bitsandbytes fp4,9x90]");
}

TEST_CASE("nf4 with scales in codes of their own", "[bitsandbytes]") {
  const nf4_weight weight;
  std::vector<float> nested_levels;
  for (int i = 0; i < 256; ++i) nested_levels.push_back(0.00793F * static_cast<float>(i - 128));
  const std::vector<float> nested_scales = {0.0213F, 0.0177F, 0.0301F, 0.0099F};
  const std::vector<std::byte> nested_codes = random_bytes(nf4_weight::blocks, 2);
  const float offset = 0.0312F;
  std::vector<float> scales;
  for (std::size_t i = 0; i < nf4_weight::blocks; ++i) {
    const float level = nested_levels[std::to_integer<std::size_t>(nested_codes[i])];
    const auto product = static_cast<float>(double{level} * double{nested_scales[i / 4]});
    scales.push_back(static_cast<float>(double{product} + double{offset}));
  }
  std::vector<scheme_tensor> parts =
      weight.parts(R"(,"nested_blocksize":4,"nested_dtype":"float32","nested_offset":0.0312)");
  parts[1] = {"l.weight.absmax", "U8", {nf4_weight::blocks}, nested_codes};
  parts.push_back({"l.weight.nested_absmax", "F32", {4}, bytes_of_numbers(nested_scales)});
  parts.push_back({"l.weight.nested_quant_map", "F32", {256}, bytes_of_numbers(nested_levels)});
  check_composed({nibbles_config, parts}, "l.weight", {9, 90}, weight.expected(scales));
  for (const std::size_t missing : {std::size_t{1}, std::size_t{2}, std::size_t{4}, std::size_t{5}}) {
    std::vector<scheme_tensor> fewer = parts;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(missing));
    const outcome result = scheme_checkpoint(nibbles_config, fewer).opened();
    CHECK(missing_parts(result.message, {"bad_scheme", parts[missing].name}).empty());
  }
}

TEST_CASE("bytes with a scale a row", "[bitsandbytes]") {
  const std::vector<std::byte> codes = random_bytes(std::size_t{24} * 40, 3);
  std::vector<float> scales;
  for (std::size_t i = 0; i < 24; ++i) scales.push_back(0.31F + 0.017F * static_cast<float>(i));
  std::vector<float> expected;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int code = std::to_integer<int>(codes[i]) - (std::to_integer<int>(codes[i]) > 127 ? 256 : 0);
    const auto scaled = static_cast<float>(double(code) * double{scales[i / 40]});
    expected.push_back(
        static_cast<float>(double{scaled} * double{static_cast<float>(7.874015718698502e-3)}));
  }
  const std::vector<scheme_tensor> parts = {{"l.weight", "I8", {24, 40}, codes},
                                            {"l.SCB", "F32", {24}, bytes_of_numbers(scales)},
                                            {"l.weight_format", "U8", {}, {std::byte{0}}}};
  const scheme_checkpoint checkpoint(R"({"quant_method":"bitsandbytes","load_in_8bit":true})", parts);
  check_composed(checkpoint, "l.weight", {24, 40}, expected);
  CHECK(checkpoint.listing() == "l.weight[bitsandbytes int8,24x40]");
  std::vector<scheme_tensor> other = parts;
  other[2].bytes = {std::byte{2}};
  CHECK(scheme_checkpoint("", other).opened().code == "bad_scheme");
  other = parts;
  other[1].shape = {23};
  other[1].bytes.resize(std::size_t{23} * 4);
  CHECK(
      missing_parts(scheme_checkpoint("", other).opened().message, {"bad_scheme", "23", "24"}).empty());
}

TEST_CASE("a state that says less than is needed is refused", "[bitsandbytes]") {
  const nf4_weight weight;
  for (const char* const state :
       {"", "{", "[]", R"({"blocksize":64})", R"({"blocksize":0,"shape":[9,90]})",
        R"({"blocksize":64,"shape":[9,-90]})", R"({"blocksize":64,"shape":[9,91]})",
        R"({"blocksize":64,"shape":[9,90],"nested_blocksize":256})",
        R"({"blocksize":32,"shape":[9,90]})"}) {
    CAPTURE(state);
    std::vector<scheme_tensor> parts = weight.parts();
    parts[3].bytes = bytes_of(state);
    parts[3].shape = {parts[3].bytes.size()};
    CHECK(scheme_checkpoint(nibbles_config, parts).opened().code == "bad_scheme");
  }
}

}  // namespace
