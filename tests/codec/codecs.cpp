#include <nibble/codec/codecs.hpp>

#include <optional>
#include <string>
#include <type_traits>

#include <support/catch.hpp>
#include <support/errors.hpp>

namespace {

using nibble::encoding;

TEST_CASE("visiting an encoding that has a codec calls with that codec, once", "[codecs]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!nibble::is_decodable(row.encoding)) continue;
    int calls = 0;
    std::optional<encoding> visited;
    nibble::visit_codec(row.encoding, "w", [&]<nibble::Codec Codec>(Codec) {
      ++calls;
      visited = Codec::encoding;
    });
    CAPTURE(row.name);
    CHECK(calls == 1);
    CHECK(visited == row.encoding);
  }
}

TEST_CASE("visiting an encoding without a codec throws, naming tensor and encoding", "[codecs]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_decodable(row.encoding)) continue;
    bool was_called = false;
    const auto thrown = nibble_test::error_of(
        [&] { nibble::visit_codec(row.encoding, "ffn.weight", [&](auto) { was_called = true; }); });
    CAPTURE(row.name);
    CHECK_FALSE(was_called);
    REQUIRE(thrown);
    CHECK(thrown->code() == nibble::error_code::unsupported_encoding);
    CHECK(thrown->detail().tensor == "ffn.weight");
    CHECK(thrown->detail().found == row.name);
  }
}

TEST_CASE("all encodings decode but the narrow floats and complex numbers of safetensors", "[codecs]") {
  for (const encoding which :
       {encoding::f32,     encoding::f16,    encoding::bf16,    encoding::f64,    encoding::i32,
        encoding::i64,     encoding::i8,     encoding::u8,      encoding::q8,     encoding::q4,
        encoding::apr_q8,  encoding::apr_q4, encoding::i16,     encoding::u16,    encoding::u32,
        encoding::u64,     encoding::bool8,  encoding::q4_0,    encoding::q4_1,   encoding::q5_0,
        encoding::q5_1,    encoding::q8_0,   encoding::q2_k,    encoding::q3_k,   encoding::q4_k,
        encoding::q5_k,    encoding::q6_k,   encoding::iq4_nl,  encoding::iq4_xs, encoding::mxfp4,
        encoding::iq2_xxs, encoding::iq2_xs, encoding::iq3_xxs, encoding::iq1_s,  encoding::iq3_s,
        encoding::iq2_s,   encoding::iq1_m,  encoding::tq1_0,   encoding::tq2_0,  encoding::nvfp4,
        encoding::q1_0,    encoding::q2_0,   encoding::q4_r8,   encoding::q8_r8}) {
    CAPTURE(nibble::to_string(which));
    CHECK(nibble::is_decodable(which));
  }
  static_assert(nibble::is_decodable(encoding::q4));
  for (const encoding which :
       {encoding::c64, encoding::f8_e4m3, encoding::f8_e5m2, encoding::f8_e8m0, encoding::f8_e4m3fnuz,
        encoding::f8_e5m2fnuz, encoding::f6_e2m3, encoding::f6_e3m2, encoding::f4}) {
    CAPTURE(nibble::to_string(which));
    CHECK_FALSE(nibble::is_decodable(which));
  }
}

TEST_CASE("f32 can be packed into the narrower floats and the scaled encodings alone", "[codecs]") {
  for (const encoding which :
       {encoding::f32,    encoding::f16,    encoding::bf16,  encoding::q8,    encoding::q4,
        encoding::apr_q8, encoding::apr_q4, encoding::q4_0,  encoding::q4_1,  encoding::q5_0,
        encoding::q5_1,   encoding::q8_0,   encoding::q2_k,  encoding::q3_k,  encoding::q4_k,
        encoding::q5_k,   encoding::q6_k,   encoding::tq2_0, encoding::nvfp4, encoding::q1_0,
        encoding::q2_0,   encoding::q4_r8,  encoding::q8_r8}) {
    CAPTURE(nibble::to_string(which));
    CHECK(nibble::is_packable(which));
  }
  for (const encoding which :
       {encoding::f64, encoding::i32, encoding::i64, encoding::i8, encoding::u8, encoding::iq4_nl,
        encoding::iq4_xs, encoding::mxfp4, encoding::iq2_xxs, encoding::iq2_xs, encoding::iq3_xxs,
        encoding::iq1_s, encoding::iq3_s, encoding::iq2_s, encoding::iq1_m, encoding::tq1_0}) {
    CAPTURE(nibble::to_string(which));
    CHECK_FALSE(nibble::is_packable(which));
  }
  for (const nibble::encoding_description& row : nibble::encodings) {
    CAPTURE(row.name);
    if (nibble::is_packable(row.encoding)) CHECK(nibble::is_decodable(row.encoding));
  }
}

TEST_CASE("what a visitor throws reaches the caller", "[codecs]") {
  struct stop {};
  CHECK_THROWS_AS(nibble::visit_codec(encoding::q8, "w", [](auto) { throw stop{}; }), stop);
}

TEST_CASE("messages list every encoding that packs, and no other", "[codecs]") {
  CHECK(nibble::packable_encodings_text() ==
        "f32, f16, bf16, q8, q4, apr_q8, apr_q4, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, "
        "q6_k, tq2_0, "
        "nvfp4, q1_0, q2_0, q4_r8 or q8_r8");
}

}  // namespace
