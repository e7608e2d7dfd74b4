#include <nibble/format/gguf/replace_metadata.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>

using nibble::gguf::replace_metadata;
using nibble_test::byte_list;
using nibble_test::gguf_file;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nlohmann::json;

namespace {

byte_list joined(const nibble::replaced_metadata& made) {
  byte_list file = made.front;
  nibble_test::append_bytes(file, made.kept);
  CHECK_FALSE(made.has_footer);
  CHECK(file.size() == made.file_bytes);
  return file;
}

/// The sample with its keys in the order in which they are written.
gguf_file sample_with_sorted_keys() {
  gguf_file file = nibble_test::sample_gguf_file();
  std::ranges::sort(file.metadata, {}, &nibble_test::gguf_value::key);
  return file;
}

}  // namespace

TEST_CASE("other metadata of GGUF move the tensors and change none", "[gguf_replace_metadata]") {
  for (const std::size_t alignment : {1U, 4U, 32U, 4096U}) {
    gguf_file file = sample_with_sorted_keys();
    file.version = alignment == 4 ? 2 : 3;
    if (alignment != 32) {
      file.alignment = alignment;
      file.metadata.push_back({"general.alignment", nibble_test::gguf_id::u32,
                               nibble_test::number_bytes(static_cast<std::uint32_t>(alignment))});
      std::ranges::sort(file.metadata, {}, &nibble_test::gguf_value::key);
    }
    const byte_list before = file.bytes();
    const json old = nibble::gguf::parse(before).metadata;
    CHECK(joined(replace_metadata(before, old)) == before);

    for (const std::size_t length : {0U, 1U, 31U, 32U, 5000U}) {
      json metadata = old;
      metadata["zz"] = std::string(length, 'x');
      metadata.erase("a.u8");
      gguf_file expected = file;
      std::erase_if(expected.metadata, [](const auto& value) { return value.key == "a.u8"; });
      expected.metadata.push_back(
          {"zz", nibble_test::gguf_id::string, nibble_test::string_bytes(std::string(length, 'x'))});
      // The tensor of an unknown type is among them.
      CHECK(joined(replace_metadata(before, metadata)) == expected.bytes());
    }
  }
}

TEST_CASE("what would move the tensors of GGUF is refused", "[gguf_replace_metadata]") {
  const byte_list file = nibble_test::sample_gguf_file().bytes();
  json metadata = nibble::gguf::parse(file).metadata;
  metadata["general.alignment"] = 32;
  CHECK(joined(replace_metadata(file, metadata)).size() > file.size());
  metadata["general.alignment"] = 64;
  const auto refused = [&] { static_cast<void>(replace_metadata(file, metadata)); };
  CHECK(missing_parts(outcome_of(refused).message, {"general.alignment", "bad_metadata", "64", "32"}) ==
        "");
  metadata["general.alignment"] = 33;
  CHECK(missing_parts(outcome_of(refused).message, {"general.alignment", "bad_metadata", "33"}) == "");
}

TEST_CASE("a GGUF file of nothing but metadata takes others", "[gguf_replace_metadata]") {
  for (const bool is_padded : {false, true}) {
    gguf_file file{.metadata = nibble_test::sample_gguf_metadata()};
    byte_list bytes = file.bytes();
    if (is_padded) bytes.resize((bytes.size() + 31) / 32 * 32);
    const byte_list changed = joined(replace_metadata(bytes, {{"general.architecture", "gpt2"}}));
    const auto after = nibble::gguf::parse(changed);
    CHECK(after.tensors.empty());
    CHECK(after.metadata == json{{"general.architecture", "gpt2"}});
  }
}
