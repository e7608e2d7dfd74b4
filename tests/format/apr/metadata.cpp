#include <nibble/format/apr/metadata.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>
#include <support/errors.hpp>

using nibble::error_code;
using nibble::apr::metadata_text;
using nibble::apr::with_metadata_flags;
using nibble_test::code_of;
using nlohmann::json;

TEST_CASE("flags that say what the metadata hold follow them, all others stay", "[apr_metadata]") {
  constexpr unsigned sharded = 0x010;
  constexpr unsigned vocabulary = 0x200;
  for (unsigned before = 0; before <= 0xFFFFU; before += 7) {
    for (const bool is_sharded : {false, true}) {
      for (const bool has_vocabulary : {false, true}) {
        json metadata{{"quantization", 1}, {"other", 2}};
        if (is_sharded) metadata["sharding"] = nullptr;
        if (has_vocabulary) metadata["tokenizer.vocabulary"] = json::array();
        const unsigned expected = (before & ~(sharded | vocabulary)) + (is_sharded ? sharded : 0U) +
                                  (has_vocabulary ? vocabulary : 0U);
        if (with_metadata_flags(static_cast<std::uint16_t>(before), metadata) != expected) FAIL(before);
      }
    }
  }
  CHECK(with_metadata_flags(0xFFFF, json::object()) == 0xFDEF);
}

TEST_CASE("metadata of 64 MiB have a text, of a byte more they are refused", "[apr_metadata]") {
  constexpr std::size_t most = std::size_t{64} << 20U;
  const std::string around = R"({"a":""})";
  const std::string text = metadata_text(json{{"a", std::string(most - around.size(), 'x')}});
  CHECK(text.size() == most);
  CHECK(code_of([&] {
          static_cast<void>(metadata_text(json{{"a", std::string(most - around.size() + 1, 'x')}}));
        }) == error_code::bad_metadata);
  CHECK(code_of([&] {
          static_cast<void>(metadata_text(json{{"a", "\xFF"}}));
        }) == error_code::bad_metadata);
}
