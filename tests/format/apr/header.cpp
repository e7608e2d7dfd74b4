#include <nibble/format/apr/header.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble::apr::header;
using nibble_test::bytes_of;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nibble_test::put_number;

namespace {

/// A header whose every field is another number, its checksum computed by Python's zlib.
std::vector<std::byte> golden_header() {
  return nibble_test::bytes_of_hex(
      "41505200 02 00 2006 03020100 4000000000000000 0d0c0b0a 1817161514131211"
      "2827262524232221 b8e9020e 0000000000000000000000000000000000000000");
}

}  // namespace

TEST_CASE("a header's fields stand where the format says", "[header]") {
  const header parsed = header::parse(golden_header());
  CHECK(parsed.minor_version == 0);
  CHECK(parsed.flags == 0x620);
  CHECK(parsed.tensor_count == 0x00010203U);
  CHECK(parsed.metadata_offset == 64);
  CHECK(parsed.metadata_bytes == 0x0A0B0C0DU);
  CHECK(parsed.index_offset == 0x1112131415161718U);
  CHECK(parsed.data_offset == 0x2122232425262728U);
  CHECK(parsed.reserved_are_zero);
}

TEST_CASE("a header is stored byte for byte as the format says", "[header]") {
  std::vector<std::byte> bytes = nibble_test::random_bytes(70, 1);
  const std::vector<std::byte> before = bytes;
  header{.flags = 0x620,
         .tensor_count = 0x00010203U,
         .metadata_offset = 64,
         .metadata_bytes = 0x0A0B0C0DU,
         .index_offset = 0x1112131415161718U,
         .data_offset = 0x2122232425262728U}
      .store(bytes);
  CHECK(std::ranges::equal(std::span(bytes).first(64), golden_header()));
  CHECK(std::ranges::equal(std::span(bytes).subspan(64), std::span(before).subspan(64)));
}

TEST_CASE("a file that does not start as .apr files do is no .apr file", "[header]") {
  for (std::size_t at = 0; at < 4; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bytes = golden_header();
      bytes[at] ^= static_cast<std::byte>(1 << bit);
      const auto result = outcome_of([&] { static_cast<void>(header::parse(bytes)); });
      CHECK(result.code == "unknown_container");
      CHECK(missing_parts(result.message, {"header.magic", "41 50 52 00"}).empty());
    }
  }
}

TEST_CASE("a header cut short says so", "[header]") {
  const auto whole = golden_header();
  for (std::size_t size = 0; size < 64; ++size) {
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto result = outcome_of([&] { static_cast<void>(header::parse(cut)); });
    if (size < 4) {
      CHECK(result.code == "unknown_container");
    } else {
      CHECK(result.code == "truncated");
      CHECK(missing_parts(result.message, {"header", fmt::format("{} bytes", size), "64"}).empty());
    }
  }
}

TEST_CASE("other major versions are refused by number", "[header]") {
  for (const int major : {0, 1, 3, 255}) {
    auto bytes = golden_header();
    bytes[4] = static_cast<std::byte>(major);
    nibble_test::seal_header(bytes);
    const auto result = outcome_of([&] { static_cast<void>(header::parse(bytes)); });
    CHECK(result.code == "unsupported_version");
    CHECK(
        missing_parts(result.message, {"header.version", fmt::format("found {}", major), "expected 2"})
            .empty());
  }
}

TEST_CASE("every bit of a header is under its checksum", "[header]") {
  for (std::size_t at = 5; at < 64; ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bytes = golden_header();
      bytes[at] ^= static_cast<std::byte>(1 << bit);
      const auto result = outcome_of([&] { static_cast<void>(header::parse(bytes)); });
      CAPTURE(at, bit);
      CHECK(result.code == "header_checksum");
      CHECK(missing_parts(result.message, {"header.checksum"}).empty());
    }
  }
}

TEST_CASE("a wrong header checksum is given beside the right one", "[header]") {
  auto bytes = golden_header();
  const auto right = nibble_test::number_at<std::uint32_t>(bytes, 40);
  put_number(bytes, 40, std::uint32_t{0x12345678});
  const auto result = outcome_of([&] { static_cast<void>(header::parse(bytes)); });
  CHECK(missing_parts(result.message, {"found 12345678", fmt::format("{:08x}", right)}).empty());
}

TEST_CASE("data that cannot be read plainly is refused by name", "[header]") {
  struct row {
    std::uint16_t flag;
    std::string_view named;
  };
  for (const auto& [flag, named] :
       {row{0x001, "LZ4"}, row{0x002, "Zstd"}, row{0x004, "encryption"}, row{0x800, "column-major"}}) {
    for (const unsigned others : {0x000U, 0x400U, 0x6F8U}) {
      auto bytes = golden_header();
      put_number(bytes, 6, static_cast<std::uint16_t>(flag | others));
      nibble_test::seal_header(bytes);
      const auto result = outcome_of([&] { static_cast<void>(header::parse(bytes)); });
      CHECK(result.code == "unsupported_feature");
      CHECK(missing_parts(result.message, {"header.flags", std::string(named)}).empty());
    }
  }
}

TEST_CASE("all other flags, minor versions and reserved bytes are read", "[header]") {
  auto bytes = golden_header();
  put_number(bytes, 6, std::uint16_t{0xF7F8});
  bytes[5] = std::byte{9};
  nibble_test::seal_header(bytes);
  const header parsed = header::parse(bytes);
  CHECK(parsed.flags == 0xF7F8);
  CHECK(parsed.minor_version == 9);
  CHECK(parsed.reserved_are_zero);
  for (std::size_t at = 44; at < 64; ++at) {
    auto marked = golden_header();
    marked[at] = std::byte{1};
    nibble_test::seal_header(marked);
    CHECK_FALSE(header::parse(marked).reserved_are_zero);
  }
}
