#include <nibble/format/parse_container.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>
#include <support/noted_source.hpp>
#include <support/safetensors_bytes.hpp>

using nibble_test::missing_parts;
using nibble_test::noted_source;
using nibble_test::outcome_of;

TEST_CASE("what no reader knows is refused alike, from memory and from a source", "[parse_container]") {
  for (const std::string_view text : {"", "G", "GGML, the old one", "{\"not\": \"a container\"}"}) {
    const std::vector<std::byte> bytes = nibble_test::bytes_of(text);
    const noted_source source(bytes);
    const auto whole = outcome_of([&] { static_cast<void>(nibble::parse_container(bytes)); });
    const auto pieces = outcome_of([&] { static_cast<void>(nibble::parse_container(source)); });
    CHECK(whole.code == "unknown_container");
    CHECK(pieces.code == "unknown_container");
    CHECK(whole.message == pieces.message);
  }
  const auto first = outcome_of(
      [] { static_cast<void>(nibble::parse_container(nibble_test::bytes_of("GGML, the old one"))); });
  CHECK(missing_parts(first.message, {"found 47 47 4d 4c 2c 20 74 68 65,"}).empty());
}

TEST_CASE("a container is parsed alike from memory and from a source", "[parse_container]") {
  const std::vector<std::vector<std::byte>> files = {
      nibble_test::recorded_sample().bytes(),
      nibble_test::gguf_file{.tensors = {{"a", 0, {2}, nibble_test::bytes_of_hex("0000803f 00000040")}}}
          .bytes()};
  for (const auto& file : files) {
    const noted_source source(file);
    const auto whole = nibble::parse_container(file);
    const auto pieces = nibble::parse_container(source);
    CHECK(whole.container == pieces.container);
    CHECK(whole.metadata == pieces.metadata);
    CHECK(pieces.metadata_text.empty());
    CHECK(whole.footer_crc32 == pieces.footer_crc32);
    REQUIRE(whole.tensors.size() == pieces.tensors.size());
    CHECK_FALSE(whole.tensors.empty());
    for (std::size_t i = 0; i < whole.tensors.size(); ++i) {
      CHECK(whole.tensors[i].name == pieces.tensors[i].name);
      CHECK(whole.tensors[i].file_offset_bytes == pieces.tensors[i].file_offset_bytes);
      CHECK(whole.tensors[i].crc32 == pieces.tensors[i].crc32);
    }
  }
}
