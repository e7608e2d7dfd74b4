#include <nibble/checkpoint/mxfp4_blocks.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "scheme_checkpoint.hpp"

using nibble_test::check_composed;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::scheme_checkpoint;
using nibble_test::scheme_tensor;

namespace {

constexpr const char* mxfp4_config = R"({"quant_method":"mxfp4"})";
constexpr double fp4_values[] = {0.0,  0.5,  1.0,  1.5,  2.0,  3.0,  4.0,  6.0,
                                 -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0};

/// Every nibble under every exponent: 2 experts of 16 rows and 8 groups.
struct mxfp4_weight {
  std::vector<std::byte> blocks = nibble_test::random_bytes(std::size_t{2} * 16 * 8 * 16, 1);
  std::vector<std::byte> exponents{};

  mxfp4_weight() {
    for (unsigned i = 0; i < 256; ++i) exponents.push_back(static_cast<std::byte>(i));
  }
  [[nodiscard]] std::vector<float> expected() const {
    std::vector<float> values;
    for (std::size_t i = 0; i < 2 * blocks.size(); ++i) {
      const auto pair = std::to_integer<unsigned>(blocks[i / 2]);
      const auto exponent = std::to_integer<int>(exponents[i / 32]);
      const double scale = exponent == 255 ? std::nan("") : std::ldexp(1.0, exponent - 127);
      // 6 * 2^127 is beyond f32.
      values.push_back(static_cast<float>(fp4_values[i % 2 == 0 ? pair % 16 : pair / 16] * scale));
    }
    return values;
  }
  [[nodiscard]] std::vector<scheme_tensor> parts(const std::string& blocks_name,
                                                 const std::string& scales_name) const {
    return {{blocks_name, "U8", {2, 16, 8, 16}, blocks}, {scales_name, "U8", {2, 16, 8}, exponents}};
  }
};

TEST_CASE("mxfp4 blocks with all exponents, as both kinds of file spell them", "[mxfp4_blocks]") {
  const mxfp4_weight weight;
  for (const char* const config : {mxfp4_config, ""}) {
    check_composed({config, weight.parts("e.down_proj_blocks", "e.down_proj_scales")}, "e.down_proj",
                   {2, 16, 256}, weight.expected());
    check_composed({config, weight.parts("mlp1_weight.blocks", "mlp1_weight.scales")}, "mlp1_weight",
                   {2, 16, 256}, weight.expected());
  }
}

TEST_CASE("mxfp4 blocks without scales or with others are refused", "[mxfp4_blocks]") {
  const mxfp4_weight weight;
  std::vector<scheme_tensor> parts = weight.parts("e_blocks", "e_scales");
  const outcome missing = scheme_checkpoint(mxfp4_config, {parts[0]}).opened();
  CHECK(missing_parts(missing.message, {"bad_scheme", "e_scales"}).empty());
  parts[1].shape = {2, 8, 16};
  const outcome shape = scheme_checkpoint(mxfp4_config, parts).opened();
  CHECK(missing_parts(shape.message, {"bad_scheme", "2x8x16", "2x16x8"}).empty());
  // Without a configuration a name alone says nothing.
  CHECK(scheme_checkpoint("", {parts[0]}).listing() == "e_blocks[u8,2x16x8x16]");
}

}  // namespace
