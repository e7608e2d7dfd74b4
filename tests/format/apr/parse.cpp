#include <nibble/format/apr/parse.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble_test::apr_file;
using nibble_test::apr_tensor;
using nibble_test::bytes_of;
using nibble_test::missing_parts;
using nibble_test::number_at;
using nibble_test::outcome;
using nibble_test::put_number;
using nibble_test::recorded_sample;
using nibble_test::tame_tensor;
using namespace std::string_literals;

namespace {

using file_bytes = std::vector<std::byte>;

/// Positions of header fields.
constexpr std::size_t at_minor = 5;
constexpr std::size_t at_flags = 6;
constexpr std::size_t at_tensor_count = 8;
constexpr std::size_t at_metadata_offset = 12;
constexpr std::size_t at_metadata_size = 20;
constexpr std::size_t at_index_offset = 24;
constexpr std::size_t at_data_offset = 32;

outcome parse(const file_bytes& file) {
  return nibble_test::outcome_of([&] { static_cast<void>(nibble::apr::parse(file)); });
}

std::vector<std::string> notes_of(const file_bytes& file) {
  std::vector<std::string> notes;
  for (const auto& found : nibble::apr::parse(file).notes) {
    CHECK(found.severity == nibble::finding::kind::note);
    notes.push_back(fmt::format("{}|{}|{}", found.tensor, found.field, found.text));
  }
  return notes;
}

/// Three tensors of a program that records no packing.
apr_file plain_sample() {
  return {.tensors = {tame_tensor("a", "f32", {2, 3}), tame_tensor("b", "apr_q4", {3, 11}),
                      tame_tensor("c", "f16", {40})}};
}

file_bytes with_metadata(const std::string& metadata) {
  apr_file file = plain_sample();
  file.metadata = metadata;
  return file.bytes();
}

template <class Number>
file_bytes with_header(std::size_t at, Number number) {
  file_bytes file = plain_sample().bytes();
  put_number(file, at, number);
  nibble_test::seal_header(file);
  return file;
}

file_bytes with_tensors(std::vector<apr_tensor> tensors) {
  return apr_file{.tensors = std::move(tensors)}.bytes();
}

struct refusal {
  std::string what;
  file_bytes file;
  std::string code;
  std::vector<std::string> named;
};

void check_refused(const std::vector<refusal>& rows) {
  for (const refusal& row : rows) {
    DYNAMIC_SECTION(row.what) {
      const outcome result = parse(row.file);
      CHECK(result.code == row.code);
      CHECK(missing_parts(result.message, row.named).empty());
    }
  }
}

std::string nested(std::size_t levels) {
  return "{\"a\":" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
}

}  // namespace

TEST_CASE("a file without a record is read as the format says", "[apr_parse]") {
  const apr_file file = plain_sample();
  const file_bytes bytes = file.bytes();
  const auto parsed = nibble::apr::parse(bytes);
  CHECK(parsed.container == nibble::container::apr);
  CHECK(parsed.metadata_text == "{}");
  CHECK(parsed.metadata.empty());
  CHECK(parsed.notes.empty());
  CHECK(parsed.footer_crc32 == number_at<std::uint32_t>(bytes, bytes.size() - 4));
  REQUIRE(parsed.tensors.size() == 3);
  const auto data_offset = number_at<std::uint64_t>(bytes, at_data_offset);
  const std::vector<std::string> encodings = {"f32", "apr_q4", "f16"};
  const std::vector<std::uint64_t> offsets = {0, 64, 128};
  for (std::size_t i = 0; i < 3; ++i) {
    const nibble::tensor_info& tensor = parsed.tensors[i];
    CHECK(tensor.name == file.tensors[i].name);
    REQUIRE(tensor.encoding.has_value());
    CHECK(nibble::to_string(*tensor.encoding) == encodings[i]);
    CHECK(tensor.dtype_id == static_cast<std::uint32_t>(file.tensors[i].dtype_id));
    CHECK(std::ranges::equal(tensor.shape.dimensions(), file.tensors[i].dimensions));
    CHECK(tensor.file_offset_bytes == data_offset + offsets[i]);
    CHECK(tensor.size_bytes == file.tensors[i].bytes.size());
    CHECK_FALSE(tensor.crc32.has_value());
  }
}

TEST_CASE("a file with a record is read by it", "[apr_parse]") {
  const apr_file file = recorded_sample();
  const file_bytes bytes = file.bytes();
  const auto parsed = nibble::apr::parse(bytes);
  CHECK(parsed.notes.empty());
  CHECK(parsed.metadata["architecture"] == "llama");
  CHECK(parsed.metadata_text == file.metadata);
  const std::vector<std::string> encodings = {"apr_q4", "apr_q8", "bf16", "f16", "f32",
                                              "q4",     "q4",     "q8",   "f32"};
  REQUIRE(parsed.tensors.size() == encodings.size());
  for (std::size_t i = 0; i < encodings.size(); ++i) {
    REQUIRE(parsed.tensors[i].encoding.has_value());
    CHECK(nibble::to_string(*parsed.tensors[i].encoding) == encodings[i]);
    CHECK(parsed.tensors[i].crc32 == nibble_test::plain_crc32(file.tensors[i].bytes));
  }
}

TEST_CASE("a file of no tensors is read", "[apr_parse]") {
  CHECK(nibble::apr::parse(apr_file{}.bytes()).tensors.empty());
  const apr_file recorded{.metadata =
                              R"({"nibble":{"version":1,"packing":[],"tensors":"","crc32":""}})"};
  CHECK(nibble::apr::parse(recorded.bytes()).tensors.empty());
}

TEST_CASE("a golden file made by another program's hands is read", "[apr_parse]") {
  // By Python: struct.pack and zlib.crc32 along FORMAT.md; one f32 [2] = {1, -2} named "a".
  const file_bytes golden = nibble_test::bytes_of_hex(
      "4150520002000004010000004000000000000000070000008000000000000000"
      "c000000000000000bf6f18d90000000000000000000000000000000000000000"
      "7b226b223a317d00000000000000000000000000000000000000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000"
      "0100610001020000000000000000000000000000000800000000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000"
      "0000803f000000c0000000000000000000000000000000000000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000"
      "9a5d4a29");
  const auto parsed = nibble::apr::parse(golden);
  REQUIRE(parsed.tensors.size() == 1);
  CHECK(parsed.tensors[0].name == "a");
  CHECK(parsed.tensors[0].shape == nibble::shape{2});
  CHECK(parsed.tensors[0].file_offset_bytes == 192);
  CHECK(number_at<std::uint32_t>(golden, 192) == 0x3F800000U);
  CHECK(number_at<std::uint32_t>(golden, 196) == 0xC0000000U);
  const apr_file same{
      .metadata = "{\"k\":1}",
      .tensors = {
          {.name = "a", .dimensions = {2}, .bytes = nibble_test::bytes_of_hex("0000803f 000000c0")}}};
  CHECK(same.bytes() == golden);
}

TEST_CASE("magic, version and header checksum are checked first", "[apr_parse]") {
  file_bytes no_magic = plain_sample().bytes();
  no_magic[3] = std::byte{'1'};
  file_bytes other_major = plain_sample().bytes();
  other_major[4] = std::byte{3};
  nibble_test::seal_header(other_major);
  file_bytes bad_sum = plain_sample().bytes();
  bad_sum[40] ^= std::byte{1};
  check_refused({
      {"magic", no_magic, "unknown_container", {"header.magic"}},
      {"major version", other_major, "unsupported_version", {"header.version", "3"}},
      {"header CRC", bad_sum, "header_checksum", {"header.checksum"}},
      {"nothing", {}, "unknown_container", {"header.magic"}},
  });
}

TEST_CASE("what is unusual in a header is taken and noted", "[apr_parse]") {
  const auto lone_note = [](const file_bytes& file, const std::vector<std::string>& named) {
    const auto notes = notes_of(file);
    REQUIRE(notes.size() == 1);
    CHECK(missing_parts(notes[0], named).empty());
  };
  SECTION("minor version") {
    lone_note(with_header(at_minor, std::uint8_t{7}), {"header.version", "7"});
  }
  SECTION("reserved bytes") {
    for (const std::size_t at : {44U, 63U}) {
      lone_note(with_header(at, std::uint8_t{1}), {"header.reserved", "zero"});
    }
  }
  SECTION("unknown flags") {
    for (const std::uint16_t flag : {std::uint16_t{0x1400}, std::uint16_t{0x8400}}) {
      lone_note(with_header(at_flags, flag), {"header.flags", fmt::format("{:#06x}", flag)});
    }
  }
  SECTION("row-major flag absent") {
    lone_note(with_header(at_flags, std::uint16_t{0}), {"header.flags", "row-major"});
  }
  SECTION("a signature") {
    lone_note(with_header(at_flags, std::uint16_t{0x408}),
              {"header.flags", "signature", "not checked"});
  }
  SECTION("all at once") {
    file_bytes file = with_header(at_flags, std::uint16_t{0xF008});
    file[at_minor] = std::byte{1};
    file[50] = std::byte{1};
    nibble_test::seal_header(file);
    CHECK(notes_of(file).size() == 5);
  }
}

TEST_CASE("flags that change nothing for a reader are taken without a word", "[apr_parse]") {
  for (const unsigned flag : {0x010U, 0x020U, 0x040U, 0x080U, 0x100U, 0x200U, 0x3F0U}) {
    CHECK(notes_of(with_header(at_flags, static_cast<std::uint16_t>(0x400U | flag))).empty());
  }
}

TEST_CASE("compressed, encrypted and column-major files are refused by name", "[apr_parse]") {
  const auto flagged = [](unsigned flag) {
    return with_header(at_flags, static_cast<std::uint16_t>(0x400U | flag));
  };
  check_refused({
      {"LZ4", flagged(0x001), "unsupported_feature", {"header.flags", "LZ4"}},
      {"Zstd", flagged(0x002), "unsupported_feature", {"header.flags", "Zstd"}},
      {"encrypted", flagged(0x004), "unsupported_feature", {"header.flags", "encryption"}},
      {"column-major", flagged(0x800), "unsupported_feature", {"header.flags", "column-major"}},
  });
}

TEST_CASE("sections out of order, overlapping or past the end are refused", "[apr_parse]") {
  const file_bytes whole = plain_sample().bytes();
  const std::uint64_t size = whole.size();
  const auto index = number_at<std::uint64_t>(whole, at_index_offset);
  const auto data = number_at<std::uint64_t>(whole, at_data_offset);
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  check_refused({
      {"metadata inside the header",
       with_header(at_metadata_offset, std::uint64_t{63}),
       "bad_layout",
       {"header.metadata_offset", "found 63", "64"}},
      {"metadata at 0",
       with_header(at_metadata_offset, std::uint64_t{0}),
       "bad_layout",
       {"header.metadata_offset", "found 0"}},
      {"metadata behind the index",
       with_header(at_metadata_offset, index),
       "bad_layout",
       {"header.tensor_index_offset"}},
      {"metadata past 2^64",
       with_header(at_metadata_offset, most),
       "bad_layout",
       {"header.metadata_offset", fmt::format("found {}", most), "2^64"}},
      {"metadata reaching into the index",
       with_header(at_metadata_size, static_cast<std::uint32_t>(index - 64 + 1)),
       "bad_layout",
       {"header.tensor_index_offset", fmt::format("at least {}", index + 1)}},
      {"index inside the metadata",
       with_header(at_index_offset, std::uint64_t{65}),
       "bad_layout",
       {"header.tensor_index_offset", "found 65", "at least 66"}},
      {"index in the header",
       with_header(at_index_offset, std::uint64_t{0}),
       "bad_layout",
       {"header.tensor_index_offset", "found 0"}},
      {"index behind the data",
       with_header(at_index_offset, data + 1),
       "bad_layout",
       {"header.data_offset", fmt::format("found {}", data)}},
      {"index past the end", with_header(at_index_offset, most), "bad_layout", {"header.data_offset"}},
      {"data inside the metadata",
       with_header(at_data_offset, std::uint64_t{64}),
       "bad_layout",
       {"header.data_offset", "found 64"}},
      {"data past the end",
       with_header(at_data_offset, size + 1),
       "truncated",
       {"index", fmt::format("{} bytes", size), fmt::format("at least {}", size + 1)}},
      {"data at 2^64", with_header(at_data_offset, most), "truncated", {"index"}},
  });
  SECTION("index and data past the end") {
    file_bytes file = whole;
    put_number(file, at_index_offset, std::uint64_t{size + 64});
    put_number(file, at_data_offset, std::uint64_t{size + 128});
    nibble_test::seal_header(file);
    const outcome result = parse(file);
    CHECK(result.code == "truncated");
    CHECK(missing_parts(result.message, {"index"}).empty());
  }
  SECTION("metadata past the end") {
    file_bytes file = whole;
    put_number(file, at_metadata_size, static_cast<std::uint32_t>(size));
    put_number(file, at_index_offset, std::uint64_t{size + 64});
    put_number(file, at_data_offset, std::uint64_t{size + 128});
    nibble_test::seal_header(file);
    const outcome result = parse(file);
    CHECK(result.code == "truncated");
    CHECK(missing_parts(result.message, {"metadata"}).empty());
  }
}

TEST_CASE("metadata over 64 MiB is refused by the header's word", "[apr_parse]") {
  const auto with_size = [](std::uint32_t size) {
    file_bytes file = plain_sample().bytes();
    put_number(file, at_metadata_size, size);
    put_number(file, at_index_offset, std::uint64_t{1} << 33U);
    put_number(file, at_data_offset, std::uint64_t{1} << 33U);
    nibble_test::seal_header(file);
    return file;
  };
  check_refused({
      {"a byte too many",
       with_size((64U << 20U) + 1),
       "bad_metadata",
       {"header.metadata_size", "67108865", "67108864"}},
      {"all that the field holds", with_size(0xFFFFFFFFU), "bad_metadata", {"header.metadata_size"}},
      {"just 64 MiB, which the file lacks", with_size(64U << 20U), "truncated", {"metadata"}},
  });
}

TEST_CASE("what may surround and fill metadata is taken", "[apr_parse]") {
  const auto text_of = [](const std::string& metadata) {
    const file_bytes file = with_metadata(metadata);
    return std::string(nibble::apr::parse(file).metadata_text);
  };
  CHECK(text_of("\xEF\xBB\xBF{\"a\":1}") == "{\"a\":1}");
  CHECK(text_of(" \t\r\n{\"a\":1} \n") == "{\"a\":1}");
  CHECK(text_of("{\"a\":1}\0\0\0\0"s) == "{\"a\":1}");
  CHECK(text_of("\xEF\xBB\xBF \n{ \"a\" : 1 }\n\0\0"s) == "{ \"a\" : 1 }");
  CHECK(text_of("{\"a\":1,\"a\":2}") == "{\"a\":1,\"a\":2}");
  CHECK(nibble::apr::parse(with_metadata("{\"a\":1,\"a\":2}")).metadata.dump() == "{\"a\":2}");
  CHECK(nibble::apr::parse(with_metadata(nested(128))).metadata.is_object());
  CHECK(nibble::apr::parse(with_metadata("{\"a\":18446744073709551615}")).metadata["a"] ==
        std::numeric_limits<std::uint64_t>::max());
  CHECK(nibble::apr::parse(with_metadata("{\"\":{},\"a.b\":\"\\u0000\"}")).metadata["a.b"] == "\0"s);
}

TEST_CASE("metadata that is no JSON object is refused", "[apr_parse]") {
  check_refused({
      {"nothing", with_metadata(""), "bad_metadata", {"metadata", "JSON object"}},
      {"only padding", with_metadata("\0\0\0"s), "bad_metadata", {"metadata", "JSON object"}},
      {"an array", with_metadata("[{}]"), "bad_metadata", {"metadata", "array"}},
      {"null", with_metadata("null"), "bad_metadata", {"metadata", "null"}},
      {"a number", with_metadata("1"), "bad_metadata", {"metadata", "number"}},
      {"not UTF-8", with_metadata("{\"a\":\"\xFF\"}"), "bad_metadata", {"metadata", "0xff", "UTF-8"}},
      {"Latin-1 in a key",
       with_metadata("{\"\xE9\":1}"),
       "bad_metadata",
       {"metadata", "0xe9", "UTF-8"}},
      {"UTF-16", with_metadata("\xFF\xFE{\0}\0"s), "bad_metadata", {"metadata", "UTF-8"}},
      {"129 levels", with_metadata(nested(129)), "bad_metadata", {"metadata", "nesting", "128"}},
      {"100,000 levels", with_metadata(nested(100'000)), "bad_metadata", {"metadata", "nesting"}},
      {"1e400", with_metadata("{\"a\":1e400}"), "bad_metadata", {"metadata", "1e400"}},
      {"cut", with_metadata("{\"a\":"), "bad_metadata", {"metadata"}},
      {"two objects", with_metadata("{}{}"), "bad_metadata", {"metadata"}},
      {"text behind zeros", with_metadata("{}\0{\"a\":1}"s), "bad_metadata", {"metadata"}},
      {"zeros before the text", with_metadata("\0{}"s), "bad_metadata", {"metadata"}},
  });
}

TEST_CASE("a record that contradicts the file is refused", "[apr_parse]") {
  const auto edited = [](std::string_view from, std::string_view to) {
    apr_file file = recorded_sample();
    const std::size_t at = file.metadata.find(from);
    REQUIRE(at != std::string::npos);
    file.metadata.replace(at, from.size(), to);
    return file.bytes();
  };
  const auto retyped = [](std::size_t tensor, int id) {
    apr_file file = recorded_sample();
    file.tensors[tensor].dtype_id = id;
    return file.bytes();
  };
  check_refused({
      {"version 2",
       edited("\"version\":1", "\"version\":2"),
       "unsupported_version",
       {"metadata.nibble.version", "2"}},
      {"block bytes",
       edited("\"block_bytes\":20", "\"block_bytes\":18"),
       "bad_record",
       {"metadata.nibble.packing"}},
      {"q4 recorded as q8",
       edited("0505", "0506"),
       "bad_record",
       {"g.q4", "dtype id", "8", "9 for q8"}},
      {"one tensor too few",
       edited("\"tensors\":\"00", "\"tensors\":\""),
       "bad_record",
       {"metadata.nibble.tensors", "9 tensors"}},
      {"an id that q4 does not bear", retyped(6, 128), "bad_record", {"g.q4", "128", "q4"}},
      {"the id that q4 would have in GGUF", retyped(6, 3), "bad_record", {"g.q4", "3"}},
      {"an id that nothing bears", retyped(6, 77), "bad_record", {"g.q4", "77"}},
  });
  SECTION("apr_q4 and apr_q8 may bear their old ids") {
    apr_file file = recorded_sample();
    file.tensors[0].dtype_id = 8;
    file.tensors[1].dtype_id = 9;
    CHECK(nibble::apr::parse(file.bytes()).tensors[0].encoding == nibble::encoding::apr_q4);
  }
  SECTION("a size that the recorded encoding does not have") {
    apr_file file = recorded_sample();
    file.tensors[6].bytes.resize(72);  // what apr_q4 would need for 2 x 33 is 54, q8_0 136
    const outcome result = parse(file.bytes());
    CHECK(result.code == "size_mismatch");
    CHECK(missing_parts(result.message, {"g.q4", "72", "80", "2x33"}).empty());
  }
}

TEST_CASE("index entries that are malformed are refused", "[apr_parse]") {
  const auto named = [](const std::string& name) {
    return with_tensors({tame_tensor(name, "f32", {2})});
  };
  const auto shaped = [](std::vector<std::uint64_t> dimensions) {
    return with_tensors({{.name = "w", .dimensions = std::move(dimensions), .bytes = file_bytes(8)}});
  };
  const std::string longest(256, 'n');
  check_refused({
      {"names equal",
       with_tensors({tame_tensor("a", "f32", {1}), tame_tensor("a", "f32", {1})}),
       "bad_index",
       {"'a'", "index entry 1", "strictly increasing"}},
      {"names falling",
       with_tensors({tame_tensor("b", "f32", {1}), tame_tensor("a", "f32", {1})}),
       "bad_index",
       {"'a'", "'b'", "index entry 1", "strictly increasing"}},
      {"a prefix behind",
       with_tensors({tame_tensor("ab", "f32", {1}), tame_tensor("a", "f32", {1})}),
       "bad_index",
       {"strictly increasing"}},
      // As signed bytes they would increase.
      {"bytes above 127 before those below",
       with_tensors({tame_tensor("\xC3\xA9", "f32", {1}), tame_tensor("z", "f32", {1})}),
       "bad_index",
       {"'z'", "strictly increasing"}},
      {"a name of 257 bytes", named(longest + "n"), "bad_name", {"index entry 0", "257", "256"}},
      {"a name of 65,535 bytes", named(std::string(65'535, 'n')), "bad_name", {"65535"}},
      {"a name that is not UTF-8", named("w\xFF"), "bad_name", {"index entry 0", "UTF-8", "w\\xff"}},
      {"nine dimensions",
       shaped({1, 1, 1, 1, 1, 1, 1, 1, 2}),
       "bad_shape",
       {"'w'", "dimension count", "found 9", "8"}},
      {"255 dimensions",
       with_tensors({{.name = "w", .dimensions = {2}, .bytes = file_bytes(8), .rank = 255}}),
       "bad_shape",
       {"'w'", "found 255"}},
      {"2^64 elements",
       shaped({std::uint64_t{1} << 32U, std::uint64_t{1} << 32U}),
       "bad_shape",
       {"'w'", "4294967296x4294967296", "2^63"}},
      {"just over 2^63 elements",
       shaped({(std::uint64_t{1} << 63U) + 1}),
       "bad_shape",
       {"'w'", "2^63"}},
      // The product wraps round to 2, as many as there are bytes for.
      {"a product that wraps",
       shaped({(std::uint64_t{1} << 63U) + 1, 2}),
       "bad_shape",
       {"'w'", "2^63"}},
      {"2^63 elements in 8 bytes", shaped({std::uint64_t{1} << 63U}), "size_mismatch", {"'w'"}},
  });
  SECTION("256 bytes are a name") {
    CHECK(nibble::apr::parse(named(longest)).tensors[0].name == longest);
  }
  SECTION("names sort by bytes") {
    const auto parsed = nibble::apr::parse(
        with_tensors({tame_tensor("Z", "f32", {1}), tame_tensor("a", "f32", {1}),
                      tame_tensor("a.10", "f32", {1}), tame_tensor("a.9", "f32", {1}),
                      tame_tensor("\xC3\xA9", "f32", {1}), tame_tensor("\xE5\xB1\x82", "f32", {1})}));
    CHECK(parsed.tensors.size() == 6);
  }
  SECTION("a product of no elements may have any other dimensions") {
    const auto parsed = nibble::apr::parse(
        with_tensors({{.name = "w", .dimensions = {std::uint64_t{1} << 63U, 4, 0}}}));
    CHECK(parsed.tensors[0].shape.elements() == 0);
  }
}

TEST_CASE("an empty name is refused with a record and noted without", "[apr_parse]") {
  apr_file plain = plain_sample();
  plain.tensors[0].name.clear();
  const auto notes = notes_of(plain.bytes());
  REQUIRE(notes.size() == 1);
  CHECK(missing_parts(notes[0], {"index entry 0", "name is empty"}).empty());
  apr_file recorded = recorded_sample();
  recorded.tensors[0].name.clear();
  const outcome result = parse(recorded.bytes());
  CHECK(result.code == "bad_name");
  CHECK(missing_parts(result.message, {"index entry 0", "0 bytes"}).empty());
}

TEST_CASE("an index of fewer or more bytes than its tensors is refused", "[apr_parse]") {
  SECTION("more tensors than the index could hold") {
    for (const std::uint32_t count : {std::uint32_t{10}, std::uint32_t{1} << 20U, 0xFFFFFFFFU}) {
      const outcome result = parse(with_header(at_tensor_count, count));
      CHECK(result.code == "bad_index");
      CHECK(missing_parts(result.message, {"header.tensor_count", fmt::format("found {}", count)})
                .empty());
    }
  }
  SECTION("one tensor more than there are entries") {
    // Padding reads as the entry of a tensor without a name, which does not increase.
    const outcome result = parse(with_header(at_tensor_count, std::uint32_t{4}));
    CHECK(result.code == "bad_index");
    CHECK(missing_parts(result.message, {"index entry 3"}).empty());
  }
  SECTION("one tensor less") {
    const outcome result = parse(with_header(at_tensor_count, std::uint32_t{2}));
    CHECK(result.code == "bad_index");
    CHECK(missing_parts(result.message, {"index", "behind entry 2", "padding"}).empty());
  }
  SECTION("no tensors") {
    CHECK(parse(with_header(at_tensor_count, std::uint32_t{0})).code == "bad_index");
  }
  SECTION("padding that is not zero") {
    apr_file file = plain_sample();
    file.behind_entries = {std::byte{0}, std::byte{1}};
    CHECK(parse(file.bytes()).code == "bad_index");
  }
  SECTION("64 bytes of zeros too many") {
    apr_file file = plain_sample();
    file.behind_entries.resize(64);
    CHECK(parse(file.bytes()).code == "bad_index");
  }
  SECTION("an entry cut by the data, at any byte") {
    const apr_file file{.tensors = {tame_tensor("wxyz", "f32", {2, 3})}};
    const file_bytes whole = file.bytes();
    const auto index = number_at<std::uint64_t>(whole, at_index_offset);
    const std::uint64_t entry_bytes = 2 + 4 + 1 + 1 + 16 + 8 + 8;
    for (std::uint64_t cut = 0; cut < entry_bytes; ++cut) {
      file_bytes short_index = whole;
      put_number(short_index, at_data_offset, std::uint64_t{index + cut});
      nibble_test::seal_header(short_index);
      const outcome result = parse(short_index);
      CHECK(result.code == "bad_index");
      CHECK(missing_parts(result.message, {cut < 20 ? "tensor_count" : "index entry 0"}).empty());
    }
  }
  SECTION("a name that reaches into the data") {
    apr_file file = plain_sample();
    file.tensors[2].name_bytes = 200;
    const outcome result = parse(file.bytes());
    CHECK(result.code == "bad_index");
    CHECK(missing_parts(result.message, {"index entry 2", "name"}).empty());
  }
}

TEST_CASE("tensors past the end, overlapping or of a wrong size are refused", "[apr_parse]") {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const auto data = number_at<std::uint64_t>(plain_sample().bytes(), at_data_offset);
  const auto placed = [](std::uint64_t offset_of_b) {
    apr_file file = plain_sample();
    file.tensors[1].offset = offset_of_b;
    return file.bytes();
  };
  const auto sized = [](std::uint64_t size) {
    apr_file file = plain_sample();
    file.tensors[1].size = size;
    return file.bytes();
  };
  check_refused({
      {"past the end", placed(1U << 25U), "truncated", {"'b'", "data", "at least"}},
      {"past 2^64", placed(most), "truncated", {"'b'", "offset and size"}},
      {"an end past 2^64", placed(most - data - 10), "truncated", {"'b'", "offset and size"}},
      {"on another", placed(0), "bad_layout", {"'b'", "offset", "'a'"}},
      {"reaching into the next", sized(65), "size_mismatch", {"'b'", "65 bytes", "36 for apr_q4"}},
      {"a byte short", sized(35), "size_mismatch", {"'b'", "35 bytes", "36 for apr_q4"}},
      {"no bytes", sized(0), "size_mismatch", {"'b'", "0 bytes"}},
      {"all bytes", sized(most), "truncated", {"'b'"}},
  });
  SECTION("an unknown dtype of no known size may still not reach past the end or overlap") {
    apr_file file = plain_sample();
    file.tensors[1] = {.name = "b", .dtype_id = 77, .dimensions = {9}, .bytes = file_bytes(33)};
    CHECK(parse(file.bytes()).code == "taken");
    file.tensors[1].size = 65;
    const outcome overlapping = parse(file.bytes());
    CHECK(overlapping.code == "bad_layout");
    CHECK(missing_parts(overlapping.message, {"'c'", "'b'"}).empty());
    file.tensors[1].size = 1U << 20U;
    CHECK(parse(file.bytes()).code == "truncated");
  }
  SECTION("one byte of overlap") {
    apr_file file = plain_sample();
    file.tensors[1].offset = 23;  // 'a' has 24 bytes
    const outcome result = parse(file.bytes());
    CHECK(result.code == "bad_layout");
    CHECK(missing_parts(result.message, {"'b'", "'a'"}).empty());
  }
  SECTION("an empty tensor past the end") {
    const outcome result = parse(with_tensors(
        {tame_tensor("a", "f32", {1}), {.name = "b", .dimensions = {0}, .offset = 1U << 26U}}));
    CHECK(result.code == "truncated");
    CHECK(missing_parts(result.message, {"'b'"}).empty());
  }
}

TEST_CASE("empty tensors may share an offset with each other and with one that is not", "[apr_parse]") {
  const auto parsed =
      nibble::apr::parse(with_tensors({{.name = "a", .dimensions = {0}, .offset = 0},
                                       tame_tensor("b", "f32", {3}),
                                       {.name = "c", .dimensions = {4, 0}, .offset = 64},
                                       {.name = "d", .dimensions = {0}, .offset = 0}}));
  CHECK(parsed.tensors.size() == 4);
}

TEST_CASE("tensors in another order than the index or with room between them are taken",
          "[apr_parse]") {
  const auto notes =
      notes_of(with_tensors({tame_tensor("a", "f32", {16}, 1),
                             {.name = "b", .dimensions = {2}, .bytes = file_bytes(8), .offset = 256}}));
  REQUIRE(notes.size() == 1);
  CHECK(missing_parts(notes[0], {"layout"}).empty());
}

TEST_CASE("a tensor that is not on a multiple of 64 is taken and noted", "[apr_parse]") {
  apr_file file = plain_sample();
  file.tensors[1].offset = 24;
  const auto notes = notes_of(file.bytes());
  REQUIRE_FALSE(notes.empty());
  CHECK(missing_parts(notes[0], {"b|offset", "multiple of 64"}).empty());
}

TEST_CASE("a footer may be absent where there is no record", "[apr_parse]") {
  apr_file plain = plain_sample();
  plain.has_footer = false;
  const auto notes = notes_of(plain.bytes());
  REQUIRE(notes.size() == 1);
  CHECK(missing_parts(notes[0], {"footer", "absent"}).empty());
  apr_file recorded = recorded_sample();
  recorded.has_footer = false;
  const outcome result = parse(recorded.bytes());
  CHECK(result.code == "missing_footer");
  CHECK(missing_parts(result.message, {"footer"}).empty());
}

TEST_CASE("nothing but four footer bytes may follow the padded data", "[apr_parse]") {
  for (const apr_file& file : {plain_sample(), recorded_sample(), apr_file{}}) {
    const file_bytes whole = file.bytes();
    for (const std::size_t more : {1U, 2U, 4U, 60U, 64U, 1000U}) {
      for (const std::byte filling : {std::byte{0}, std::byte{'x'}}) {
        file_bytes longer = whole;
        longer.resize(whole.size() + more, filling);
        const outcome result = parse(longer);
        CHECK(result.code == "bad_layout");
        CHECK(missing_parts(result.message, {"footer", fmt::format("{} bytes", 4 + more)}).empty());
      }
    }
    for (const std::size_t left : {1U, 2U, 3U}) {
      const file_bytes cut(whole.begin(), whole.end() - static_cast<std::ptrdiff_t>(4 - left));
      const outcome result = parse(cut);
      CHECK(result.code == "truncated");
      CHECK(missing_parts(result.message, {"footer", fmt::format("{} bytes", left)}).empty());
    }
  }
}

TEST_CASE("a recorded file cut at any byte is refused for what it lacks", "[apr_parse]") {
  const apr_file file = recorded_sample();
  const file_bytes whole = file.bytes();
  REQUIRE(parse(whole).code == "taken");
  const auto data = number_at<std::uint64_t>(whole, at_data_offset);
  const std::size_t padded_end = whole.size() - 4;
  std::size_t data_end = static_cast<std::size_t>(data);
  for (const apr_tensor& tensor : file.tensors) {
    data_end = (data_end + 63) / 64 * 64 + tensor.bytes.size();
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // A vector of that size, so that a sanitizer sees the byte that is not there.
    const file_bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    CAPTURE(size);
    const outcome result = parse(cut);
    if (size < 4) {
      CHECK(result.code == "unknown_container");
    } else if (size == padded_end) {
      CHECK(result.code == "missing_footer");
    } else {
      CHECK(result.code == "truncated");
    }
    const std::string_view lacking = size < 64                          ? "header"
                                     : size < 64 + file.metadata.size() ? "metadata"
                                     : size < data                      ? "index"
                                     : size < data_end                  ? "data"
                                     : size < padded_end                ? "padding"
                                                                        : "footer";
    CHECK(missing_parts(result.message, {std::string(lacking)}).empty());
    const bool names_a_tensor = result.message.find("tensor '") != std::string::npos;
    CHECK(names_a_tensor == (size >= data && size < data_end));
  }
}

TEST_CASE("a recorded file with a large tensor is refused wherever it is cut", "[apr_parse]") {
  std::vector<apr_tensor> tensors = {tame_tensor("large", "q8", {300, 500}),
                                     tame_tensor("z", "f32", {5})};
  const std::string record = nibble_test::record_text(tensors, {"q8", "f32"});
  const file_bytes whole =
      apr_file{.metadata = "{\"nibble\":" + record + "}", .tensors = std::move(tensors)}.bytes();
  REQUIRE(parse(whole).code == "taken");
  std::mt19937 generator(5);
  for (int turn = 0; turn < 200; ++turn) {
    const std::size_t size = generator() % whole.size();
    const outcome result = parse({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    CHECK((result.code == "truncated" || result.code == "missing_footer"));
  }
}

TEST_CASE("whatever bytes a file has, it is refused or proved", "[apr_parse]") {
  std::mt19937 generator(17);
  std::set<std::string> codes;
  int taken = 0;
  for (int turn = 0; turn < 6000; ++turn) {
    const apr_file sample = turn % 2 == 0 ? recorded_sample() : plain_sample();
    file_bytes file = sample.bytes();
    const auto data = static_cast<std::size_t>(number_at<std::uint64_t>(file, at_data_offset));
    for (auto changes = 1 + generator() % 3U; changes != 0; --changes) {
      const std::size_t at = generator() % data;
      static constexpr unsigned telling[] = {0x00, 0x01, 0x7F, 0x80, 0xFF, 0x40, '"', '{'};
      const auto value =
          generator() % 2U == 0 ? telling[generator() % std::size(telling)] : generator() & 0xFFU;
      file[at] = static_cast<std::byte>(value);
    }
    if (generator() % 4U == 0) file.resize(generator() % (file.size() + 100U));
    if (file.size() >= 64) nibble_test::seal_header(file);
    try {
      const auto parsed = nibble::apr::parse(file);
      ++taken;
      std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
      for (const auto& tensor : parsed.tensors) {
        REQUIRE(tensor.file_offset_bytes <= file.size());
        REQUIRE(tensor.size_bytes <= file.size() - tensor.file_offset_bytes);
        if (tensor.encoding) {
          const std::vector<std::uint64_t> dimensions(tensor.shape.dimensions().begin(),
                                                      tensor.shape.dimensions().end());
          REQUIRE(tensor.size_bytes ==
                  nibble_test::size_by_formula(nibble::to_string(*tensor.encoding), dimensions));
        }
        if (tensor.size_bytes != 0) runs.emplace_back(tensor.file_offset_bytes, tensor.size_bytes);
      }
      std::ranges::sort(runs);
      for (std::size_t i = 1; i < runs.size(); ++i) {
        REQUIRE(runs[i - 1].first + runs[i - 1].second <= runs[i].first);
      }
    } catch (const nibble::error& thrown) {
      codes.insert(std::string(nibble::to_string(thrown.code())));
      REQUIRE(std::string_view(thrown.what()).find('\n') == std::string_view::npos);
    }
  }
  CHECK(taken > 50);
  CHECK(codes.size() >= 10);  // the mutations do reach every layer
}

TEST_CASE("random bytes behind the magic are never taken", "[apr_parse]") {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    file_bytes file = nibble_test::random_bytes(64 + seed, seed);
    std::ranges::copy(bytes_of("APR\0\2"s), file.begin());
    CHECK(parse(file).code == "header_checksum");
    nibble_test::seal_header(file);
    CHECK(parse(file).code != "taken");
  }
}

TEST_CASE("names from strangers are escaped in messages", "[apr_parse]") {
  const outcome result = parse(with_tensors({{.name = "evil\n\x1b[2J", .dimensions = {3}}}));
  CHECK(result.code == "size_mismatch");
  CHECK(missing_parts(result.message, {"evil\\x0a\\x1b[2J"}).empty());
}
