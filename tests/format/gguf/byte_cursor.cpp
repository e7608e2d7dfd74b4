#include <nibble/format/gguf/byte_cursor.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>

using nibble::gguf::byte_cursor;
using nibble_test::byte_list;
using nibble_test::missing_parts;
using nibble_test::outcome_of;

namespace {

constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();

/// One number of every width and a string, none of them at a multiple of its size.
byte_list sample_bytes() {
  byte_list bytes(3, std::byte{0xEE});
  nibble_test::append_number(bytes, std::uint8_t{0x81});
  nibble_test::append_number(bytes, std::uint64_t{0x8123456789ABCDEF});
  nibble_test::append_number(bytes, std::int16_t{-2});
  nibble_test::append_gguf_string(bytes, std::string_view("a\0\xFF", 3));
  nibble_test::append_number(bytes, std::uint32_t{0xFEDCBA98});
  return bytes;
}

/// Reads the sample; whether it is what was written. What throws is for the caller.
bool reads_sample(byte_cursor& from) {
  return from.take<std::uint8_t>("byte") == 0x81U &&
         from.take<std::uint64_t>("wide") == 0x8123456789ABCDEFU &&
         from.take<std::int16_t>("signed") == -2 &&
         from.take_string("text") == std::string_view("a\0\xFF", 3) &&
         from.take<std::uint32_t>("last") == 0xFEDCBA98U;
}

}  // namespace

TEST_CASE("what stands one behind the other is read in turn, at any address", "[gguf_byte_cursor]") {
  const byte_list bytes = sample_bytes();
  byte_cursor from(bytes, 3);
  CHECK(reads_sample(from));
  CHECK(from.position() == bytes.size());
  CHECK(from.take_bytes(0, "nothing").empty());
  CHECK(from.position() == bytes.size());

  byte_cursor again(bytes, 4);
  const auto part = again.take_bytes(5, "part");
  CHECK(part.data() == bytes.data() + 4);
  CHECK(part.size() == 5);
  CHECK(again.position() == 9);
}

TEST_CASE("wherever the bytes end, the read that lacks some is refused", "[gguf_byte_cursor]") {
  const byte_list all = sample_bytes();
  for (std::size_t size = 3; size < all.size(); ++size) {
    CAPTURE(size);
    const byte_list bytes(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));  // its own end
    byte_cursor from(bytes, 3);
    from.enter("metadata", 7);
    const auto result = outcome_of([&] { static_cast<void>(reads_sample(from)); });
    CHECK(result.code == "truncated");
    CHECK(missing_parts(result.message, {"metadata 7, ", "bytes", "which are left"}) == "");
    CHECK(from.position() <= size);
  }
}

TEST_CASE("a refusal says what was read, what it wanted and what was left", "[gguf_byte_cursor]") {
  const byte_list bytes(10);
  byte_cursor from(bytes, 4);
  from.enter("tensor", 12);
  CHECK(from.place("offset") == "tensor 12, offset");
  const auto number = outcome_of([&] { static_cast<void>(from.take<std::uint64_t>("offset")); });
  CHECK(missing_parts(number.message, {"tensor 12, offset", "8 bytes", "at most 6"}) == "");
  CHECK(from.position() == 4);
  from.enter("header");
  CHECK(from.place("tensor_count") == "header, tensor_count");
  const auto many = outcome_of([&] { from.require(4, 3, "tensor_count"); });
  CHECK(many.code == "truncated");
  CHECK(missing_parts(many.message, {"header, tensor_count", "4 times 3 bytes", "at most 6"}) == "");
}

TEST_CASE("counts and lengths beyond any file are refused, products of them too",
          "[gguf_byte_cursor]") {
  const byte_list bytes(24);
  for (const std::uint64_t each : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{12}}) {
    // 2 times the fourth and 12 times the last are 0 and 8 in 64 bits.
    for (const std::uint64_t count : {24 / each + 1, huge, huge / each, huge / 2 + 1, huge / 12 + 1}) {
      byte_cursor from(bytes, 0);
      CHECK(outcome_of([&] { from.require(count, each, "n"); }).code == "truncated");
    }
    byte_cursor from(bytes, 0);
    CHECK(outcome_of([&] { from.require(24 / each, each, "n"); }).code == "taken");
    CHECK(outcome_of([&] { from.require(0, each, "n"); }).code == "taken");
    CHECK(from.position() == 0);
  }
  for (const std::uint64_t length : {huge, huge - 7, huge - 8, std::uint64_t{17}}) {
    byte_list text = nibble_test::number_bytes(length);
    text.resize(24);
    byte_cursor from(text, 0);
    CHECK(outcome_of([&] { static_cast<void>(from.take_string("text")); }).code == "truncated");
    byte_cursor blind(text, 8);
    CHECK(outcome_of([&] { static_cast<void>(blind.take_bytes(length, "n")); }).code == "truncated");
  }
}

TEST_CASE("a limit ends what may be read before the file does", "[gguf_byte_cursor]") {
  const byte_list bytes(100);
  byte_cursor from(bytes, 10);
  from.limit(20);
  CHECK(from.take_bytes(12, "a").size() == 12);
  // The limit alone is in the way, then the file as well.
  for (const std::uint64_t count : {9U, 78U}) {
    const auto result = outcome_of([&] { static_cast<void>(from.take_bytes(count, "b")); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"end before byte 30"}) == "");
    CHECK(outcome_of([&] { from.require(count, 1, "b"); }).code == "bad_metadata");
  }
  CHECK(outcome_of([&] { static_cast<void>(from.take_bytes(79, "b")); }).code == "truncated");
  CHECK(outcome_of([&] { from.require(huge / 3, 3, "b"); }).code == "truncated");
  CHECK(from.take_bytes(8, "c").size() == 8);
  CHECK(outcome_of([&] { static_cast<void>(from.take<std::uint8_t>("d")); }).code == "bad_metadata");
  from.lift_limit();
  CHECK(from.take_bytes(70, "d").size() == 70);

  // A limit beyond the file is the file's end.
  for (const std::uint64_t limit : {std::uint64_t{100}, std::uint64_t{101}, huge}) {
    byte_cursor wide(bytes, 1);
    wide.limit(limit);
    CHECK(outcome_of([&] { static_cast<void>(wide.take_bytes(100, "a")); }).code == "truncated");
    CHECK(wide.take_bytes(99, "a").size() == 99);
  }
}
