#include <nibble/format/apr/packing_record.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::encoding;
using nibble::apr::packing_record;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nlohmann::json;

namespace {

/// The record of three tensors: q4, f32 and q4.
json good_record() {
  return json::parse(R"({
    "version": 1,
    "packing": [{"encoding": "f32", "block_elements": 1, "block_bytes": 4},
                {"encoding": "q4", "block_elements": 32, "block_bytes": 20},
                {"encoding": "apr_q8"}],
    "tensors": "010001",
    "crc32": "0a1b2c3d99887766deadbeef"})");
}

std::optional<packing_record> find(const json& record, std::size_t tensor_count = 3) {
  return packing_record::find(json{{"nibble", record}}, tensor_count);
}

}  // namespace

TEST_CASE("a record gives every tensor its encoding and checksum", "[packing_record]") {
  const auto record = find(good_record());
  REQUIRE(record.has_value());
  CHECK(record->tensor_encodings == std::vector{encoding::q4, encoding::f32, encoding::q4});
  CHECK(record->tensor_crc32 == std::vector<std::uint32_t>{0x0A1B2C3D, 0x99887766, 0xDEADBEEF});
}

TEST_CASE("metadata without the key has no record", "[packing_record]") {
  CHECK_FALSE(packing_record::find(json::object(), 3).has_value());
  CHECK_FALSE(packing_record::find(json{{"Nibble", 1}, {"nibbles", {}}}, 0).has_value());
}

TEST_CASE("a record may say more than this version knows", "[packing_record]") {
  json record = good_record();
  record["comment"] = {1, 2};
  record["packing"][2]["note"] = "kept";
  CHECK(find(record).has_value());
}

TEST_CASE("a record of no tensors is one", "[packing_record]") {
  const auto record =
      find(json{{"version", 1}, {"packing", json::array()}, {"tensors", ""}, {"crc32", ""}}, 0);
  REQUIRE(record.has_value());
  CHECK(record->tensor_encodings.empty());
}

TEST_CASE("every encoding's figures are the format's, and no others are taken", "[packing_record]") {
  for (const auto& figures : nibble_test::all_figures) {
    CAPTURE(figures.name);
    json entry{{"encoding", figures.name}};
    if (figures.header_bytes == 0) {
      entry["block_elements"] = figures.block_elements;
      entry["block_bytes"] = figures.block_bytes;
    }
    const auto code_of = [](const json& packing) {
      return outcome_of([&] {
               const auto record = find(json{{"version", 1},
                                             {"packing", json::array({packing})},
                                             {"tensors", "00"},
                                             {"crc32", "00000000"}},
                                        1);
               REQUIRE(record.has_value());
             })
          .code;
    };
    CHECK(code_of(entry) == "taken");
    for (const char* const figure : {"block_elements", "block_bytes"}) {
      json off_by_one = entry;
      off_by_one[figure] = entry.value(figure, 0) + 1;
      CHECK(code_of(off_by_one) == "bad_record");
      json as_text = entry;
      as_text[figure] = std::to_string(entry.value(figure, 1));
      CHECK(code_of(as_text) == "bad_record");
      if (figures.header_bytes != 0) continue;
      json without = entry;
      without.erase(figure);
      CHECK(code_of(without) == "bad_record");
    }
  }
}

TEST_CASE("a record that is malformed is refused and its field named", "[packing_record]") {
  struct row {
    const char* what;
    void (*spoil)(json& record);
    std::string code;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"not an object", [](json& r) { r = 1; }, "bad_record", {"metadata.nibble"}},
      {"null", [](json& r) { r = nullptr; }, "bad_record", {"metadata.nibble"}},
      {"an array", [](json& r) { r = json::array({r}); }, "bad_record", {"metadata.nibble"}},
      {"no version", [](json& r) { r.erase("version"); }, "bad_record", {"nibble.version"}},
      {"version as text", [](json& r) { r["version"] = "1"; }, "bad_record", {"nibble.version"}},
      {"version as fraction", [](json& r) { r["version"] = 1.0; }, "bad_record", {"nibble.version"}},
      {"version 2",
       [](json& r) { r["version"] = 2; },
       "unsupported_version",
       {"nibble.version", "found 2", "expected 1"}},
      {"version 0", [](json& r) { r["version"] = 0; }, "unsupported_version", {"nibble.version"}},
      {"version -1", [](json& r) { r["version"] = -1; }, "unsupported_version", {"nibble.version"}},
      {"version 2^64 - 1",
       [](json& r) { r["version"] = UINT64_MAX; },
       "unsupported_version",
       {"18446744073709551615"}},
      {"no packing", [](json& r) { r.erase("packing"); }, "bad_record", {"nibble.packing"}},
      {"packing an object",
       [](json& r) { r["packing"] = json::object(); },
       "bad_record",
       {"nibble.packing", "an array"}},
      {"packing of names",
       [](json& r) {
         r["packing"] = {"f32", "q4", "apr_q8"};
       },
       "bad_record",
       {"nibble.packing"}},
      {"entry without a name",
       [](json& r) { r["packing"][1].erase("encoding"); },
       "bad_record",
       {"nibble.packing"}},
      {"entry's name a number",
       [](json& r) { r["packing"][1]["encoding"] = 8; },
       "bad_record",
       {"nibble.packing"}},
      {"unknown encoding",
       [](json& r) { r["packing"][1]["encoding"] = "q4_9"; },
       "bad_record",
       {"nibble.packing", "q4_9"}},
      {"unknown encoding that no tensor has",
       [](json& r) { r["packing"][2]["encoding"] = "apr_q16"; },
       "bad_record",
       {"nibble.packing", "apr_q16"}},
      {"upper-case encoding",
       [](json& r) { r["packing"][1]["encoding"] = "Q4"; },
       "bad_record",
       {"Q4"}},
      {"block bytes of another size",
       [](json& r) { r["packing"][1]["block_bytes"] = 18; },
       "bad_record",
       {"nibble.packing", "18", "20"}},
      {"block elements of another size",
       [](json& r) { r["packing"][1]["block_elements"] = 64; },
       "bad_record",
       {"nibble.packing", "64", "32"}},
      {"block elements that are no whole number",
       [](json& r) { r["packing"][1]["block_elements"] = 32.0; },
       "bad_record",
       {"nibble.packing", "32.0"}},
      {"no block bytes",
       [](json& r) { r["packing"][0].erase("block_bytes"); },
       "bad_record",
       {"nibble.packing", "block_bytes"}},
      {"blocks where there are none",
       [](json& r) { r["packing"][2]["block_elements"] = 1; },
       "bad_record",
       {"nibble.packing", "apr_q8"}},
      {"no tensors", [](json& r) { r.erase("tensors"); }, "bad_record", {"nibble.tensors"}},
      {"tensors an array",
       [](json& r) {
         r["tensors"] = {1, 0, 1};
       },
       "bad_record",
       {"nibble.tensors", "a string"}},
      {"tensors too short",
       [](json& r) { r["tensors"] = "0100"; },
       "bad_record",
       {"nibble.tensors", "4 digits", "3 tensors"}},
      {"tensors too long",
       [](json& r) { r["tensors"] = "01000100"; },
       "bad_record",
       {"nibble.tensors", "8 digits"}},
      {"tensors an odd digit too long",
       [](json& r) { r["tensors"] = "0100010"; },
       "bad_record",
       {"nibble.tensors", "7 digits"}},
      {"tensors a digit too short",
       [](json& r) { r["tensors"] = "01000"; },
       "bad_record",
       {"nibble.tensors", "5 digits"}},
      {"tensors empty", [](json& r) { r["tensors"] = ""; }, "bad_record", {"nibble.tensors"}},
      {"upper-case digits in tensors",
       [](json& r) { r["tensors"] = "01000A"; },
       "bad_record",
       {"nibble.tensors", "0A", "lower-case"}},
      {"no digits in tensors",
       [](json& r) { r["tensors"] = "0100zz"; },
       "bad_record",
       {"nibble.tensors", "zz"}},
      {"a sign in tensors", [](json& r) { r["tensors"] = "0100+1"; }, "bad_record", {"nibble.tensors"}},
      {"place out of range",
       [](json& r) { r["tensors"] = "010003"; },
       "bad_record",
       {"nibble.tensors", "place 3", "tensor 2", "3 in packing"}},
      {"place far out of range",
       [](json& r) { r["tensors"] = "ff0001"; },
       "bad_record",
       {"nibble.tensors", "place 255", "tensor 0"}},
      {"no checksums", [](json& r) { r.erase("crc32"); }, "bad_record", {"nibble.crc32"}},
      {"checksum a number",
       [](json& r) { r["crc32"] = 7; },
       "bad_record",
       {"nibble.crc32", "a string"}},
      {"checksums too short",
       [](json& r) { r["crc32"] = "0a1b2c3d99887766deadbee"; },
       "bad_record",
       {"nibble.crc32", "23 digits"}},
      {"a checksum too many",
       [](json& r) { r["crc32"] = "0a1b2c3d99887766deadbeef00000000"; },
       "bad_record",
       {"nibble.crc32", "32 digits", "3 tensors"}},
      {"upper-case checksums",
       [](json& r) { r["crc32"] = "0a1b2c3d99887766DEADBEEF"; },
       "bad_record",
       {"nibble.crc32", "DEADBEEF", "lower-case"}},
      {"a prefix in checksums",
       [](json& r) { r["crc32"] = "0x1b2c3d99887766deadbeef"; },
       "bad_record",
       {"nibble.crc32"}},
  };
  for (const row& wrong : rows) {
    DYNAMIC_SECTION(wrong.what) {
      json record = good_record();
      wrong.spoil(record);
      const auto result = outcome_of([&] { static_cast<void>(find(record)); });
      CHECK(result.code == wrong.code);
      CHECK(missing_parts(result.message, wrong.named).empty());
    }
  }
}

TEST_CASE("a record of another number of tensors is refused", "[packing_record]") {
  for (const std::size_t count : {0U, 1U, 2U, 4U, 100U}) {
    CHECK(outcome_of([&] { static_cast<void>(find(good_record(), count)); }).code == "bad_record");
  }
}

TEST_CASE("a record is written as the format shows it", "[packing_record]") {
  packing_record record;
  record.tensor_encodings = {encoding::q4, encoding::f32, encoding::q4, encoding::apr_q8};
  record.tensor_crc32 = {0x0A1B2C3D, 0, 0xFFFFFFFF, 0x00000001};
  CHECK(record.to_json() == json::parse(R"({
    "version": 1,
    "packing": [{"encoding": "f32", "block_elements": 1, "block_bytes": 4},
                {"encoding": "q4", "block_elements": 32, "block_bytes": 20},
                {"encoding": "apr_q8"}],
    "tensors": "01000102",
    "crc32": "0a1b2c3d00000000ffffffff00000001"})"));
}

TEST_CASE("a record's length does not depend on its checksums", "[packing_record]") {
  packing_record record;
  record.tensor_encodings = {encoding::q8, encoding::bf16};
  record.tensor_crc32 = {0, 0};
  const std::size_t length = record.to_json().dump().size();
  record.tensor_crc32 = {0xFFFFFFFF, 0x10};
  CHECK(record.to_json().dump().size() == length);
}

TEST_CASE("a record of every encoding reads back as it was written", "[packing_record]") {
  packing_record record;
  for (std::size_t i = 0; i < 300; ++i) {
    record.tensor_encodings.push_back(static_cast<encoding>((i * 7) % nibble::encodings.size()));
    record.tensor_crc32.push_back(static_cast<std::uint32_t>(i * 0x9E3779B9U));
  }
  const auto read = packing_record::find(json{{"nibble", record.to_json()}}, 300);
  REQUIRE(read.has_value());
  CHECK(read->tensor_encodings == record.tensor_encodings);
  CHECK(read->tensor_crc32 == record.tensor_crc32);
}
