#include <nibble/format/gguf/tensor_type.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::encoding;
using nibble::gguf::encoding_of;
using nibble_test::missing_parts;
using nibble_test::outcome_of;

namespace {

/// ggml's types, as its ggml.h numbers them; those without a name are gone, or never were.
constexpr std::string_view ggml_types[] = {
    "f32",     "f16",   "q4_0",   "q4_1",  "",      "",       "q5_0", "q5_1",    "q8_0",
    "q8_1",    "q2_k",  "q3_k",   "q4_k",  "q5_k",  "q6_k",   "q8_k", "iq2_xxs", "iq2_xs",
    "iq3_xxs", "iq1_s", "iq4_nl", "iq3_s", "iq2_s", "iq4_xs", "i8",   "i16",     "i32",
    "i64",     "f64",   "iq1_m",  "bf16",  "",      "",       "",     "tq1_0",   "tq2_0",
    "",        "",      "",       "mxfp4", "nvfp4", "q1_0",   "q2_0"};

}  // namespace

TEST_CASE("a ggml type is the encoding of its name, or none", "[gguf_tensor_type]") {
  std::size_t known = 0;
  for (std::uint32_t id = 0; id < std::size(ggml_types); ++id) {
    CAPTURE(id);
    const auto named =
        ggml_types[id].empty() ? std::nullopt : nibble::encoding_from_name(ggml_types[id]);
    const auto found = encoding_of(id);
    CHECK(found == named);
    if (found) CHECK(nibble::describe(*found).gguf_type == id);
    known += found ? 1U : 0U;
  }
  CHECK(known == 33);
  for (std::uint32_t id = std::size(ggml_types); id < 70'000; ++id) {
    if (encoding_of(id)) FAIL(id);
  }
  for (unsigned shift = 8; shift < 32; ++shift) {
    for (const std::uint32_t below : {0U, 1U, 12U}) {
      CHECK_FALSE(encoding_of((std::uint32_t{1} << shift) + below).has_value());
    }
  }
  CHECK_FALSE(encoding_of(std::numeric_limits<std::uint32_t>::max()).has_value());
}

TEST_CASE("every encoding with a ggml type is found under it", "[gguf_tensor_type]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    CAPTURE(row.name);
    if (row.gguf_type) CHECK(encoding_of(*row.gguf_type) == row.encoding);
  }
}

TEST_CASE("a dimension of 2^63 is refused, as files have it signed", "[gguf_tensor_type]") {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  for (const std::uint64_t fine : {std::uint64_t{0}, std::uint64_t{1}, most}) {
    CHECK(outcome_of([&] { nibble::gguf::require_signed("w", fine); }).code == "taken");
  }
  for (const std::uint64_t wrong : {most + 1, ~std::uint64_t{0}}) {
    const auto result = outcome_of([&] { nibble::gguf::require_signed("w", wrong); });
    CHECK(result.code == "bad_shape");
    CHECK(missing_parts(result.message, {"'w'", std::to_string(wrong), "2^63"}) == "");
  }
}

TEST_CASE("rows are whole blocks of their encoding, or refused", "[gguf_tensor_type]") {
  const auto code_of = [](encoding which, const nibble::shape& dimensions) {
    return outcome_of([&] { nibble::gguf::require_whole_blocks("w", which, dimensions); }).code;
  };
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!row.gguf_type) continue;
    CAPTURE(row.name);
    const std::uint64_t elements = row.block_elements;
    for (const std::uint64_t blocks : {0U, 1U, 2U, 7U}) {
      for (const std::uint64_t more :
           {std::uint64_t{0}, std::uint64_t{1}, elements / 2, elements - 1}) {
        const bool is_whole = more % elements == 0;
        CHECK(code_of(row.encoding, {3, blocks * elements + more}) ==
              (is_whole ? "taken" : "bad_shape"));
        CHECK(code_of(row.encoding, {blocks * elements + more}) == (is_whole ? "taken" : "bad_shape"));
      }
    }
    // One element, whichever way it is said; as many as a block's, but in a column.
    const std::string alone = elements == 1 ? "taken" : "bad_shape";
    CHECK(code_of(row.encoding, {}) == alone);
    CHECK(code_of(row.encoding, {1}) == alone);
    CHECK(code_of(row.encoding, {elements, 1}) == alone);
  }
  const auto result = outcome_of([] {
    nibble::gguf::require_whole_blocks("w", encoding::q6_k, {2, 384});
  });
  CHECK(missing_parts(result.message, {"'w'", "2x384", "q6_k", "blocks of 256"}) == "");
}
