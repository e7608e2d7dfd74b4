#include <nibble/format/gguf/parse.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>

using nibble::encoding;
using nibble_test::array_bytes;
using nibble_test::byte_list;
using nibble_test::gguf_file;
using nibble_test::gguf_tensor;
using nibble_test::gguf_value;
using nibble_test::missing_parts;
using nibble_test::number_bytes;
using nibble_test::outcome;
using nibble_test::string_bytes;
using nlohmann::json;
namespace id = nibble_test::gguf_id;

namespace {

outcome outcome_of_parsing(const byte_list& file) {
  return nibble_test::outcome_of([&] { static_cast<void>(nibble::gguf::parse(file)); });
}

/// A file of one f32 tensor of 2 x 3.
gguf_file lone_tensor() { return {.tensors = {{"w", 0, {3, 2}, byte_list(24, std::byte{1})}}}; }

gguf_file with_metadata(std::vector<gguf_value> values) {
  gguf_file file = lone_tensor();
  file.metadata = std::move(values);
  return file;
}

gguf_file with_alignment(std::uint32_t alignment, std::size_t laid_out_by) {
  gguf_file file = with_metadata({{"general.alignment", id::u32, number_bytes(alignment)}});
  file.tensors.push_back({"x", 24, {1}, byte_list(1, std::byte{2})});
  file.alignment = laid_out_by;
  return file;
}

/// Arrays in arrays, `depth` in all.
byte_list nested(std::size_t depth) {
  byte_list value = array_bytes(id::u8, {number_bytes(std::uint8_t{9})});
  for (std::size_t i = 1; i < depth; ++i) value = array_bytes(id::array, {value});
  return value;
}

}  // namespace

TEST_CASE("a GGUF file is read in its own order, dimensions turned outermost first", "[gguf_parse]") {
  for (const std::uint32_t version : {2U, 3U}) {
    gguf_file sample = nibble_test::sample_gguf_file();
    sample.version = version;
    const byte_list file = sample.bytes();
    const auto parsed = nibble::gguf::parse(file);
    CHECK(parsed.container == nibble::container::gguf);
    CHECK(parsed.metadata_text.empty());
    CHECK(parsed.notes.empty());
    CHECK_FALSE(parsed.footer_crc32.has_value());
    struct row {
      std::string name;
      std::uint32_t type;
      std::optional<encoding> which;
      nibble::shape shape;
      std::uint64_t offset;
      std::uint64_t size;
    };
    const std::vector<row> rows = {{"token_embd.weight", 0, encoding::f32, {3, 5}, 0, 60},
                                   {"blk.1.q", 2, encoding::q4_0, {2, 64}, 64, 72},
                                   {"blk.0.k", 12, encoding::q4_k, {3, 1, 256}, 160, 432},
                                   {"norm", 1, encoding::f16, {7}, 608, 14},
                                   {"scalar", 28, encoding::f64, {}, 640, 8},
                                   {"none", 8, encoding::q8_0, {0, 32}, 672, 0},
                                   {"other", 36, std::nullopt, {2, 9}, 672, 64},
                                   {"last", 24, encoding::i8, {2, 1, 1, 3}, 736, 6}};
    REQUIRE(parsed.tensors.size() == rows.size());
    const std::uint64_t data_offset = file.size() - 768;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const nibble::tensor_info& tensor = parsed.tensors[i];
      CAPTURE(rows[i].name);
      CHECK(tensor.name == rows[i].name);
      CHECK(tensor.dtype_id == rows[i].type);
      CHECK(tensor.encoding == rows[i].which);
      CHECK(tensor.shape == rows[i].shape);
      CHECK(tensor.file_offset_bytes == data_offset + rows[i].offset);
      CHECK(tensor.size_bytes == rows[i].size);
      CHECK_FALSE(tensor.crc32.has_value());
    }
  }
}

TEST_CASE("every ggml type of the table is resolved, others are listed", "[gguf_parse]") {
  struct row {
    std::uint32_t type;
    std::string_view name;
    std::size_t block_elements;
    std::size_t block_bytes;
  };
  const std::vector<row> rows = {
      {0, "f32", 1, 4},         {1, "f16", 1, 2},         {2, "q4_0", 32, 18},
      {3, "q4_1", 32, 20},      {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},
      {8, "q8_0", 32, 34},      {10, "q2_k", 256, 84},    {11, "q3_k", 256, 110},
      {12, "q4_k", 256, 144},   {13, "q5_k", 256, 176},   {14, "q6_k", 256, 210},
      {20, "iq4_nl", 32, 18},   {23, "iq4_xs", 256, 136}, {24, "i8", 1, 1},
      {25, "i16", 1, 2},        {26, "i32", 1, 4},        {27, "i64", 1, 8},
      {28, "f64", 1, 8},        {30, "bf16", 1, 2},       {39, "mxfp4", 32, 17},
      {16, "iq2_xxs", 256, 66}, {17, "iq2_xs", 256, 74},  {18, "iq3_xxs", 256, 98},
      {19, "iq1_s", 256, 50},   {21, "iq3_s", 256, 110},  {22, "iq2_s", 256, 82},
      {29, "iq1_m", 256, 56},   {34, "tq1_0", 256, 54},   {35, "tq2_0", 256, 66},
      {40, "nvfp4", 64, 36},    {41, "q1_0", 128, 18},    {42, "q2_0", 64, 18}};
  std::size_t known = 0;
  for (std::uint32_t type = 0; type < 300; ++type) {
    const auto found = std::ranges::find(rows, type, &row::type);
    const std::size_t bytes =
        found == rows.end() ? 96 : 2 * 512 / found->block_elements * found->block_bytes;
    const gguf_file file{.tensors = {{"w", type, {512, 2}, byte_list(bytes, std::byte{1})},
                                     {"x", 24, {1}, byte_list(1)}}};
    const auto parsed = nibble::gguf::parse(file.bytes());
    const nibble::tensor_info& tensor = parsed.tensors[0];
    CHECK(tensor.dtype_id == type);
    CHECK(tensor.size_bytes == bytes);
    CHECK(tensor.encoding.has_value() == (found != rows.end()));
    if (tensor.encoding) CHECK(nibble::to_string(*tensor.encoding) == found->name);
    known += tensor.encoding ? 1U : 0U;
  }
  CHECK(known == rows.size());
  for (const std::uint32_t type : {4U, 31U, 0x80000000U, 0xFFFFFFFFU}) {
    gguf_file file = lone_tensor();
    file.tensors[0].type = type;
    const auto parsed = nibble::gguf::parse(file.bytes());
    CHECK_FALSE(parsed.tensors[0].encoding.has_value());
    CHECK(parsed.tensors[0].dtype_id == type);
  }
}

TEST_CASE("tensors of unknown types have the bytes up to the next tensor or the end of the file",
          "[gguf_parse]") {
  const gguf_file file{.tensors = {{"late", 99, {5}, byte_list(3), 64},
                                   {"early", 98, {1, 7}, byte_list(33), 0},
                                   {"none", 97, {0, 7}, {}, 64},
                                   {"known", 24, {32}, byte_list(32), 96}},
                       .is_padded_at_its_end = false};
  const auto parsed = nibble::gguf::parse(file.bytes());
  CHECK(parsed.tensors[0].size_bytes == 32);
  CHECK(parsed.tensors[1].size_bytes == 64);
  CHECK(parsed.tensors[2].size_bytes == 0);
  CHECK(parsed.tensors[3].size_bytes == 32);
  const gguf_file last{.tensors = {{"w", 99, {5}, byte_list(3)}}, .is_padded_at_its_end = false};
  CHECK(nibble::gguf::parse(last.bytes()).tensors[0].size_bytes == 3);
}

TEST_CASE("metadata appears as JSON under the file's keys", "[gguf_parse]") {
  const auto parsed = nibble::gguf::parse(nibble_test::sample_gguf_file().bytes());
  json expected = {
      {"general.architecture", "llama"},
      {"a.u8", 250},
      {"a.i8", -100},
      {"a.u16", 65000},
      {"a.i16", -30000},
      {"a.u32", 4000000000U},
      {"a.i32", -2000000000},
      {"a.i32.positive", 7},
      {"a.u64", ~std::uint64_t{0}},
      {"a.u64.small", 7},
      {"a.i64", -9007199254740993},
      {"a.f32", double{1e-5F}},
      {"a.f32.whole", 10000.0},
      {"a.f64", 0.1},
      {"a.f64.short", 0.5},
      {"a.bool", true},
      {"a.no", false},
      {"a.text", std::string("\xE2\x96\x81na\xC3\xAFve\0\n\"", 12)},
      {"a.bytes", "ok\xEF\xBF\xBD\xEF\xBF\xBD("},
      {"a.nan", nullptr},
      {"a.infinite", nullptr},
      {"b.none.u32", json::array()},
      {"b.none.text", json::array()},
      {"b.none.arrays", json::array()},
      {"b.i32", {1, 3}},
      {"b.u8", {0, 255}},
      {"b.bool", {true, false}},
      {"b.f32", {-2.25, nullptr, 0.0, nullptr}},
      {"b.f64", {0.1, -0.0}},
      {"b.text", {"alpha", "", "\xEF\xBF\xBD"}},
      {"b.arrays", {{1}, {2, 3}}},
      {"b.arrays.mixed",
       json::array({{-1}, json::array(), {"\xEF\xBF\xBD"}, json::array({json::array()})})},
  };
  // Only what the JSON alone would be taken for something else.
  expected["nibble.gguf"]["types"] = {
      {"a.u8", "u8"},
      {"a.i8", "i8"},
      {"a.u16", "u16"},
      {"a.i16", "i16"},
      {"a.i32.positive", "i32"},
      {"a.u64.small", "u64"},
      {"a.f64", "f64"},
      {"a.f64.short", "f64"},
      {"a.nan", "f32"},
      {"a.infinite", "f64"},
      {"b.none.text", {"str"}},
      {"b.none.arrays", json::array({json::array()})},
      {"b.i32", {"i32"}},
      {"b.u8", {"u8"}},
      {"b.f32", {"f32"}},
      {"b.f64", {"f64"}},
      {"b.arrays", json::array({{"u16"}})},
      {"b.arrays.mixed", json::array({{"i8"}, {"i8"}, {"str"}, json::array({{"f64"}})})},
  };
  expected["nibble.gguf"]["bytes"] = {
      {"a.bytes", "0:6f6bffc328"},        {"a.nan", "0:2301c07f"}, {"a.infinite", "0:000000000000f0ff"},
      {"b.f32", "1:010080ff 3:0000807f"}, {"b.text", "2:fe"},      {"b.arrays.mixed", "1:ff"}};
  CHECK(json::diff(expected, parsed.metadata) == json::array());
  for (const auto& [key, value] : expected.items()) {
    CAPTURE(key);
    CHECK(parsed.metadata[key].is_number_float() == value.is_number_float());
  }
  CHECK(parsed.metadata["a.f32.whole"].is_number_float());
}

TEST_CASE("a GGUF file without anything to add has no record", "[gguf_parse]") {
  const auto parsed =
      nibble::gguf::parse(with_metadata({{"general.name", id::string, string_bytes("x")},
                                         {"n", id::u32, number_bytes(std::uint32_t{0})},
                                         {"f", id::f32, number_bytes(0.25F)}})
                              .bytes());
  CHECK(parsed.metadata == json{{"general.name", "x"}, {"n", 0}, {"f", 0.25}});
  CHECK(nibble::gguf::parse(gguf_file{}.bytes()).tensors.empty());
  CHECK(nibble::gguf::parse(gguf_file{}.bytes()).metadata == json::object());
}

TEST_CASE("tensors start where general.alignment says", "[gguf_parse]") {
  for (std::uint32_t alignment = 1; alignment <= 1U << 20U; alignment *= 2) {
    const byte_list file = with_alignment(alignment, alignment).bytes();
    const auto parsed = nibble::gguf::parse(file);
    CHECK(parsed.tensors[0].file_offset_bytes % alignment == 0);
    const std::size_t first_bytes = (24 + alignment - 1) / alignment * alignment;
    CHECK(parsed.tensors[0].file_offset_bytes == file.size() - first_bytes - alignment);
    CHECK(parsed.tensors[1].file_offset_bytes == file.size() - alignment);
    CHECK(parsed.notes.size() == (alignment < 8 ? 1U : 0U));
    if (alignment < 8) CHECK(missing_parts(parsed.notes[0].text, {"multiple of 8"}).empty());
  }
}

TEST_CASE("what readers that take less would not take is noted", "[gguf_parse]") {
  const auto notes_of = [](const gguf_file& file, std::size_t cut_bytes = 0,
                           std::size_t more_bytes = 0) {
    byte_list bytes = file.bytes();
    bytes.resize(bytes.size() - cut_bytes + more_bytes);
    std::string notes;
    for (const nibble::finding& note : nibble::gguf::parse(bytes).notes) {
      CHECK(note.severity == nibble::finding::kind::note);
      notes += fmt::format("{} {}: {};", note.tensor, note.field, note.text);
    }
    return notes;
  };
  CHECK(notes_of(lone_tensor()).empty());
  CHECK(missing_parts(notes_of(lone_tensor(), 8), {"layout", "padding", "absent"}).empty());
  CHECK(missing_parts(notes_of(lone_tensor(), 0, 5), {"layout", "5 bytes behind the data"}).empty());
  gguf_file file = lone_tensor();
  file.tensors.push_back({"x", 24, {1}, byte_list(1)});
  file.tensors[1].offset = 96;  // a hole
  CHECK(missing_parts(notes_of(file), {"layout", "follow each other"}).empty());
  file.tensors[0].offset = 96;  // not in the order of the list
  file.tensors[1].offset = 0;
  CHECK(missing_parts(notes_of(file), {"layout", "follow each other"}).empty());
  file = lone_tensor();
  file.tensors[0].name = std::string(64, 'n');
  CHECK(missing_parts(notes_of(file), {file.tensors[0].name, "name", "64 bytes"}).empty());
  file.tensors[0].name = std::string(63, 'n');
  CHECK(notes_of(file).empty());
}

TEST_CASE("a GGUF file that ends anywhere before its last tensor does is refused", "[gguf_parse]") {
  const byte_list file = nibble_test::sample_gguf_file().bytes();
  const std::size_t end = file.size() - 32 + 6;
  for (std::size_t size = 4; size < end; ++size) {
    const byte_list part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    const outcome result = outcome_of_parsing(part);
    if (result.code != "truncated")
      FAIL(fmt::format("{} bytes: {} {}", size, result.code, result.message));
  }
  CHECK(outcome_of_parsing({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(end)}).code ==
        "taken");
  for (std::size_t size = 0; size < 4; ++size) {
    CHECK(outcome_of_parsing({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size)}).code ==
          "unknown_container");
  }
}

TEST_CASE("a file of another magic is no GGUF file", "[gguf_parse]") {
  for (std::size_t at = 0; at < 4; ++at) {
    byte_list file = lone_tensor().bytes();
    file[at] ^= std::byte{0x20};
    CHECK(outcome_of_parsing(file).code == "unknown_container");
    CHECK_FALSE(nibble::gguf::has_magic(file));
  }
}

TEST_CASE("arrays nest as deep as allowed and appear so", "[gguf_parse]") {
  const auto parsed = nibble::gguf::parse(with_metadata({{"k", id::array, nested(32)}}).bytes());
  const json* value = &parsed.metadata["k"];
  const json* kind = &parsed.metadata["nibble.gguf"]["types"]["k"];
  for (std::size_t depth = 0; depth < 32; ++depth) {
    REQUIRE(value->is_array());
    REQUIRE(kind->is_array());
    REQUIRE(value->size() == 1);
    value = &value->front();
    kind = &kind->front();
  }
  CHECK(*value == 9);
  CHECK(*kind == "u8");
}

TEST_CASE("metadata of more than 64 MiB is refused before it is read", "[gguf_parse]") {
  constexpr std::size_t limit = 64U << 20U;
  // Key, type, element type, count: 8 + 1 + 4 + 12 bytes before the elements.
  const auto file_with = [](std::size_t elements) {
    gguf_file file = lone_tensor();
    file.metadata = {{"k", id::string, number_bytes(std::uint64_t{elements})}};
    file.metadata[0].bytes.resize(8 + elements, std::byte{'x'});
    return file.bytes();
  };
  CHECK(outcome_of_parsing(file_with(limit - 8 - 1 - 4 - 8)).code == "taken");
  const outcome result = outcome_of_parsing(file_with(limit - 8 - 1 - 4 - 8 + 1));
  CHECK(result.code == "bad_metadata");
  CHECK(missing_parts(result.message, {"metadata 0", std::to_string(limit + 24)}).empty());
}

TEST_CASE("a vocabulary of 150,000 words is read whole", "[gguf_parse]") {
  std::vector<byte_list> words;
  std::vector<byte_list> types;
  for (std::uint32_t i = 0; i < 150'000; ++i) {
    words.push_back(string_bytes(fmt::format("word {}", i)));
    types.push_back(number_bytes(static_cast<std::int32_t>(i % 7)));
  }
  const auto parsed = nibble::gguf::parse(
      with_metadata({{"tokenizer.ggml.tokens", id::array, array_bytes(id::string, words)},
                     {"tokenizer.ggml.token_type", id::array, array_bytes(id::i32, types)}})
          .bytes());
  REQUIRE(parsed.metadata["tokenizer.ggml.tokens"].size() == 150'000);
  CHECK(parsed.metadata["tokenizer.ggml.tokens"][149'999] == "word 149999");
  CHECK(parsed.metadata["tokenizer.ggml.token_type"][149'999] == 149'999 % 7);
  CHECK(parsed.metadata["nibble.gguf"] == json{{"types", {{"tokenizer.ggml.token_type", {"i32"}}}}});
}
