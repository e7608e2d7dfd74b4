#include <nibble/reader.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/crafted_file.hpp>
#include <support/files.hpp>
#include <support/safetensors_bytes.hpp>

using nibble_test::crafted_file;
using nibble_test::lone;
using nibble_test::repeated;
using nibble_test::with_header;
using namespace std::string_literals;

namespace {

using file_bytes = std::vector<std::byte>;

struct header_lie {
  std::string header;
  std::size_t data_bytes;
  std::string code;
  std::vector<std::string> named{};
};

struct index_lie {
  std::string what;
  std::string text;
  std::string code;
  std::vector<std::string> named{};
};

std::vector<crafted_file> told_in_texts(const std::vector<index_lie>& lies) {
  std::vector<crafted_file> rows;
  for (const index_lie& one : lies) {
    rows.push_back({one.what, nibble_test::bytes_of(one.text), one.code, one.named});
  }
  return rows;
}

std::vector<crafted_file> told_in_headers(const std::vector<header_lie>& lies) {
  std::vector<crafted_file> rows;
  for (const header_lie& one : lies) {
    rows.push_back(
        {one.header.substr(0, 150), with_header(one.header, one.data_bytes), one.code, one.named});
  }
  return rows;
}

}  // namespace

TEST_CASE("the length of a safetensors header cannot lie", "[crafted_safetensors]") {
  const std::string header = lone(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})");
  const auto with_length = [&](std::uint64_t length) {
    file_bytes file = with_header(header, 4);
    nibble_test::put_number(file, 0, length);
    return file;
  };
  const std::uint64_t size = header.size();
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"0", with_length(0), "unknown_container"},
      {"1", with_length(1), "unknown_container"},
      {"2", with_length(2), "bad_metadata", {"header, byte 2"}},
      {"a byte short", with_length(size - 1), "bad_metadata", {"header, byte"}},
      {"a byte long", with_length(size + 1), "bad_metadata", {"header, byte"}},
      {"with all data", with_length(size + 4), "bad_metadata", {"header, byte"}},
      {"past the end", with_length(size + 5), "truncated", {"header", "at least"}},
      {"100,000,000", with_length(100'000'000), "truncated", {"header"}},
      {"a byte more than is allowed", with_length(100'000'001), "unknown_container"},
      {"2^32", with_length(std::uint64_t{1} << 32U), "unknown_container"},
      {"2^64 - 8, which wraps to 0", with_length(~std::uint64_t{0} - 7), "unknown_container"},
      {"2^64 - 1", with_length(~std::uint64_t{0}), "unknown_container"},
  });
}

TEST_CASE("a safetensors header cannot lie", "[crafted_safetensors]") {
  nibble_test::check_crafted(told_in_headers({
      {"{", 0, "unknown_container"},
      {"{}}", 0, "bad_metadata", {"header"}},
      {"{}\0x"s, 0, "bad_metadata", {"header"}},
      {"{}\0"s, 0, "bad_metadata", {"header"}},
      {"{\"w\":\"\xFF\"}", 0, "bad_metadata", {"header", "UTF-8"}},
      {"{\"w\":" + std::string(200, '[') + std::string(200, ']') + "}", 0, "bad_index", {"an array"}},
      {R"({"w":1})", 0, "bad_index", {"header", "found 1", "an object"}},
      {R"({"w":[]})", 0, "bad_index", {"an array", "an object"}},
      {R"({"w":null})", 0, "bad_index", {"null"}},
      {R"({"__metadata__":{"a":1}})", 0, "bad_index", {"found 1", "a string"}},
      {R"({"__metadata__":{"a":{}}})", 0, "bad_index", {"an object", "a string"}},
      {R"({"__metadata__":"text"})", 0, "bad_index", {"a string", "an object"}},
      {lone(R"({"dtype":"U8","shape":[1]})"), 0, "bad_index", {"'w'", "lacks a field"}},
      {lone(R"({"dtype":"U8","data_offsets":[0,0]})"), 0, "bad_index", {"'w'", "lacks a field"}},
      {lone(R"({"shape":[0],"data_offsets":[0,0]})"), 0, "bad_index", {"'w'", "lacks a field"}},
      {lone("{}"), 0, "bad_index", {"'w'", "lacks a field"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"shape":[0]})"),
       0,
       "bad_index",
       {"'w'", "shape", "second time"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":)" + std::string(127, '[') +
            std::string(127, ']') + "}"),
       0,
       "bad_metadata",
       {"nesting"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":01})"),
       0,
       "bad_metadata",
       {"header"}},
      {lone(R"({"dtype":"U8","shape":[9223372036854775808,4,0],"data_offsets":[0,0]})"),
       0,
       "bad_shape",
       {"'w'", "9223372036854775808x4x0"}},
      {lone(R"({"dtype":"F4","shape":[3],"data_offsets":[0,2]})"),
       2,
       "size_mismatch",
       {"'w'", "2 bytes", "whole bytes for F4 of 3"}},
      {lone(R"({"dtype":"F6_E2M3","shape":[3,2],"data_offsets":[0,5]})"),
       5,
       "size_mismatch",
       {"'w'", "5 bytes", "whole bytes for F6_E2M3 of 3x2"}},
      {lone(R"({"dtype":"F6_E3M2","shape":[4],"data_offsets":[0,4]})"),
       4,
       "size_mismatch",
       {"'w'", "4 bytes", "3 for F6_E3M2"}},
      {lone(R"({"dtype":"BOOL","shape":[9],"data_offsets":[0,2]})"),
       2,
       "size_mismatch",
       {"'w'", "9 for BOOL"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"), 0, "bad_metadata", {"header"}},
      {R"({"__metadata__":{"a":null}})", 0, "bad_index", {"null", "a string"}},
      {R"({"__metadata__":[]})", 0, "bad_index", {"an array", "an object"}},
      {R"({"__metadata__":{},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"__metadata__":null})",
       0,
       "duplicate_name",
       {"__metadata__"}},
      {R"({"a\u0062":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)"
       R"("ab":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0,
       "duplicate_name",
       {"'ab'"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"dtype":"U8"})"),
       0,
       "bad_index",
       {"'w'", "dtype", "second time"}},
      {lone(R"({"dtype":8,"shape":[0],"data_offsets":[0,0]})"), 0, "bad_index", {"'w'", "found 8"}},
      {lone(R"({"dtype":"U8","shape":0,"data_offsets":[0,0]})"), 0, "bad_index", {"'w'", "dimensions"}},
      {lone(R"({"dtype":"U8","shape":[-1],"data_offsets":[0,0]})"),
       0,
       "bad_index",
       {"'w'", "found -1"}},
      {lone(R"({"dtype":"U8","shape":[1.0],"data_offsets":[0,1]})"), 1, "bad_index", {"'w'", "1.0"}},
      {lone(R"({"dtype":"U8","shape":["1"],"data_offsets":[0,1]})"),
       1,
       "bad_index",
       {"'w'", "a string"}},
      {lone(R"({"dtype":"U8","shape":[[1]],"data_offsets":[0,1]})"),
       1,
       "bad_index",
       {"'w'", "an array"}},
      {lone(R"({"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]})"),
       1,
       "bad_index",
       {"'w'", "18446744073709551616"}},
      {lone(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]})"),
       1,
       "bad_shape",
       {"'w'", "9 dimensions"}},
      {lone(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,1]})"),
       1,
       "bad_shape",
       {"'w'", "2^63"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0]})"),
       1,
       "bad_index",
       {"'w'", "data_offsets"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1,1]})"),
       1,
       "bad_index",
       {"'w'", "data_offsets"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[]})"),
       0,
       "bad_index",
       {"'w'", "data_offsets"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[1,0]})"),
       1,
       "bad_index",
       {"'w'", "data_offsets", "[1, 0]"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],)"
            R"("data_offsets":[1,2]})"),
       2,
       "duplicate_name",
       {"'w'"}},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "duplicate_name", {"__metadata__"}},
      {lone(R"({"dtype":"F32","shape":[2],"data_offsets":[0,7]})"),
       7,
       "size_mismatch",
       {"'w'", "7 bytes", "8 for F32"}},
      {lone(R"({"dtype":"F32","shape":[2],"data_offsets":[0,9]})"), 9, "size_mismatch", {"'w'"}},
      {lone(R"({"dtype":"F32","shape":[576,576],"data_offsets":[0,331776]})"),
       331'776,
       "size_mismatch",
       {"'w'", "331776 bytes", "1327104 for F32 of 576x576"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,5]})"), 5, "size_mismatch", {"'w'"}},
      {lone(R"({"dtype":"U8","shape":[4],"data_offsets":[1,5]})"),
       5,
       "bad_layout",
       {"'w'", "data_offsets", "found 1"}},
      {lone(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
       5,
       "bad_layout",
       {"data", "5 bytes"}},
      {lone(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]},"x":{"dtype":"U8","shape":[3],)"
            R"("data_offsets":[3,6]})"),
       6,
       "bad_layout",
       {"'x'", "overlap"}},
      {lone(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]},"x":{"dtype":"U8","shape":[3],)"
            R"("data_offsets":[5,8]})"),
       8,
       "bad_layout",
       {"'x'", "hole"}},
      {lone(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
       3,
       "truncated",
       {"'w'", "3 bytes", "at least 4"}},
      {lone(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]})"),
       8,
       "bad_shape",
       {"'w'"}},
      {lone(R"({"dtype":"X","shape":[1],"data_offsets":[0,18446744073709551615]})"),
       8,
       "truncated",
       {"'w'"}},
      {lone(R"({"dtype":"U8","shape":[1e400],"data_offsets":[0,1]})"),
       1,
       "bad_index",
       {"'w'", "1e400"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":1e400})"), 1, "taken"},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]})"),
       1,
       "bad_index",
       {"'w'", "second time"}},
      {lone(R"({"dtype":"U8","shape":[9223372036854775809,2],"data_offsets":[0,2]})"),
       2,
       "bad_shape",
       {"'w'", "2^63"}},
      {lone(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"),
       0,
       "size_mismatch",
       {"'w'", "F32 of 4611686018427387904"}},
      {lone(R"({"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]})"),
       8,
       "size_mismatch",
       {"'w'"}},
      {lone(R"({"dtype":"U8","shape":[0,18446744073709551615],"data_offsets":[0,0]})"), 0, "taken"},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615]})"),
       1,
       "bad_layout",
       {"'w'"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[1,1]})"), 1, "bad_layout", {"'w'"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0,-1]})"), 1, "bad_index", {"found -1"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":{"0":1}})"), 1, "bad_index", {"an object"}},
      {lone(R"({"dtype":"U8","shape":null,"data_offsets":[0,1]})"), 1, "bad_index", {"null"}},
      {lone(R"({"dtype":null,"shape":[1],"data_offsets":[0,1]})"), 1, "bad_index", {"null"}},
      {lone(R"({"dtype":"U8","shape":[)" + repeated(1000, "1,") + R"(1],"data_offsets":[0,1]})"),
       1,
       "bad_shape",
       {"501 dimensions"}},
      {lone(R"({"dtype":"U8","shape":[1],"data_offsets":[)" + repeated(1000, "1,") + "1]}"),
       1,
       "bad_index",
       {"1, ...]"}},
      {R"({"evil\n\u001b[2J":{"dtype":"U8","shape":[3],"data_offsets":[0,1]}})",
       1,
       "size_mismatch",
       {"evil\\x0a\\x1b[2J"}},
      {R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "taken"},
      {"{\"" + std::string(100'000, 'n') + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
       "taken"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
       1,
       "bad_layout",
       {"'b'", "overlap"}},
  }));
}

TEST_CASE("a safetensors file of megabytes asks for no more memory than it may",
          "[crafted_safetensors]") {
  constexpr std::size_t size = 4'000'000;
  const std::string empty = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const auto tensors = [](const std::string& entry, std::size_t bytes) {
    return "{" + repeated(bytes, [&](std::size_t i) { return fmt::format("\"{:x}\":{},", i, entry); }) +
           "\"\":" + entry + "}";
  };
  const auto metadata = [](const std::string& members) {
    return R"({"__metadata__":{)" + members + R"("":""}})";
  };
  const auto list = [](const char* element) { return repeated(size, element); };
  nibble_test::check_crafted(told_in_headers({
      {metadata(repeated(size, [](std::size_t i) { return fmt::format("\"{:x}\":\"\",", i); })),
       0,
       "directory_too_large",
       {"__metadata__", "more keys", "at most 32768"}},
      {metadata(list(R"("a":"",)")), 0, "directory_too_large"},
      {metadata("\"a\":\"" + list("\\n") + "\","), 0, "taken"},
      {metadata("\"a\":\"" + std::string(size, 'x') + "\","), 0, "taken"},
      {metadata("\"a\":\"" + std::string(size, '{') + "\","), 0, "taken"},
      {tensors(empty, size), 0, "directory_too_large", {"header"}},
      {tensors(empty, size / 4), 0, "taken"},
      // Fields' names with escapes, so that nobody sees how many tensors are coming.
      {tensors(R"({"dtype":"U8","shape":[0],"data_offset\u0073":[0,0]})", size), 0,
       "directory_too_large"},
      {"{\"" + list("\\u00e9") + "\":" + empty + "}", 0, "taken"},
      {lone(R"({"dtype":"U8","shape":[)" + list("0,") + R"(0],"data_offsets":[0,0]})"),
       0,
       "bad_index",
       {"'w'", "shape", "more than 1000 numbers"}},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[)" + list("0,") + "0]}"), 0, "bad_index"},
      {lone(R"({"dtype":")" + std::string(size, 'F') + R"(","shape":[0],"data_offsets":[0,0]})"), 0,
       "taken"},
      {lone(R"({"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":[)" + list("[],") + "[]]}"), 0,
       "taken"},
  }));
}

TEST_CASE("an index of shards cannot lie", "[crafted_safetensors]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "crafted.index.json";
  nibble_test::write_file(folder / "crafted",
                          with_header(lone(R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})"), 1));
  const auto open_index = [&](const crafted_file&) {
    static_cast<void>(nibble::reader::open_set(path));
    return std::string();
  };
  constexpr std::size_t size = 4'000'000;
  const auto mapped = [](const std::string& members) {
    return R"({"weight_map":{)" + members + R"("w":"crafted"}})";
  };
  const auto list = [](const char* element) { return repeated(size, element); };
  const std::string alone = R"("weight_map":{"w":"crafted"}})";
  const auto rows = told_in_texts({
      {"the truth", mapped(""), "taken"},
      {"a total that is wrong", R"({"metadata":{"total_size":18446744073709551615},)" + alone, "taken"},
      {"a total of 2^64", R"({"metadata":{"total_size":18446744073709551616},)" + alone, "taken"},
      {"a tensor that is not there",
       mapped(R"("x":"crafted",)"),
       "bad_shard",
       {"'x'", "no such tensor"}},
      {"another tensor than is there",
       R"({"weight_map":{"x":"crafted"}})",
       "bad_shard",
       {"'x'", "no such tensor"}},
      {"a tensor twice", mapped(R"("w":"crafted",)"), "duplicate_name", {"'w'"}},
      {"a file that is not there", mapped(R"("a":"crafted.none",)"), "bad_shard", {"crafted.none"}},
      {"a file elsewhere",
       mapped(R"("a":"../crafted",)"),
       "bad_shard",
       {"'a'", "../crafted", "separators"}},
      {"the folder", mapped(R"("a":".",)"), "bad_shard", {"'a'"}},
      {"itself", mapped(R"("a":"crafted.index.json",)"), "unknown_container", {"crafted.index.json"}},
      {"control characters", mapped(R"("a":"\u001b[2J/",)"), "bad_shard", {"\\x1b[2J"}},
      {"a file name of a million bytes",
       mapped("\"a\":\"crafted" + std::string(1'000'000, 'n') + "\","), "read_failed"},
      {"200 levels",
       R"({"more":)" + std::string(200, '[') + std::string(200, ']') + "}",
       "bad_metadata",
       {"nesting"}},
      {"a BOM", "\xEF\xBB\xBF" + mapped(""), "unknown_container"},
      {"tensors of one file",
       mapped(repeated(size / 2, [](std::size_t i) { return fmt::format("\"{:x}\":\"c\",", i); })),
       "bad_shard",
       {"shard 1 of 2"}},
      {"tensors of many files",
       mapped(repeated(size, [](std::size_t i) { return fmt::format("\"{0:x}\":\"{0:x}\",", i); })),
       "directory_too_large"},
      {"fields that nobody knows", R"({"more":[)" + list("[],") + "0]," + alone, "taken"},
      {"quotation marks", R"({"more":[)" + list("\"\",") + "0]," + alone, "directory_too_large"},
      {"50,000 tensors of names as models have them",
       mapped(repeated(
           size,
           [](std::size_t i) {
             return fmt::format(
                 "\"model.layers.{}.mlp.down_proj.weight\":\"model-{:05}-of-00100.safetensors\",", i,
                 i % 100);
           })),
       "bad_shard"},
  });
  for (const crafted_file& one : rows) {
    nibble_test::write_file(path, one.file);
    nibble_test::check_crafted(one, open_index);
  }
}
