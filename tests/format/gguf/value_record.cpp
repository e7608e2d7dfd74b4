#include <nibble/format/gguf/value_record.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/gguf/read_metadata.hpp>
#include <nibble/format/gguf/write_metadata.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>

using nibble::gguf::leaf_bytes;
using nibble::gguf::value_kind;
using nibble::gguf::value_record;
using nibble::gguf::value_type;
using nibble_test::byte_list;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nlohmann::json;
namespace id = nibble_test::gguf_id;

namespace {

/// A record as it comes back from the text of a file's metadata.
value_record through_text(value_record&& record) {
  json metadata = json::object();
  std::move(record).store(metadata);
  return value_record::find(json::parse(metadata.dump()));
}

value_kind random_kind(std::mt19937& generator, std::size_t depth) {
  value_kind kind{static_cast<value_type>(generator() % 13U), {}};
  if (kind.type != value_type::array) return kind;
  const std::size_t elements = depth == 0 ? 0 : generator() % 4U;
  for (std::size_t i = 0; i < elements; ++i) {
    kind.elements.push_back(random_kind(generator, depth - 1));
  }
  return kind;
}

/// Bytes of a value that JSON can say nothing or half of as often as not.
byte_list random_value(std::mt19937& generator, std::uint32_t type, std::size_t depth) {
  byte_list bytes;
  switch (type) {
    case id::boolean: return {static_cast<std::byte>(generator() % 2U)};
    case id::f32: {
      const std::uint32_t exponent = generator() % 2U == 0 ? 0x7F800000U : 0U;
      return nibble_test::number_bytes(static_cast<std::uint32_t>(generator()) | exponent);
    }
    case id::f64: {
      const std::uint64_t exponent = generator() % 2U == 0 ? 0x7FF0000000000000U : 0U;
      const std::uint64_t bits = std::uint64_t{generator()} << 32U | generator();
      return nibble_test::number_bytes(bits | exponent);
    }
    case id::string: {
      std::string text;
      for (std::size_t i = generator() % 9U; i > 0; --i) {
        constexpr std::string_view letters("a\0\"\xC3\xA9\xE2\x96\x81\xFF\x80\xED\xA0\xF0", 13);
        text += letters[generator() % letters.size()];
      }
      return nibble_test::string_bytes(text);
    }
    case id::array: {
      const std::uint32_t of = depth == 0 ? id::u16 : static_cast<std::uint32_t>(generator() % 13U);
      std::vector<byte_list> elements(generator() % 4U);
      for (byte_list& element : elements) element = random_value(generator, of, depth - 1);
      return nibble_test::array_bytes(of, elements);
    }
    default:
      bytes.resize(nibble::gguf::value_types[type].bytes);
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator() & 0xFFU);
      return bytes;
  }
}

nibble::memory_budget endless;

std::string joined(const std::vector<leaf_bytes>& leaves) {
  std::string text;
  for (const leaf_bytes& each : leaves) value_record::append_leaf(text, each.leaf, each.bytes);
  return text;
}

}  // namespace

TEST_CASE("kinds of any shape are found as they were recorded", "[gguf_value_record]") {
  std::mt19937 generator(1);
  std::vector<value_kind> kinds;
  value_record record;
  for (std::size_t i = 0; i < 500; ++i) {
    kinds.push_back(random_kind(generator, 4));
    record.add_kind("k" + std::to_string(i), kinds.back(), endless);
  }
  value_kind deepest{value_type::u8, {}};
  for (std::size_t depth = 0; depth < nibble::gguf::max_array_depth; ++depth) {
    deepest = value_kind{value_type::array, {std::move(deepest)}};
  }
  record.add_kind("deepest", deepest, endless);
  record.add_kind("", value_kind{value_type::string, {}}, endless);
  const value_record found = through_text(std::move(record));
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    const auto kind = found.kind_of("k" + std::to_string(i));
    if (kind != kinds[i]) FAIL("kind " << i);
  }
  CHECK(found.kind_of("deepest") == deepest);
  CHECK(found.kind_of("") == value_kind{value_type::string, {}});
  CHECK_FALSE(found.kind_of("absent").has_value());
  CHECK(found.bytes_of("k0").empty());
}

TEST_CASE("bytes of leaves are found as they were recorded", "[gguf_value_record]") {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte += static_cast<char>(byte);
  const std::vector<leaf_bytes> leaves = {
      {0, every_byte}, {1, ""}, {7, std::string(1, '\0')}, {~std::uint64_t{0}, "\xFF"}};
  value_record record;
  record.add_bytes("k", joined(leaves), endless);
  const auto found = through_text(std::move(record)).bytes_of("k");
  REQUIRE(found.size() == leaves.size());
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    CHECK(found[i].leaf == leaves[i].leaf);
    CHECK(found[i].bytes == leaves[i].bytes);
  }
}

TEST_CASE("a record with nothing to say is absent, and its halves are by themselves",
          "[gguf_value_record]") {
  json metadata = {{"k", 1}};
  value_record().store(metadata);
  CHECK(metadata == json{{"k", 1}});
  CHECK_FALSE(value_record::find(metadata).kind_of("k").has_value());
  value_record kinds;
  kinds.add_kind("k", {value_type::u8, {}}, endless);
  std::move(kinds).store(metadata);
  CHECK(metadata["nibble.gguf"] == json{{"types", {{"k", "u8"}}}});
  value_record bytes;
  bytes.add_bytes("k", joined({{0, "\x01\xFE"}, {12, "x"}}), endless);
  std::move(bytes).store(metadata);
  CHECK(metadata["nibble.gguf"] == json{{"bytes", {{"k", "0:01fe 12:78"}}}});
}

TEST_CASE("a malformed record is refused by the place in it", "[gguf_value_record]") {
  const auto refusal_of = [](const json& record) {
    return outcome_of([&] {
      const auto found = value_record::find({{"nibble.gguf", record}});
      static_cast<void>(found.kind_of("k"));
      static_cast<void>(found.bytes_of("k"));
    });
  };
  struct row {
    json record;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"text", {"metadata.nibble.gguf", "string", "an object"}},
      {{{"types", json::array()}}, {"metadata.nibble.gguf.types", "array"}},
      {{{"bytes", 1}}, {"metadata.nibble.gguf.bytes", "number"}},
      {{{"kinds", json::object()}}, {"metadata.nibble.gguf.kinds", "types and bytes"}},
      {{{"types", {{"k", "f16"}}}}, {"metadata.nibble.gguf.types.k", "f16"}},
      {{{"types", {{"k", {"u8", "arr"}}}}}, {"metadata.nibble.gguf.types.k", "arr"}},
      {{{"bytes", {{"k", {"0:00"}}}}}, {"metadata.nibble.gguf.bytes.k", "array"}},
      {{{"bytes", {{"k", "0:0"}}}}, {"metadata.nibble.gguf.bytes.k", "0:0"}},
      {{{"bytes", {{"k", "2:00 1:00"}}}}, {"metadata.nibble.gguf.bytes.k", "1:00", "increasing"}},
  };
  for (const row& one : rows) {
    CAPTURE(one.record.dump());
    const auto result = refusal_of(one.record);
    CHECK(result.code == "bad_record");
    CHECK(missing_parts(result.message, one.named) == "");
  }
  // Of other values nothing is asked.
  CHECK(refusal_of({{"types", {{"other", "f16"}}}}).code == "taken");
}

TEST_CASE("what JSON cannot say of any value comes back out as it came", "[gguf_value_record]") {
  std::mt19937 generator(2);
  std::size_t recorded = 0;
  for (std::size_t turn = 0; turn < 400; ++turn) {
    byte_list bytes;
    constexpr std::size_t count = 8;
    for (std::size_t i = 0; i < count; ++i) {
      const auto type = static_cast<std::uint32_t>(generator() % 13U);
      nibble_test::append_gguf_string(bytes, "k" + std::to_string(i));
      nibble_test::append_number(bytes, type);
      nibble_test::append_bytes(bytes, random_value(generator, type, 3));
    }
    nibble::gguf::byte_cursor from(bytes, 0);
    const json read = nibble::gguf::read_metadata(from, count).values;
    recorded += read.contains("nibble.gguf") ? 1U : 0U;
    byte_list again;
    CHECK(nibble::gguf::append_metadata(again, json::parse(read.dump())) == count);
    if (again != bytes) FAIL("turn " << turn << ": " << read.dump());
  }
  CHECK(recorded > 300);
}
