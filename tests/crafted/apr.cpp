#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/crafted_file.hpp>

using nibble_test::apr_file;
using nibble_test::apr_tensor;
using nibble_test::crafted_file;
using nibble_test::most;
using nibble_test::number_at;
using nibble_test::put_number;
using nibble_test::recorded_sample;
using nibble_test::repeated;
using nibble_test::tame_tensor;
using namespace std::string_literals;

namespace {

using file_bytes = std::vector<std::byte>;

/// Positions of header fields.
constexpr std::size_t at_major = 4;
constexpr std::size_t at_minor = 5;
constexpr std::size_t at_flags = 6;
constexpr std::size_t at_tensor_count = 8;
constexpr std::size_t at_metadata_offset = 12;
constexpr std::size_t at_metadata_size = 20;
constexpr std::size_t at_index_offset = 24;
constexpr std::size_t at_data_offset = 32;
constexpr std::size_t at_checksum = 40;
constexpr std::size_t at_reserved = 44;

/// Metadata of 2 bytes at 64, an index of 103 bytes at 128, data at 256, 516 bytes in all; no record.
apr_file plain_sample() {
  return {.tensors = {tame_tensor("a", "f32", {2, 3}), tame_tensor("b", "apr_q4", {3, 11}),
                      tame_tensor("c", "f16", {40})}};
}

/// Both checksums, as if the lie were the truth.
file_bytes sealed(file_bytes file) {
  nibble_test::seal_header(file);
  nibble_test::seal_footer(file);
  return file;
}

template <class Number>
file_bytes with_field(std::size_t at, Number number) {
  file_bytes file = plain_sample().bytes();
  put_number(file, at, number);
  return sealed(std::move(file));
}

file_bytes with_metadata(std::string metadata) {
  apr_file file = plain_sample();
  file.metadata = std::move(metadata);
  return file.bytes();
}

file_bytes with_tensors(std::vector<apr_tensor> tensors) {
  return apr_file{.tensors = std::move(tensors)}.bytes();
}

/// The plain sample with its second tensor changed.
file_bytes with_b(const std::function<void(apr_tensor&)>& lie) {
  apr_file file = plain_sample();
  lie(file.tensors[1]);
  return file.bytes();
}

/// The recorded sample with its metadata edited.
file_bytes with_record(std::string_view from, std::string_view to) {
  apr_file file = recorded_sample();
  const std::size_t at = file.metadata.find(from);
  REQUIRE(at != std::string::npos);
  file.metadata.replace(at, from.size(), to);
  return file.bytes();
}

std::string nested_json(std::size_t levels) {
  return "{\"a\":" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
}

void has_shape_3x11(const nibble::reader& in) {
  CHECK(in["b"].shape() == nibble::shape{3, 11});
  CHECK(in["b"].encoding() == nibble::encoding::apr_q4);
}

}  // namespace

TEST_CASE("an .apr header cannot lie", "[crafted_apr]") {
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"nothing", {}, "unknown_container", {"an empty file"}},
      {"magic", with_field(3, std::uint8_t{'1'}), "unknown_container", {"41 50 52 31"}},
      {"major version 0", with_field(at_major, std::uint8_t{0}), "unsupported_version", {"found 0"}},
      {"major version 1", with_field(at_major, std::uint8_t{1}), "unsupported_version", {"found 1"}},
      {"major version 3",
       with_field(at_major, std::uint8_t{3}),
       "unsupported_version",
       {"header.version", "found 3", "expected 2"}},
      {"major version 255", with_field(at_major, std::uint8_t{255}), "unsupported_version", {"255"}},
      {"minor version 255",
       with_field(at_minor, std::uint8_t{255}),
       "taken",
       {"header.version", "255"},
       has_shape_3x11},
      {"no flags", with_field(at_flags, std::uint16_t{0}), "taken", {"row-major"}, has_shape_3x11},
      {"LZ4",
       with_field(at_flags, std::uint16_t{0x401}),
       "unsupported_feature",
       {"header.flags", "LZ4"}},
      {"Zstd",
       with_field(at_flags, std::uint16_t{0x402}),
       "unsupported_feature",
       {"header.flags", "Zstd"}},
      {"encrypted",
       with_field(at_flags, std::uint16_t{0x404}),
       "unsupported_feature",
       {"header.flags", "encryption"}},
      {"signed", with_field(at_flags, std::uint16_t{0x408}), "taken", {"signature", "not checked"}},
      {"column-major",
       with_field(at_flags, std::uint16_t{0x800}),
       "unsupported_feature",
       {"header.flags", "column-major"}},
      {"column-major and row-major",
       with_field(at_flags, std::uint16_t{0xC00}),
       "unsupported_feature",
       {"header.flags", "column-major"}},
      {"all flags", with_field(at_flags, std::uint16_t{0xFFFF}), "unsupported_feature", {"0xffff"}},
      {"all flags that may be", with_field(at_flags, std::uint16_t{0xF7F8}), "taken", {"not known"}},
      {"no tensors", with_field(at_tensor_count, 0U), "bad_index", {"behind entry 0"}},
      {"one tensor", with_field(at_tensor_count, 1U), "bad_index", {"behind entry 1"}},
      {"a tensor less",
       with_field(at_tensor_count, 2U),
       "bad_index",
       {"crafted: index: ", "behind entry 2", "padding"}},
      {"a tensor more",
       with_field(at_tensor_count, 4U),
       "bad_index",
       {"index entry 3", "strictly increasing"}},
      {"10 tensors",
       with_field(at_tensor_count, 10U),
       "bad_index",
       {"header.tensor_count", "found 10", "at most 6"}},
      {"1,048,576 tensors",
       with_field(at_tensor_count, 1U << 20U),
       "bad_index",
       {"header.tensor_count", "found 1048576", "at most 6"}},
      {"4,294,967,295 tensors",
       with_field(at_tensor_count, 0xFFFFFFFFU),
       "bad_index",
       {"header.tensor_count", "found 4294967295", "at most 6"}},
      {"metadata at 0",
       with_field(at_metadata_offset, std::uint64_t{0}),
       "bad_layout",
       {"header.metadata_offset", "found 0", "at least 64"}},
      {"metadata at 1", with_field(at_metadata_offset, std::uint64_t{1}), "bad_layout", {"found 1"}},
      {"metadata at 63",
       with_field(at_metadata_offset, std::uint64_t{63}),
       "bad_layout",
       {"header.metadata_offset", "found 63", "at least 64"}},
      {"metadata a byte late", with_field(at_metadata_offset, std::uint64_t{65}), "bad_metadata"},
      {"metadata in its padding", with_field(at_metadata_offset, std::uint64_t{126}), "bad_metadata"},
      {"metadata reaching into the index",
       with_field(at_metadata_offset, std::uint64_t{127}),
       "bad_layout",
       {"header.tensor_index_offset", "found 128", "at least 129"}},
      {"metadata on the index",
       with_field(at_metadata_offset, std::uint64_t{128}),
       "bad_layout",
       {"header.tensor_index_offset", "found 128", "at least 130"}},
      {"metadata past the end",
       with_field(at_metadata_offset, std::uint64_t{516}),
       "bad_layout",
       {"header.tensor_index_offset"}},
      {"metadata that ends at 2^64 - 1",
       with_field(at_metadata_offset, most - 2),
       "bad_layout",
       {"header.tensor_index_offset"}},
      {"metadata that wraps to 0",
       with_field(at_metadata_offset, most - 1),
       "bad_layout",
       {"header.metadata_offset", fmt::format("found {}", most - 1), "2^64"}},
      {"metadata that wraps to 1",
       with_field(at_metadata_offset, most),
       "bad_layout",
       {"header.metadata_offset", fmt::format("found {}", most), "2^64"}},
      {"no metadata", with_field(at_metadata_size, 0U), "bad_metadata", {"JSON object"}},
      {"metadata a byte short", with_field(at_metadata_size, 1U), "bad_metadata", {"byte 1"}},
      {"metadata a byte long", with_field(at_metadata_size, 3U), "taken", {}, has_shape_3x11},
      {"metadata with its padding", with_field(at_metadata_size, 64U), "taken", {}, has_shape_3x11},
      {"metadata a byte into the index",
       with_field(at_metadata_size, 65U),
       "bad_layout",
       {"header.tensor_index_offset", "at least 129"}},
      {"metadata of 64 MiB", with_field(at_metadata_size, 64U << 20U), "bad_layout", {"index_offset"}},
      {"metadata of a byte more",
       with_field(at_metadata_size, (64U << 20U) + 1),
       "bad_metadata",
       {"header.metadata_size", "found 67108865", "at most 67108864"}},
      {"metadata of 4 GiB",
       with_field(at_metadata_size, 0xFFFFFFFFU),
       "bad_metadata",
       {"header.metadata_size", "4294967295"}},
      {"index at 0",
       with_field(at_index_offset, std::uint64_t{0}),
       "bad_layout",
       {"header.tensor_index_offset", "found 0"}},
      {"index at 1", with_field(at_index_offset, std::uint64_t{1}), "bad_layout", {"found 1"}},
      {"index in the metadata",
       with_field(at_index_offset, std::uint64_t{65}),
       "bad_layout",
       {"header.tensor_index_offset", "found 65", "at least 66"}},
      {"index in the padding before it",
       with_field(at_index_offset, std::uint64_t{66}),
       "size_mismatch",
       {"0 bytes", "4 for f32"}},
      {"index a byte early", with_field(at_index_offset, std::uint64_t{127}), "bad_index", {"name"}},
      {"index a byte late", with_field(at_index_offset, std::uint64_t{129}), "bad_name", {"entry 0"}},
      {"index without room",
       with_field(at_index_offset, std::uint64_t{256}),
       "bad_index",
       {"header.tensor_count", "found 3", "at most 0"}},
      {"index behind the data",
       with_field(at_index_offset, std::uint64_t{257}),
       "bad_layout",
       {"header.data_offset", "found 256", "at least 257"}},
      {"index at 2^64 - 1", with_field(at_index_offset, most), "bad_layout", {"header.data_offset"}},
      {"data at 0", with_field(at_data_offset, std::uint64_t{0}), "bad_layout", {"found 0"}},
      {"data at 1", with_field(at_data_offset, std::uint64_t{1}), "bad_layout", {"found 1"}},
      {"data in the metadata",
       with_field(at_data_offset, std::uint64_t{64}),
       "bad_layout",
       {"header.data_offset", "found 64", "at least 128"}},
      {"data on the index", with_field(at_data_offset, std::uint64_t{128}), "bad_index", {"at most 0"}},
      {"data a byte early: every tensor a byte before its place, as a file without a record may say",
       with_field(at_data_offset, std::uint64_t{255}),
       "taken",
       {"a offset: 255 is no multiple of 64", "layout"},
       has_shape_3x11},
      {"data a byte late", with_field(at_data_offset, std::uint64_t{257}), "bad_index", {"padding"}},
      {"data at the end", with_field(at_data_offset, std::uint64_t{516}), "bad_index", {"padding"}},
      {"data past the end",
       with_field(at_data_offset, std::uint64_t{517}),
       "truncated",
       {"index", "a file of 516 bytes", "at least 517"}},
      {"data at 2^64 - 1", with_field(at_data_offset, most), "truncated", {"index"}},
      {"reserved bytes", with_field(at_reserved, most), "taken", {"header.reserved"}, has_shape_3x11},
  });
}

TEST_CASE("a stale checksum of an .apr file is found", "[crafted_apr]") {
  const auto unsealed = [](std::size_t at, auto number) {
    file_bytes file = plain_sample().bytes();
    put_number(file, at, number);
    return file;
  };
  const auto is_damaged = [](const nibble::reader& in) {
    CHECK(nibble_test::outcome_of([&] { in.verify(); }).code == "damaged");
  };
  file_bytes stale_tensor = recorded_sample().bytes();
  stale_tensor[stale_tensor.size() - 4 - 64] ^= std::byte{1};  // of the last tensor
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"a header field", unsealed(at_tensor_count, 2U), "header_checksum", {"header.checksum"}},
      {"a reserved byte", unsealed(at_reserved, std::uint8_t{1}), "header_checksum"},
      {"the header's checksum 0",
       unsealed(at_checksum, 0U),
       "header_checksum",
       {"header.checksum", "found 00000000"}},
      {"the header's checksum maximal",
       unsealed(at_checksum, 0xFFFFFFFFU),
       "header_checksum",
       {"header.checksum", "found ffffffff"}},
      {"a version that a stale checksum covers", unsealed(at_major, std::uint8_t{3}),
       "unsupported_version"},
      {"metadata", unsealed(64, std::uint16_t{0x7D7B}), "taken"},  // the same bytes: nothing is stale
      {"a byte of data", unsealed(300, std::uint8_t{0xAA}), "taken", {"footer: recorded"}, is_damaged},
      {"the footer", unsealed(512, 0U), "taken", {"footer: recorded CRC-32 00000000"}, is_damaged},
      {"a tensor's checksum, the file's made right",
       sealed(stale_tensor),
       "taken",
       {"i.scalar crc32: recorded"},
       is_damaged},
      {"a recorded checksum",
       with_record("crc32\":\"", "crc32\":\"00000000\",\"was\":\""),
       "bad_record",
       {"metadata.nibble.crc32", "8 digits", "9 tensors"}},
  });
}

TEST_CASE("sections of an .apr file cannot reach past its end", "[crafted_apr]") {
  const auto placed = [](std::uint32_t metadata_size, std::uint64_t index, std::uint64_t data) {
    file_bytes file = plain_sample().bytes();
    put_number(file, at_metadata_size, metadata_size);
    put_number(file, at_index_offset, index);
    put_number(file, at_data_offset, data);
    return sealed(std::move(file));
  };
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"index and data", placed(2, 576, 640), "truncated", {"index", "516 bytes", "at least 640"}},
      {"index and data at 2^64 - 1", placed(2, most, most), "truncated", {"index"}},
      {"metadata", placed(516, 580, 640), "truncated", {"metadata", "516 bytes", "at least 580"}},
      {"64 MiB of metadata",
       placed(64U << 20U, std::uint64_t{1} << 33U, std::uint64_t{1} << 33U),
       "truncated",
       {"metadata"}},
      {"a byte more",
       placed((64U << 20U) + 1, std::uint64_t{1} << 33U, std::uint64_t{1} << 33U),
       "bad_metadata",
       {"header.metadata_size", "found 67108865", "at most 67108864"}},
      {"all that the field holds",
       placed(0xFFFFFFFFU, std::uint64_t{1} << 33U, std::uint64_t{1} << 33U),
       "bad_metadata",
       {"header.metadata_size", "found 4294967295"}},
      {"a footer a byte short",
       [] {
         file_bytes file = plain_sample().bytes();
         file.pop_back();
         return file;
       }(),
       "truncated",
       {"footer", "3 bytes"}},
      {"a footer a byte long",
       [] {
         file_bytes file = plain_sample().bytes();
         file.push_back(std::byte{0});
         return file;
       }(),
       "bad_layout",
       {"footer", "5 bytes"}},
  });
}

TEST_CASE("metadata of an .apr file is a JSON object, whatever it says", "[crafted_apr]") {
  const auto has = [](const char* key, nlohmann::json value) {
    return [=](const nibble::reader& in) { CHECK(in.metadata().at(key) == value); };
  };
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"a BOM", with_metadata("\xEF\xBB\xBF{\"a\":1}"), "taken", {}, has("a", 1)},
      {"white space and zeros", with_metadata(" \n{\"a\":1}\t\0\0"s), "taken", {}, has("a", 1)},
      {"a key twice", with_metadata(R"({"a":1,"a":[2]})"), "taken", {}, has("a", {2})},
      {"a key twice, the first huge",
       with_metadata("{\"a\":[" + std::string(500, '1') + "e-900],\"a\":2}"),
       "taken",
       {},
       has("a", 2)},
      {"128 levels", with_metadata(nested_json(128)), "taken"},
      {"the largest double",
       with_metadata(R"({"a":1.7976931348623157e308})"),
       "taken",
       {},
       has("a", std::numeric_limits<double>::max())},
      {"2^64 - 1", with_metadata(R"({"a":18446744073709551615})"), "taken", {}, has("a", most)},
      {"2^64", with_metadata(R"({"a":18446744073709551616})"), "taken", {}, has("a", 0x1p64)},
      {"nothing", with_metadata(""), "bad_metadata", {"crafted: metadata", "JSON object"}},
      {"only padding", with_metadata("\0\0\0"s), "bad_metadata", {"crafted: metadata", "JSON object"}},
      {"only a BOM", with_metadata("\xEF\xBB\xBF"), "bad_metadata", {"JSON object"}},
      {"two BOMs", with_metadata("\xEF\xBB\xBF\xEF\xBB\xBF{}"), "bad_metadata"},
      {"an array", with_metadata("[{}]"), "bad_metadata", {"crafted: metadata", "a JSON array"}},
      {"null", with_metadata("null"), "bad_metadata", {"crafted: metadata", "null"}},
      {"a string", with_metadata("\"{}\""), "bad_metadata", {"string"}},
      {"a number", with_metadata("1"), "bad_metadata", {"crafted: metadata", "number"}},
      {"not UTF-8",
       with_metadata("{\"a\":\"\xFF\"}"),
       "bad_metadata",
       {"crafted: metadata", "0xff at 6", "UTF-8"}},
      {"Latin-1 in a key",
       with_metadata("{\"\xE9\":1}"),
       "bad_metadata",
       {"crafted: metadata", "0xe9 at 2", "UTF-8"}},
      {"UTF-16", with_metadata("\xFF\xFE{\0}\0"s), "bad_metadata", {"crafted: metadata", "UTF-8"}},
      {"half a pair of surrogates", with_metadata(R"({"a":"\ud800"})"), "bad_metadata", {"surrogates"}},
      {"129 levels",
       with_metadata(nested_json(129)),
       "bad_metadata",
       {"crafted: metadata", "nesting", "at most 128"}},
      {"1,000,000 levels",
       with_metadata(nested_json(1'000'000)),
       "bad_metadata",
       {"crafted: metadata", "nesting"}},
      {"1,000,000 levels that never close",
       with_metadata("{\"a\":" + repeated(5'000'000, "{\"\":")),
       "bad_metadata",
       {"nesting"}},
      {"1e400", with_metadata(R"({"a":1e400})"), "bad_metadata", {"crafted: metadata", "1e400"}},
      {"a number of 1,001 digits, which no double holds",
       with_metadata("{\"a\":" + std::string(1'001, '9') + "}"),
       "bad_metadata",
       {"metadata, byte", "a number of at most 1000 characters"}},
      {"NaN", with_metadata(R"({"a":NaN})"), "bad_metadata", {"metadata, byte 5"}},
      {"cut", with_metadata("{\"a\":"), "bad_metadata", {"metadata, byte 5"}},
      {"a control character in a string", with_metadata("{\"a\":\"\x1b[2J\"}"), "bad_metadata"},
      {"two objects", with_metadata("{}{}"), "bad_metadata", {"metadata, byte 2"}},
      {"text behind zeros",
       with_metadata("{}\0{\"a\":1}"s),
       "bad_metadata",
       {"crafted: metadata", "zero byte"}},
      {"zeros before the text",
       with_metadata("\0{}"s),
       "bad_metadata",
       {"crafted: metadata", "zero byte"}},
  });
}

TEST_CASE("an .apr file's record of its packing cannot lie", "[crafted_apr]") {
  const auto retyped = [](std::size_t tensor, int id) {
    apr_file file = recorded_sample();
    file.tensors[tensor].dtype_id = id;
    return file.bytes();
  };
  const auto alone = [](const std::string& record) {
    return with_metadata("{\"nibble\":" + record + "}");
  };
  apr_file no_footer = recorded_sample();
  no_footer.has_footer = false;
  apr_file no_name = recorded_sample();
  no_name.tensors[0].name.clear();
  apr_file other_size = recorded_sample();
  other_size.tensors[6].bytes.resize(72);
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"no object", alone("[]"), "bad_record", {"metadata.nibble.version", "array"}},
      {"null", alone("null"), "bad_record", {"metadata.nibble"}},
      {"nothing in it", alone("{}"), "bad_record", {"metadata.nibble.version", "found none"}},
      {"version 0", with_record("\"version\":1", "\"version\":0"), "unsupported_version", {"found 0"}},
      {"version 2",
       with_record("\"version\":1", "\"version\":2"),
       "unsupported_version",
       {"metadata.nibble.version", "found 2"}},
      {"version 1.5", with_record("\"version\":1", "\"version\":1.5"), "bad_record", {"1.5"}},
      {"version 2^64 - 1", with_record("\"version\":1", "\"version\":18446744073709551615"),
       "unsupported_version"},
      {"version as text", with_record("\"version\":1", "\"version\":\"1\""), "bad_record"},
      {"no packing", with_record("\"packing\"", "\"pack\""), "bad_record", {"packing", "found none"}},
      {"block bytes",
       with_record("\"block_bytes\":20", "\"block_bytes\":18"),
       "bad_record",
       {"metadata.nibble.packing", "18", "20"}},
      {"block elements",
       with_record("\"block_elements\":32", "\"block_elements\":4294967328"),
       "bad_record",
       {"metadata.nibble.packing", "4294967328"}},
      {"an encoding that nobody knows",
       with_record("\"encoding\":\"q4\"", "\"encoding\":\"q\\u001b[2J\""),
       "bad_record",
       {"metadata.nibble.packing", "q\\x1b[2J"}},
      {"q4 recorded as q8: the id is not its",
       with_record("0505", "0506"),
       "bad_record",
       {"tensor 'g.q4'", "dtype id", "found 8", "9 for q8"}},
      {"q4 recorded as f32", with_record("0505", "0504"), "bad_record", {"tensor 'g.q4'", "0 for f32"}},
      {"an encoding past the list",
       with_record("0505", "05ff"),
       "bad_record",
       {"place 255", "tensor 6"}},
      {"upper-case digits", with_record("0505", "050F"), "bad_record", {"0F", "lower-case"}},
      {"a tensor too few",
       with_record("\"tensors\":\"00", "\"tensors\":\""),
       "bad_record",
       {"metadata.nibble.tensors", "16 digits", "9 tensors"}},
      {"a tensor too many",
       with_record("\"tensors\":\"00", "\"tensors\":\"0000"),
       "bad_record",
       {"20"}},
      {"half a tensor", with_record("\"tensors\":\"00", "\"tensors\":\"000"), "bad_record", {"19"}},
      {"10,000 encodings",
       with_record("\"packing\":[", "\"packing\":[" + repeated(180'000, "{\"encoding\":\"f32\"},")),
       "bad_record",
       {"metadata.nibble.packing", "at most 256"}},
      {"an id that q4 does not bear", retyped(6, 128), "bad_record", {"'g.q4'", "128", "8 for q4"}},
      {"the id that q4 would have in GGUF", retyped(6, 3), "bad_record", {"'g.q4'", "found 3"}},
      {"an id that nothing bears", retyped(6, 77), "bad_record", {"'g.q4'", "found 77"}},
      {"the old id of apr_q4",
       retyped(0, 8),
       "taken",
       {},
       [](const nibble::reader& in) { CHECK(in["a.apr_q4"].encoding() == nibble::encoding::apr_q4); }},
      {"bytes of another size",
       other_size.bytes(),
       "size_mismatch",
       {"'g.q4'", "72 bytes", "80 for q4 of 2x33"}},
      {"no footer", no_footer.bytes(), "missing_footer", {"crafted: footer: ", "found none"}},
      {"an empty name", no_name.bytes(), "bad_name", {"index entry 0", "0 bytes", "1 to 256"}},
  });
}

TEST_CASE("names of an .apr file's index cannot lie", "[crafted_apr]") {
  const auto named = [](const std::string& name) {
    return with_tensors({tame_tensor(name, "f32", {2})});
  };
  const auto two = [](const std::string& first, const std::string& second) {
    return with_tensors({tame_tensor(first, "f32", {1}), tame_tensor(second, "f32", {1})});
  };
  const auto name_bytes = [](int count) {
    return with_b([=](apr_tensor& b) { b.name_bytes = count; });
  };
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"an empty name in a file without a record", named(""), "taken", {"the name is empty"}},
      {"256 bytes", named(std::string(256, 'n')), "taken"},
      {"257 bytes", named(std::string(257, 'n')), "bad_name", {"index entry 0", "257", "0 to 256"}},
      {"65,535 bytes", named(std::string(65'535, 'n')), "bad_name", {"65535"}},
      {"not UTF-8", named("w\xFF"), "bad_name", {"tensor 'w\\xff'", "index entry 0", "UTF-8"}},
      {"cut UTF-8", named("w\xE5\xB1"), "bad_name", {"UTF-8"}},
      {"an overlong slash", named("\xC0\xAF"), "bad_name", {"UTF-8"}},
      {"control characters in a name that is read",
       with_tensors({{.name = "evil\n\x1b[2J\xE2\x80\xAE", .dimensions = {3}}}),
       "size_mismatch",
       {"evil\\x0a\\x1b[2J\\xe2\\x80\\xae", "0 bytes", "12 for f32"}},
      {"a zero byte in a name",
       with_tensors({{.name = "a\0b"s, .dimensions = {3}}}),
       "size_mismatch",
       {"a\\x00b"}},
      {"a name twice", two("a", "a"), "bad_index", {"'a'", "index entry 1", "strictly increasing"}},
      {"names falling",
       two("b", "a"),
       "bad_index",
       {"tensor 'a'", "index entry 1", "'a' behind 'b'", "strictly increasing"}},
      {"a prefix behind", two("ab", "a"), "bad_index", {"strictly increasing"}},
      // As signed bytes they would increase.
      {"bytes above 127 first",
       two("\xC3\xA9", "z"),
       "bad_index",
       {"tensor 'z'", "strictly increasing"}},
      {"an empty name behind another", two("a", ""), "bad_index", {"index entry 1"}},
      // What follows is read from other places than it was written to.
      {"a name of 0 of its 1 bytes", name_bytes(0), "bad_index", {"index entry 1"}},
      {"a name of a byte more", name_bytes(2), "bad_name", {"tensor 'b\\x80'"}},
      {"a name up to the data", name_bytes(89), "bad_name", {"index entry 1", "UTF-8"}},
      {"a name into the data", name_bytes(90), "bad_index", {"index entry 1, name", "at least 90"}},
      {"a name of 65,535 bytes that are not there", name_bytes(65'535), "bad_name", {"65535"}},
  });
}

TEST_CASE("shapes of an .apr file's tensors cannot lie", "[crafted_apr]") {
  const auto shaped = [](std::vector<std::uint64_t> dimensions, std::size_t bytes = 8) {
    return with_tensors(
        {{.name = "w", .dimensions = std::move(dimensions), .bytes = file_bytes(bytes)}});
  };
  const auto ranked = [](int rank) {
    return with_tensors({{.name = "w", .dimensions = {2}, .bytes = file_bytes(8), .rank = rank}});
  };
  constexpr std::uint64_t two_to_32 = std::uint64_t{1} << 32U;
  constexpr std::uint64_t two_to_62 = std::uint64_t{1} << 62U;
  constexpr std::uint64_t two_to_63 = std::uint64_t{1} << 63U;
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"8 dimensions", shaped({1, 1, 1, 1, 1, 1, 1, 2}), "taken"},
      {"9 dimensions",
       shaped({1, 1, 1, 1, 1, 1, 1, 1, 2}),
       "bad_shape",
       {"'w'", "dimension count", "found 9", "8"}},
      {"255 dimensions", ranked(255), "bad_shape", {"'w'", "dimension count", "found 255"}},
      {"a dimension less than there is: the rest is read a place too early",
       ranked(0),
       "size_mismatch",
       {"'w'", "scalar"}},
      {"a dimension more than there is, which makes the tensor empty",
       ranked(2),
       "bad_layout",
       {"68 bytes behind the data"}},
      {"more dimensions than the index has room for", ranked(6), "bad_index", {"index entry 0"}},
      {"a scalar of 8 bytes", shaped({}), "size_mismatch", {"8 bytes", "4 for f32"}},
      {"no elements in 8 bytes", shaped({0}), "size_mismatch", {"8 bytes", "0 for f32"}},
      {"one element in 8 bytes", shaped({1}), "size_mismatch", {"8 bytes", "4 for f32"}},
      {"a size a byte short", shaped({2}, 7), "size_mismatch", {"7 bytes", "8 for f32"}},
      {"a size a byte long", shaped({2}, 9), "size_mismatch", {"9 bytes", "8 for f32"}},
      {"2^64 - 1 elements", shaped({most}), "bad_shape", {"'w'", "18446744073709551615", "2^63"}},
      {"2^63 + 1 elements", shaped({two_to_63 + 1}), "bad_shape", {"'w'", "2^63"}},
      {"2^63 elements", shaped({two_to_63}), "size_mismatch", {"'w'"}},
      {"2^62 elements, whose bytes wrap to 0", shaped({two_to_62}, 0), "size_mismatch", {"'w'"}},
      {"2^62 + 2 elements, whose bytes wrap to 8", shaped({two_to_62 + 2}), "size_mismatch", {"'w'"}},
      {"2^64 elements: a product that wraps to 0",
       shaped({two_to_32, two_to_32}, 0),
       "bad_shape",
       {"'w'", "4294967296x4294967296", "2^63"}},
      {"2^64 + 2 elements: a product that wraps to 2",
       shaped({two_to_63 + 1, 2}),
       "bad_shape",
       {"'w'", "2^63"}},
      {"a product that wraps to 2 in three steps",
       shaped({two_to_32, two_to_32, 2}),
       "bad_shape",
       {"'w'"}},
      {"no elements, for the last dimension is 0",
       shaped({two_to_63, 4, 0}, 0),
       "taken",
       {},
       [](const nibble::reader& in) { CHECK(in["w"].elements() == 0); }},
      {"no elements, for the first dimension is 0",
       shaped({0, most, most}, 0),
       "taken",
       {},
       [](const nibble::reader& in) { CHECK(in["w"].elements() == 0); }},
  });
}

TEST_CASE("places and types of an .apr file's tensors cannot lie", "[crafted_apr]") {
  const auto at = [](std::uint64_t offset) {
    return with_b([=](apr_tensor& b) { b.offset = offset; });
  };
  const auto sized = [](std::uint64_t size) { return with_b([=](apr_tensor& b) { b.size = size; }); };
  const auto typed = [](int id) { return with_b([=](apr_tensor& b) { b.dtype_id = id; }); };
  const auto unknown = [](std::uint64_t offset, std::uint64_t size) {
    return with_b([=](apr_tensor& b) {
      b.dtype_id = 77;
      b.offset = offset;
      b.size = size;
    });
  };
  // Only in the entry: the bytes stay where they are.
  const auto moved = [](std::uint64_t offset) {
    file_bytes file = plain_sample().bytes();
    const std::size_t place = 128 + 37 + 2 + 1 + 1 + 1 + 16;
    REQUIRE(number_at<std::uint64_t>(file, place) == 64);
    put_number(file, place, offset);
    return sealed(std::move(file));
  };
  constexpr std::uint64_t data = 256;
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"on another", moved(0), "bad_layout", {"'b'", "offset", "found 256", "'a'"}},
      {"a byte into another", at(23), "bad_layout", {"'b'", "found 279", "at least 280", "'a'"}},
      {"right behind another", at(24), "taken", {"b offset: 280 is no multiple of 64"}, has_shape_3x11},
      {"a byte off", moved(65), "taken", {"b offset: 321 is no multiple of 64"}, has_shape_3x11},
      {"a byte into the next", moved(93), "bad_layout", {"'c'", "'b'"}},
      {"right before the next", moved(92), "taken", {"b offset"}, has_shape_3x11},
      {"at the end of the data", moved(208), "taken", {"b offset"}, has_shape_3x11},
      {"a byte past the file", moved(516 - 36 + 1 - data), "truncated", {"'b'", "at least 517"}},
      {"past the end", at(1U << 25U), "truncated", {"'b'", "data", "at least"}},
      {"at 2^64 - 1", at(most), "truncated", {"'b'", "offset and size", "below 2^64"}},
      {"at 2^64 - 64, which wraps to before the data", at(most - 63), "truncated", {"'b'"}},
      {"an end at 2^64", at(most - data - 35), "truncated", {"'b'", "offset and size"}},
      {"an end at 2^64 - 1, whose padding wraps", at(most - data - 36), "truncated", {"'b'", "data"}},
      {"no bytes", sized(0), "size_mismatch", {"'b'", "0 bytes", "36 for apr_q4"}},
      {"a byte", sized(1), "size_mismatch", {"'b'", "1 bytes"}},
      {"a byte short", sized(35), "size_mismatch", {"'b'", "35 bytes", "36 for apr_q4"}},
      {"a byte long", sized(37), "size_mismatch", {"'b'", "37 bytes"}},
      {"with its padding", sized(64), "size_mismatch", {"'b'", "64 bytes"}},
      {"a byte into the next", sized(65), "size_mismatch", {"'b'", "65 bytes", "36 for apr_q4"}},
      {"2^64 - 1 bytes", sized(most), "truncated", {"'b'", "offset and size"}},
      {"2^64 - 1 bytes less what is before", sized(most - data - 64), "size_mismatch", {"'b'"}},
      {"an unknown type up to 2^64 - 1, whose padding wraps",
       unknown(64, most - data - 64),
       "truncated",
       {"'b'", "data"}},
      {"an unknown type up to the next", unknown(64, 64), "taken"},
      {"an unknown type a byte into the next", unknown(64, 65), "bad_layout", {"'c'", "'b'"}},
      {"an unknown type past the end", unknown(64, 1U << 20U), "truncated", {"'b'"}},
      {"an unknown type of no bytes", unknown(0, 0), "taken"},
      {"f32 bytes that are packed", typed(0), "size_mismatch", {"'b'", "36 bytes", "132 for f32"}},
      {"f16", typed(1), "size_mismatch", {"'b'", "66 for f16"}},
      {"q4_0, whose rows would be incomplete blocks", typed(2), "size_mismatch", {"'b'", "id 2"}},
      {"the old id of apr_q4", typed(8), "taken", {}, has_shape_3x11},
      {"apr_q8", typed(129), "size_mismatch", {"'b'", "37 for apr_q8"}},
      {"255", typed(255), "taken", {"b dtype: id 255 cannot be decoded"}},
      {"three layers of q8 taken for f32",
       with_tensors({{.name = "q", .dimensions = {576, 576}, .bytes = file_bytes(4 + 576 * 576)}}),
       "size_mismatch",
       {"'q'", "331780 bytes", "1327104 for f32"}},
      {"bytes that would fit q4, which is not recorded",
       with_tensors({{.name = "q", .dtype_id = 8, .dimensions = {2, 32}, .bytes = file_bytes(40)}}),
       "size_mismatch",
       {"'q'", "40 bytes", "they would fit q4", "'nibble'"}},
  });
}

TEST_CASE("an .apr file's index ends where its entries do", "[crafted_apr]") {
  const auto behind = [](file_bytes bytes) {
    apr_file file = plain_sample();
    file.behind_entries = std::move(bytes);
    return file.bytes();
  };
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"padding that is not zero", behind({std::byte{0}, std::byte{1}}), "bad_index", {"padding"}},
      {"64 zeros more", behind(file_bytes(64)), "bad_index", {"behind entry 3", "padding"}},
      {"a million zeros more", behind(file_bytes(1'000'000)), "bad_index", {"behind entry 3"}},
      {"tensors that share a place, for they are empty",
       with_tensors({{.name = "a", .dimensions = {0}, .offset = 0},
                     tame_tensor("b", "f32", {3}),
                     {.name = "c", .dimensions = {4, 0}, .offset = 64},
                     {.name = "d", .dimensions = {0}, .offset = 0}}),
       "taken"},
      {"an empty tensor past the end",
       with_tensors(
           {tame_tensor("a", "f32", {1}), {.name = "b", .dimensions = {0}, .offset = 1U << 26U}}),
       "truncated",
       {"'b'"}},
  });
}

TEST_CASE("an .apr file of megabytes asks for no more memory than it may", "[crafted_apr]") {
  constexpr std::size_t size = 4'000'000;
  const auto listed = [](const char* element) {
    return with_metadata("{\"a\":[" + repeated(size, element) + "0]}");
  };
  const auto tensors = [](std::size_t count, const apr_tensor& like) {
    std::vector<apr_tensor> all(count, like);
    for (std::size_t i = 0; i < count; ++i) all[i].name = fmt::format("{:06x}", i);
    return with_tensors(std::move(all));
  };
  apr_tensor crooked{.dtype_id = 77, .bytes = file_bytes(1), .offset = {}};
  std::vector<apr_tensor> crooked_tensors(20'000, crooked);
  for (std::size_t i = 0; i < crooked_tensors.size(); ++i) {
    crooked_tensors[i].name = fmt::format("{:06x}", i);
    crooked_tensors[i].offset = 2 * i + 1;
  }
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"empty arrays", listed("[],"), "directory_too_large", {"metadata", "4 times the file"}},
      {"empty objects", listed("{},"), "directory_too_large"},
      {"objects of one member", listed("{\"\":0},"), "directory_too_large"},
      {"arrays of one number", listed("[0],"), "directory_too_large"},
      {"arrays in arrays", listed("[[[[[[[[0]]]]]]]],"), "directory_too_large"},
      {"empty strings", listed("\"\","), "directory_too_large"},
      {"digits", listed("0,"), "directory_too_large"},
      {"negative digits", listed("-1,"), "directory_too_large"},
      {"fractions", listed("1.5,"), "directory_too_large"},
      {"numbers of many digits",
       with_metadata("{\"a\":[" + repeated(size / 2, "12345678901234567890123456789,") + "0]}"),
       "taken"},
      {"literals", listed("true,"), "directory_too_large"},
      {"escapes", with_metadata("{\"a\":\"" + repeated(size, "\\n") + "\"}"), "taken"},
      {"strings of growing escapes",
       with_metadata(
           "{\"a\":[" +
           repeated(size,
                    [](std::size_t i) { return "\"\\u00e9" + std::string(i * 40, 'x') + "\","; }) +
           "0]}"),
       "taken"},
      {"keys",
       with_metadata("{" + repeated(size, [](std::size_t i) { return fmt::format("\"{:x}\":0,", i); }) +
                     "\"\":0}"),
       "directory_too_large"},
      {"one key over and over", with_metadata("{" + repeated(size, "\"\":0,") + "\"\":0}"),
       "directory_too_large"},
      {"objects nested side by side", listed("{\"a\":{\"b\":{\"c\":{}}}},"), "directory_too_large"},
      {"one number", with_metadata("{\"a\":" + std::string(size, '9') + "}"), "bad_metadata"},
      {"one fraction", with_metadata("{\"a\":0." + std::string(size, '9') + "}"), "taken"},
      {"one string", with_metadata("{\"a\":\"" + std::string(size, 'x') + "\"}"), "taken"},
      {"140,000 tensors without bytes",
       tensors(140'000, {.dtype_id = 77}),
       "directory_too_large",
       {"index"}},
      {"30,000 tensors without bytes", tensors(30'000, {.dtype_id = 77}), "taken"},
      {"20,000 tensors that are not aligned", with_tensors(std::move(crooked_tensors)), "taken"},
      {"4 MB of index and one tensor",
       [] {
         apr_file file = plain_sample();
         file.behind_entries.resize(size);
         return file.bytes();
       }(),
       "bad_index"},
  });
}

TEST_CASE("the vocabulary of a large model opens within the bound, with no tensor beside it",
          "[crafted_apr]") {
  constexpr std::size_t words = 150'000;
  std::string vocabulary;
  std::string types;
  std::string scores;
  for (std::size_t i = 0; i < words; ++i) {
    vocabulary += fmt::format("\"\xC4\xA0word{}\",", i);
    types += fmt::format("{},", i % 7);
    scores += fmt::format("-{}.{},", i, i % 10);
  }
  const crafted_file row{
      "a vocabulary, types and scores",
      with_metadata(fmt::format(R"({{"tokenizer.vocabulary":[{}""],"tokenizer.types":[{}1],)"
                                R"("tokenizer.scores":[{}0]}})",
                                vocabulary, types, scores)),
      "taken"};
  nibble_test::check_crafted(row);
  const nibble::reader in(row.file);
  for (const char* const key : {"tokenizer.vocabulary", "tokenizer.types", "tokenizer.scores"}) {
    CHECK(in.metadata()[key].size() == words + 1);
  }
}

TEST_CASE("what one tensor notes of itself, a hundred thousand note in short", "[crafted_apr]") {
  std::vector<apr_tensor> tensors(1'000);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensors[i] = {.name = fmt::format("{:04}", i),
                  .dtype_id = 7,
                  .dimensions = {1},
                  .bytes = file_bytes(1, std::byte{1}),
                  .offset = 2 * i + 1};
  }
  const file_bytes file = with_tensors(std::move(tensors));
  std::vector<std::string> notes;
  for (const nibble::finding& one : nibble::reader(file).examine()) {
    if (one.field == "offset") notes.push_back(one.tensor + " " + one.text);
  }
  REQUIRE(notes.size() == 101);
  CHECK(notes[99].starts_with("0099 "));
  CHECK(notes[100] == " the same of 900 tensors more");
}
