#include <nibble/format/gguf/read_metadata.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>

using nibble::gguf::byte_cursor;
using nibble::gguf::metadata_section;
using nibble_test::array_bytes;
using nibble_test::byte_list;
using nibble_test::gguf_value;
using nibble_test::missing_parts;
using nibble_test::number_bytes;
using nibble_test::outcome_of;
using nibble_test::string_bytes;
using nlohmann::json;
namespace id = nibble_test::gguf_id;

namespace {

byte_list bytes_of(const std::vector<gguf_value>& values) {
  byte_list bytes;
  for (const gguf_value& value : values) {
    nibble_test::append_gguf_string(bytes, value.key);
    nibble_test::append_number(bytes, value.type);
    nibble_test::append_bytes(bytes, value.bytes);
  }
  return bytes;
}

metadata_section section_of(const std::vector<gguf_value>& values) {
  const byte_list bytes = bytes_of(values);
  byte_cursor from(bytes, 0);
  metadata_section section = nibble::gguf::read_metadata(from, values.size());
  CHECK(from.position() == bytes.size());
  return section;
}

/// The JSON of one value, and what is recorded of it: "type", "bytes", each null where nothing is.
struct reading {
  json value;
  json type;
  json bytes;
};
reading reading_of(std::uint32_t type, const byte_list& bytes) {
  const json all = section_of({{"k", type, bytes}}).values;
  const json record = all.value("nibble.gguf", json::object());
  const auto recorded = [&](const char* section) {
    return record.contains(section) ? record.at(section).value("k", json()) : json();
  };
  return {all.at("k"), recorded("types"), recorded("bytes")};
}

}  // namespace

TEST_CASE("values at the ends of every type are read as they are", "[gguf_read_metadata]") {
  struct row {
    std::uint32_t type;
    byte_list bytes;
    json value;
    json kind;  ///< that has to be recorded
  };
  using i32_limits = std::numeric_limits<std::int32_t>;
  using i64_limits = std::numeric_limits<std::int64_t>;
  const std::vector<row> rows = {
      {id::u8, number_bytes(std::uint8_t{0}), 0, "u8"},
      {id::u8, number_bytes(std::uint8_t{255}), 255, "u8"},
      {id::i8, number_bytes(std::int8_t{-128}), -128, "i8"},
      {id::i8, number_bytes(std::int8_t{127}), 127, "i8"},
      {id::u16, number_bytes(std::uint16_t{65535}), 65535, "u16"},
      {id::i16, number_bytes(std::int16_t{-32768}), -32768, "i16"},
      {id::i16, number_bytes(std::int16_t{32767}), 32767, "i16"},
      {id::u32, number_bytes(std::uint32_t{0}), 0, nullptr},
      {id::u32, number_bytes(~std::uint32_t{0}), 4294967295U, nullptr},
      {id::i32, number_bytes(i32_limits::min()), i32_limits::min(), nullptr},
      {id::i32, number_bytes(i32_limits::max()), i32_limits::max(), "i32"},
      {id::u64, number_bytes(std::uint64_t{0}), 0, "u64"},
      {id::u64, number_bytes(~std::uint64_t{0}), ~std::uint64_t{0}, nullptr},
      {id::i64, number_bytes(i64_limits::min()), i64_limits::min(), nullptr},
      {id::i64, number_bytes(i64_limits::max()), i64_limits::max(), "i64"},
      {id::i64, number_bytes(std::int64_t{-1}), -1, "i64"},
      {id::f32, number_bytes(-0.0F), -0.0, nullptr},
      {id::f32, number_bytes(std::uint32_t{1}), 0x1p-149, nullptr},
      {id::f32, number_bytes(std::uint32_t{0x7F7FFFFF}), 0x1.fffffep127, nullptr},
      {id::f64, number_bytes(std::uint64_t{1}), 0x1p-1074, nullptr},
      {id::f64, number_bytes(0.25), 0.25, "f64"},
      {id::f64, number_bytes(-0x1.fffffffffffffp1023), -0x1.fffffffffffffp1023, nullptr},
      {id::boolean, number_bytes(std::uint8_t{0}), false, nullptr},
      {id::boolean, number_bytes(std::uint8_t{1}), true, nullptr},
      {id::string, string_bytes(""), "", nullptr},
      {id::string, string_bytes("\xF0\x9F\xA6\x99"), "\xF0\x9F\xA6\x99", nullptr},
      {id::array, array_bytes(id::u32, {}), json::array(), nullptr},
      {id::array, array_bytes(id::f64, {}), json::array(), {"f64"}},
  };
  for (const row& one : rows) {
    CAPTURE(one.type, one.value.dump());
    const reading found = reading_of(one.type, one.bytes);
    CHECK(found.value == one.value);
    CHECK(found.value.is_number_float() == one.value.is_number_float());
    CHECK(found.type == one.kind);
    CHECK(found.bytes.is_null());
  }
}

TEST_CASE("what JSON has no text for is null or replaced, and recorded by its bytes",
          "[gguf_read_metadata]") {
  const reading nan = reading_of(id::f32, number_bytes(std::uint32_t{0xFF800001}));
  CHECK(nan.value.is_null());
  CHECK(nan.type == "f32");
  CHECK(nan.bytes == "0:010080ff");
  const reading infinite = reading_of(id::f64, number_bytes(std::uint64_t{0x7FF0000000000000}));
  CHECK(infinite.value.is_null());
  CHECK(infinite.bytes == "0:000000000000f07f");
  const reading text = reading_of(id::string, string_bytes("a\xED\xA0\x80z"));  // a surrogate
  CHECK(text.value == "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz");
  CHECK(text.type.is_null());
  CHECK(text.bytes == "0:61eda0807a");
  // Leaves count through arrays in arrays.
  const byte_list nested = array_bytes(
      id::array, {array_bytes(id::string, {string_bytes("a"), string_bytes("\x80")}),
                  array_bytes(id::string, {}), array_bytes(id::string, {string_bytes("\xC0")})});
  CHECK(reading_of(id::array, nested).bytes == "1:80 2:c0");
}

TEST_CASE("metadata that end anywhere before their end are refused", "[gguf_read_metadata]") {
  const auto values = nibble_test::sample_gguf_metadata();
  const byte_list all = bytes_of(values);
  for (std::size_t size = 0; size < all.size(); ++size) {
    const byte_list bytes(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
    byte_cursor from(bytes, 0);
    const auto result =
        outcome_of([&] { static_cast<void>(nibble::gguf::read_metadata(from, values.size())); });
    if (result.code != "truncated") FAIL(size << " bytes: " << result.code << ' ' << result.message);
    if (missing_parts(result.message, {"metadata "}) != "") FAIL(result.message);
  }
  byte_cursor from(all, 0);
  CHECK(nibble::gguf::read_metadata(from, values.size()).values.size() == values.size() + 1);
  CHECK(from.position() == all.size());
}

TEST_CASE("every type's value is refused where it is short of a byte", "[gguf_read_metadata]") {
  for (std::uint32_t type = 0; type <= id::f64; ++type) {
    CAPTURE(type);
    const byte_list whole = type == id::string  ? string_bytes("x")
                            : type == id::array ? array_bytes(id::u16, {number_bytes(std::uint16_t{7})})
                                                : byte_list(nibble::gguf::value_types[type].bytes);
    CHECK(section_of({{"k", type, whole}}).values.contains("k"));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const byte_list bytes =
          bytes_of({{"k", type, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}}});
      byte_cursor from(bytes, 0);
      CHECK(outcome_of([&] { static_cast<void>(nibble::gguf::read_metadata(from, 1)); }).code ==
            "truncated");
    }
    // As elements, of which there is one fewer than is said; a count that no file holds.
    for (const std::uint64_t count : {std::uint64_t{3}, std::uint64_t{1} << 60U, ~std::uint64_t{0}}) {
      const byte_list bytes = bytes_of({{"k", id::array, array_bytes(type, {whole, whole}, count)}});
      byte_cursor from(bytes, 0);
      const auto result = outcome_of([&] { static_cast<void>(nibble::gguf::read_metadata(from, 1)); });
      CHECK(result.code == "truncated");
      // Before the first of them is read.
      CHECK(missing_parts(result.message, {"metadata 0, elements"}) == "");
    }
  }
}

TEST_CASE("metadata are read from where the cursor stands, and no further", "[gguf_read_metadata]") {
  byte_list bytes(5, std::byte{0xFF});
  nibble_test::append_bytes(bytes, bytes_of({{"a", id::u8, number_bytes(std::uint8_t{1})}}));
  const std::size_t end = bytes.size();
  nibble_test::append_bytes(bytes, bytes_of({{"b", id::u8, number_bytes(std::uint8_t{2})}}));
  byte_cursor from(bytes, 5);
  const auto section = nibble::gguf::read_metadata(from, 1);
  CHECK(section.values["a"] == 1);
  CHECK_FALSE(section.values.contains("b"));
  CHECK(from.position() == end);
  byte_cursor none(bytes, 5);
  CHECK(nibble::gguf::read_metadata(none, 0).values == json::object());
  CHECK(none.position() == 5);
}

TEST_CASE("metadata end before 64 MiB, and what stands behind them does not", "[gguf_read_metadata]") {
  constexpr std::size_t most = std::size_t{64} << 20U;
  // key length, key, type, text length: 8 + 1 + 4 + 8 bytes before the text.
  for (const std::size_t more : {std::size_t{0}, std::size_t{1}}) {
    byte_list bytes = bytes_of({{"k", id::string, number_bytes(std::uint64_t{most - 21 + more})}});
    bytes.resize(most + 100, std::byte{'x'});
    byte_cursor from(bytes, 0);
    const auto result = outcome_of([&] { static_cast<void>(nibble::gguf::read_metadata(from, 1)); });
    CHECK(result.code == (more == 0 ? "taken" : "bad_metadata"));
    if (more == 0) CHECK(from.take_bytes(100, "behind").size() == 100);
  }
}

TEST_CASE("the alignment is what general.alignment says, as a u32", "[gguf_read_metadata]") {
  CHECK(section_of({}).alignment_bytes == 32);
  CHECK(section_of({{"k", id::u32, number_bytes(std::uint32_t{64})}}).alignment_bytes == 32);
  for (std::uint32_t alignment = 1; alignment <= 1U << 20U; alignment *= 2) {
    const auto section = section_of({{"general.alignment", id::u32, number_bytes(alignment)}});
    CHECK(section.alignment_bytes == alignment);
    CHECK(section.values["general.alignment"] == alignment);
  }
  // Of no other type, were the number right.
  for (const auto& [type, bytes] : std::vector<std::pair<std::uint32_t, byte_list>>{
           {id::u8, number_bytes(std::uint8_t{32})},
           {id::i32, number_bytes(std::int32_t{32})},
           {id::u64, number_bytes(std::uint64_t{32})},
           {id::f32, number_bytes(32.0F)},
           {id::boolean, number_bytes(std::uint8_t{1})},
           {id::array, array_bytes(id::u32, {number_bytes(std::uint32_t{32})})}}) {
    CAPTURE(type);
    const std::vector<gguf_value> entries = {{"general.alignment", type, bytes}};
    const auto result = outcome_of([&] { section_of(entries); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"general.alignment", "u32"}) == "");
  }
}
