#include <nibble/format/apr/parse.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
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
  // By Python: struct.pack and zlib.crc32 along format/README.md; one f32 [2] = {1, -2} named "a".
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

TEST_CASE("bytes that do not start as an .apr file does are refused by name", "[apr_parse]") {
  file_bytes no_magic = plain_sample().bytes();
  no_magic[3] = std::byte{'1'};
  for (const file_bytes& file : {no_magic, file_bytes()}) {
    const outcome result = parse(file);
    CHECK(result.code == "unknown_container");
    CHECK(missing_parts(result.message, {"header.magic"}).empty());
  }
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

TEST_CASE("apr_q4 and apr_q8 may bear their old ids where there is a record", "[apr_parse]") {
  apr_file file = recorded_sample();
  file.tensors[0].dtype_id = 8;
  file.tensors[1].dtype_id = 9;
  const file_bytes bytes = file.bytes();
  const auto parsed = nibble::apr::parse(bytes);
  CHECK(parsed.tensors[0].encoding == nibble::encoding::apr_q4);
  CHECK(parsed.tensors[1].encoding == nibble::encoding::apr_q8);
}

TEST_CASE("a name may have 256 bytes", "[apr_parse]") {
  const std::string longest(256, 'n');
  const file_bytes bytes = with_tensors({tame_tensor(longest, "f32", {2})});
  CHECK(nibble::apr::parse(bytes).tensors[0].name == longest);
}

TEST_CASE("names sort by bytes", "[apr_parse]") {
  const file_bytes bytes =
      with_tensors({tame_tensor("Z", "f32", {1}), tame_tensor("a", "f32", {1}),
                    tame_tensor("a.10", "f32", {1}), tame_tensor("a.9", "f32", {1}),
                    tame_tensor("\xC3\xA9", "f32", {1}), tame_tensor("\xE5\xB1\x82", "f32", {1})});
  CHECK(nibble::apr::parse(bytes).tensors.size() == 6);
}

TEST_CASE("a product of no elements may have any other dimensions", "[apr_parse]") {
  const file_bytes bytes = with_tensors({{.name = "w", .dimensions = {std::uint64_t{1} << 63U, 4, 0}}});
  CHECK(nibble::apr::parse(bytes).tensors[0].shape.elements() == 0);
}

TEST_CASE("an empty name is noted where there is no record", "[apr_parse]") {
  apr_file plain = plain_sample();
  plain.tensors[0].name.clear();
  const auto notes = notes_of(plain.bytes());
  REQUIRE(notes.size() == 1);
  CHECK(missing_parts(notes[0], {"index entry 0", "name is empty"}).empty());
}

TEST_CASE("an index entry that the data cuts is refused", "[apr_parse]") {
  SECTION("at any byte") {
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
  SECTION("by a name that reaches into the data") {
    apr_file file = plain_sample();
    file.tensors[2].name_bytes = 200;
    const outcome result = parse(file.bytes());
    CHECK(result.code == "bad_index");
    CHECK(missing_parts(result.message, {"index entry 2", "name"}).empty());
  }
}

TEST_CASE("a tensor of an unknown dtype may have any size", "[apr_parse]") {
  apr_file file = plain_sample();
  file.tensors[1] = {.name = "b", .dtype_id = 77, .dimensions = {9}, .bytes = file_bytes(33)};
  const file_bytes bytes = file.bytes();
  const auto parsed = nibble::apr::parse(bytes);
  CHECK_FALSE(parsed.tensors[1].encoding.has_value());
  CHECK(parsed.tensors[1].dtype_id == 77U);
  CHECK(parsed.tensors[1].size_bytes == 33);
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
