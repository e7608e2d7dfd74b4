#include <nibble/format/gguf/write_metadata.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/gguf/read_metadata.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>

using nibble_test::array_bytes;
using nibble_test::byte_list;
using nibble_test::missing_parts;
using nibble_test::number_bytes;
using nibble_test::outcome_of;
using nibble_test::string_bytes;
using nlohmann::json;
namespace id = nibble_test::gguf_id;

namespace {

/// The type and bytes of metadata's one value besides the record.
byte_list value_bytes(const json& metadata) {
  byte_list bytes;
  CHECK(nibble::gguf::append_metadata(bytes, metadata) == 1);
  const auto key_bytes = nibble_test::number_at<std::uint64_t>(bytes, 0);
  return {bytes.begin() + static_cast<std::ptrdiff_t>(8 + key_bytes), bytes.end()};
}

byte_list typed(std::uint32_t type, const byte_list& value) {
  byte_list bytes = number_bytes(type);
  nibble_test::append_bytes(bytes, value);
  return bytes;
}

json with_record(const json& value, const json& kind, const json& bytes = nullptr) {
  json metadata = {{"k", value}};
  if (!kind.is_null()) metadata["nibble.gguf"]["types"]["k"] = kind;
  if (!bytes.is_null()) metadata["nibble.gguf"]["bytes"]["k"] = bytes;
  return metadata;
}

}  // namespace

TEST_CASE("values of a host's become their natural types", "[gguf_write_metadata]") {
  CHECK(value_bytes({{"k", 7}}) == typed(id::u32, number_bytes(std::uint32_t{7})));
  CHECK(value_bytes({{"k", -7}}) == typed(id::i32, number_bytes(std::int32_t{-7})));
  CHECK(value_bytes({{"k", ~std::uint64_t{0}}}) == typed(id::u64, number_bytes(~std::uint64_t{0})));
  CHECK(value_bytes({{"k", 0.5}}) == typed(id::f32, number_bytes(0.5F)));
  CHECK(value_bytes({{"k", 0.1}}) == typed(id::f32, number_bytes(0.1F)));
  CHECK(value_bytes({{"k", 1e39}}) == typed(id::f64, number_bytes(1e39)));
  CHECK(value_bytes({{"k", 1e-60}}) == typed(id::f64, number_bytes(1e-60)));
  CHECK(value_bytes({{"k", true}}) == typed(id::boolean, number_bytes(std::uint8_t{1})));
  CHECK(value_bytes({{"k", "\xC3\xA9"}}) == typed(id::string, string_bytes("\xC3\xA9")));
  CHECK(value_bytes({{"k", {1, 0.5}}}) ==
        typed(id::array, array_bytes(id::f32, {number_bytes(1.0F), number_bytes(0.5F)})));
  CHECK(value_bytes({{"k", json::array()}}) == typed(id::array, array_bytes(id::u32, {})));
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(value_bytes({{"k", -infinity}}) == typed(id::f64, number_bytes(-infinity)));
}

TEST_CASE("values that GGUF has no type for become JSON text, and are told", "[gguf_write_metadata]") {
  const json metadata = {
      {"a", 1},     {"b", nullptr}, {"c", {{"x", 1}}}, {"d", {1, "y"}}, {"e", json::array({{1}, {2}})},
      {"f", "text"}};
  byte_list bytes;
  std::vector<std::string> told;
  CHECK(nibble::gguf::append_metadata(bytes, metadata, &told) == 6);
  CHECK(told == std::vector<std::string>{"b", "c", "d", "e"});
  CHECK(nibble::gguf::keys_of_text(metadata) == told);
  nibble::gguf::byte_cursor cursor(bytes, 0);
  const json read = nibble::gguf::read_metadata(cursor, 6).values;
  CHECK(read == json{{"a", 1},
                     {"b", "null"},
                     {"c", R"({"x":1})"},
                     {"d", R"([1,"y"])"},
                     {"e", "[[1],[2]]"},
                     {"f", "text"}});
  CHECK(cursor.position() == bytes.size());
}

TEST_CASE("what is recorded of a value counts where it fits", "[gguf_write_metadata]") {
  CHECK(value_bytes(with_record(7, "u8")) == typed(id::u8, number_bytes(std::uint8_t{7})));
  CHECK(value_bytes(with_record(255, "u8")) == typed(id::u8, number_bytes(std::uint8_t{255})));
  CHECK(value_bytes(with_record(-128, "i8")) == typed(id::i8, number_bytes(std::int8_t{-128})));
  CHECK(value_bytes(with_record(7, "f32")) == typed(id::f32, number_bytes(7.0F)));
  CHECK(value_bytes(with_record(0.5, "f64")) == typed(id::f64, number_bytes(0.5)));
  CHECK(value_bytes(with_record(0.1, "f32")) == typed(id::f32, number_bytes(0.1F)));
  CHECK(value_bytes(with_record(16777217, "f32")) == typed(id::f32, number_bytes(16777216.0F)));
  CHECK(value_bytes(with_record({1, 2}, {"i64"})) ==
        typed(id::array,
              array_bytes(id::i64, {number_bytes(std::int64_t{1}), number_bytes(std::int64_t{2})})));
  CHECK(
      value_bytes(with_record(json::array({{1}, {2}}), json::array({{"u8"}}))) ==
      typed(id::array, array_bytes(id::array, {array_bytes(id::u8, {number_bytes(std::uint8_t{1})}),
                                               array_bytes(id::u8, {number_bytes(std::uint8_t{2})})})));
  CHECK(value_bytes(with_record(nullptr, "f32", "0:2301c07f")) ==
        typed(id::f32, number_bytes(std::uint32_t{0x7FC00123})));
  CHECK(value_bytes(with_record("a\xEF\xBF\xBD", nullptr, "0:61ff")) ==
        typed(id::string, string_bytes("a\xFF")));
}

TEST_CASE("a value that was changed since is of its natural kind again", "[gguf_write_metadata]") {
  CHECK(value_bytes(with_record(256, "u8")) == typed(id::u32, number_bytes(std::uint32_t{256})));
  CHECK(value_bytes(with_record(-1, "u16")) == typed(id::i32, number_bytes(std::int32_t{-1})));
  CHECK(value_bytes(with_record(40000, "i16")) == typed(id::u32, number_bytes(std::uint32_t{40000})));
  CHECK(value_bytes(with_record(1e39, "f32")) == typed(id::f64, number_bytes(1e39)));
  CHECK(value_bytes(with_record(1.5, "i32")) == typed(id::f32, number_bytes(1.5F)));
  CHECK(value_bytes(with_record("x", "u8")) == typed(id::string, string_bytes("x")));
  CHECK(value_bytes(with_record(true, "u8")) == typed(id::boolean, number_bytes(std::uint8_t{1})));
  CHECK(value_bytes(with_record(1, "bool")) == typed(id::u32, number_bytes(std::uint32_t{1})));
  CHECK(value_bytes(with_record(1, {"u8"})) == typed(id::u32, number_bytes(std::uint32_t{1})));
  CHECK(value_bytes(with_record({1}, "u8")) ==
        typed(id::array, array_bytes(id::u32, {number_bytes(std::uint32_t{1})})));
  CHECK(value_bytes(with_record({1, 300}, {"u8"})) ==
        typed(id::array, array_bytes(id::u32, {number_bytes(std::uint32_t{1}),
                                               number_bytes(std::uint32_t{300})})));
  // Kinds for three elements, of which there are two; kinds of several types in one array; no kind.
  const auto text = typed(id::string, string_bytes("[[1],[2]]"));
  CHECK(value_bytes(with_record(json::array({{1}, {2}}), json::array({{"u8"}, {"u8"}, {"i8"}}))) ==
        text);
  CHECK(value_bytes(with_record(json::array({{1}, {2}}), json::array({{"u8"}, "u8"}))) == text);
  CHECK(value_bytes(with_record(json::array({{1}, {2}}), json::array({json::array()}))) == text);
  CHECK(value_bytes(with_record({1}, json::array())) ==
        typed(id::array, array_bytes(id::u32, {number_bytes(std::uint32_t{1})})));
  // Bytes of a leaf that is another by now.
  CHECK(value_bytes(with_record(1.5, "f32", "0:2301c07f")) == typed(id::f32, number_bytes(1.5F)));
  CHECK(value_bytes(with_record("b\xEF\xBF\xBD", nullptr, "0:61ff")) ==
        typed(id::string, string_bytes("b\xEF\xBF\xBD")));
  CHECK(value_bytes(with_record(nullptr, "f64", "0:2301c07f")) ==
        typed(id::string, string_bytes("null")));
  CHECK(value_bytes(with_record(nullptr, "f32")) == typed(id::string, string_bytes("null")));
  CHECK(value_bytes(with_record({0.5, nullptr}, {"f32"}, "0:2301c07f 1:0000807f")) ==
        typed(id::array,
              array_bytes(id::f32, {number_bytes(0.5F), number_bytes(std::uint32_t{0x7F800000})})));
}

TEST_CASE("the alignment is a u32 whatever is recorded", "[gguf_write_metadata]") {
  CHECK(value_bytes(
            {{"general.alignment", 64}, {"nibble.gguf", {{"types", {{"general.alignment", "u8"}}}}}}) ==
        typed(id::u32, number_bytes(std::uint32_t{64})));
}

TEST_CASE("a malformed record of values is refused", "[gguf_write_metadata]") {
  const auto refusal_of = [](const json& metadata) {
    byte_list bytes;
    const auto result = outcome_of([&] { nibble::gguf::append_metadata(bytes, metadata); });
    CHECK(missing_parts(result.message, {"nibble.gguf"}) == "");
    return result.code;
  };
  json too_deep = "u8";
  for (int depth = 0; depth < 33; ++depth) too_deep = json::array({too_deep});
  for (const json& record : {json(1), json("types"), json::array(), json{{"types", 1}},
                             json{{"bytes", json::array()}}, json{{"more", json::object()}}}) {
    CHECK(refusal_of({{"k", 1}, {"nibble.gguf", record}}) == "bad_record");
  }
  for (const json& kind : {json("u128"), json("arr"), json(""), json(1), json(nullptr), json::object(),
                           json::array({"x"}), json::array({1}), too_deep}) {
    CHECK(refusal_of({{"k", 1}, {"nibble.gguf", {{"types", {{"k", kind}}}}}}) == "bad_record");
  }
  for (const json& bytes : {json(1), json("0"), json("0:1"), json("0:gg"), json("x:00"), json(":00"),
                            json("1:00 1:00"), json("1:00 0:00"), json("0:00  1:00"), json("-1:00"),
                            json("0:+1"), json("18446744073709551616:00")}) {
    CAPTURE(bytes.dump());
    CHECK(refusal_of({{"k", 1}, {"nibble.gguf", {{"bytes", {{"k", bytes}}}}}}) == "bad_record");
  }
}

TEST_CASE("keys and strings that GGUF cannot hold are refused", "[gguf_write_metadata]") {
  const auto refusal_of = [](const json& metadata) {
    byte_list bytes;
    return outcome_of([&] { nibble::gguf::append_metadata(bytes, metadata); }).code;
  };
  CHECK(refusal_of({{"", 1}}) == "bad_metadata");
  CHECK(refusal_of({{std::string(65536, 'k'), 1}}) == "bad_metadata");
  CHECK(refusal_of({{std::string(65535, 'k'), 1}}) == "taken");
  CHECK(refusal_of({{"k\xFF", 1}}) == "bad_metadata");
  CHECK(refusal_of({{"k", "\xFF"}}) == "bad_metadata");
  CHECK(refusal_of({{"k", {"a", "\xFF"}}}) == "bad_metadata");
  CHECK(refusal_of({{"k", std::string((64U << 20U) + 1, 'x')}}) == "bad_metadata");
  CHECK(refusal_of({{"k", {nullptr, std::numeric_limits<double>::quiet_NaN()}}}) == "bad_metadata");
}
