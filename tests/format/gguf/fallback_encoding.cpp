#include <nibble/format/gguf/fallback_encoding.hpp>

#include <cstdint>
#include <vector>

#include <support/catch.hpp>

using nibble::encoding;
using nibble::gguf::fallback_encoding;

TEST_CASE("rows that do not fit fall back as in llama-quantize", "[fallback_encoding]") {
  struct row {
    encoding wanted;
    std::uint64_t row_elements;
    encoding given;
  };
  // As llama-quantize typed rows of 512, 288, 576, 896 and 172.
  for (const auto& [wanted, row_elements, given] :
       std::vector<row>{{encoding::q4_k, 512, encoding::q4_k},
                        {encoding::q4_k, 288, encoding::q5_0},
                        {encoding::q4_k, 172, encoding::f16},
                        {encoding::q5_k, 576, encoding::q5_1},
                        {encoding::q5_k, 172, encoding::f16},
                        {encoding::q6_k, 896, encoding::q8_0},
                        {encoding::q3_k, 288, encoding::q4_0},
                        {encoding::q2_k, 288, encoding::q4_0},
                        {encoding::iq4_xs, 288, encoding::iq4_nl},
                        {encoding::iq4_xs, 172, encoding::f16},
                        {encoding::q8_0, 172, encoding::f16},
                        {encoding::q8_0, 288, encoding::q8_0},
                        {encoding::q4_1, 33, encoding::f16},
                        {encoding::q4, 33, encoding::f16},
                        {encoding::q4, 64, encoding::q4},
                        {encoding::q4_k, 0, encoding::q4_k},
                        {encoding::bf16, 7, encoding::bf16},
                        {encoding::f32, 1, encoding::f32}}) {
    CAPTURE(nibble::to_string(wanted), row_elements);
    CHECK(fallback_encoding(wanted, row_elements) == given);
  }
}
