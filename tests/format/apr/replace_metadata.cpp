#include <nibble/format/apr/replace_metadata.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::apr::replace_metadata;
using nibble_test::number_at;
using nlohmann::json;

namespace {

using file_bytes = std::vector<std::byte>;

/// The file that the parts make, its footer by the checksum's definition.
file_bytes joined(const nibble::replaced_metadata& made) {
  file_bytes file = made.front;
  file.insert(file.end(), made.kept.begin(), made.kept.end());
  if (made.has_footer) nibble_test::append_number(file, nibble_test::plain_crc32(file));
  CHECK(file.size() == made.file_bytes);
  return file;
}

}  // namespace

TEST_CASE("other metadata move the tensors and change none", "[apr_replace_metadata]") {
  const file_bytes file = nibble_test::recorded_sample().bytes();
  const auto before = nibble::apr::parse(file);
  for (const std::size_t length : {0U, 1U, 63U, 64U, 65U, 5000U}) {
    json metadata = before.metadata;
    metadata["new"] = std::string(length, 'x');
    const file_bytes changed = joined(replace_metadata(file, metadata));
    const auto after = nibble::apr::parse(changed);
    CHECK(after.metadata == metadata);
    CHECK(after.notes.size() == before.notes.size());
    CHECK(after.footer_crc32 == nibble_test::plain_crc32(std::span(changed).first(changed.size() - 4)));
    REQUIRE(after.tensors.size() == before.tensors.size());
    for (std::size_t i = 0; i < after.tensors.size(); ++i) {
      const auto& a = before.tensors[i];
      const auto& b = after.tensors[i];
      CHECK(b.name == a.name);
      CHECK(b.encoding == a.encoding);
      CHECK(b.dtype_id == a.dtype_id);
      CHECK(b.shape == a.shape);
      CHECK(b.crc32 == a.crc32);
      CHECK(b.file_offset_bytes % 64 == 0);
      const auto bytes = [](const file_bytes& of, const nibble::tensor_info& tensor) {
        return std::span(of).subspan(static_cast<std::size_t>(tensor.file_offset_bytes),
                                     static_cast<std::size_t>(tensor.size_bytes));
      };
      CHECK(std::ranges::equal(bytes(changed, b), bytes(file, a)));
    }
    // And back again.
    const file_bytes back = joined(replace_metadata(changed, before.metadata));
    CHECK(joined(replace_metadata(file, before.metadata)) == back);
  }
}

TEST_CASE("a file of another program keeps what it has, known or not", "[apr_replace_metadata]") {
  nibble_test::apr_file other{
      .metadata = R"({"a":1})",
      .tensors = {{.name = "odd", .dimensions = {3}, .bytes = nibble_test::bytes_of("seven b")}}};
  other.tensors[0].dtype_id = 77;
  const file_bytes file = other.bytes();
  REQUIRE_FALSE(nibble::apr::parse(file).tensors[0].encoding);
  const auto made = replace_metadata(file, {{"tokenizer.vocabulary", {"a"}}, {"sharding", {{"x", 1}}}});
  CHECK(made.has_footer == nibble::apr::parse(file).footer_crc32.has_value());
  const file_bytes changed = joined(made);
  const auto after = nibble::apr::parse(changed);
  CHECK(after.tensors[0].dtype_id == 77U);
  CHECK(after.tensors[0].size_bytes == 7);
  const auto flags = number_at<std::uint16_t>(changed, 6);
  CHECK((flags & 0x210U) == 0x210U);
  const auto without = joined(replace_metadata(changed, json::object()));
  CHECK((number_at<std::uint16_t>(without, 6) & 0x210U) == 0U);
}

TEST_CASE("metadata that cannot be written are refused", "[apr_replace_metadata]") {
  const file_bytes file = nibble_test::recorded_sample().bytes();
  const auto code_for = [&](const json& metadata) {
    return nibble_test::outcome_of([&] { static_cast<void>(replace_metadata(file, metadata)); }).code;
  };
  CHECK(code_for(json::array()) == "bad_metadata");
  CHECK(code_for({{"a", "\xFF"}}) == "bad_metadata");
  CHECK(code_for({{"a", std::string((std::size_t{64} << 20U) + 1, 'x')}}) == "bad_metadata");
  // 4 MB that are 56 MB once they are read.
  CHECK(code_for({{"a", json::array_t(1'400'000, json::array())}}) == "directory_too_large");
}
