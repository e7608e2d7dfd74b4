#include <nibble/reader.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <support/catch.hpp>
#include <support/crafted_file.hpp>
#include <support/gguf_bytes.hpp>

using nibble_test::array_bytes;
using nibble_test::byte_list;
using nibble_test::crafted_file;
using nibble_test::gguf_file;
using nibble_test::gguf_tensor;
using nibble_test::gguf_value;
using nibble_test::most;
using nibble_test::number_bytes;
using nibble_test::put_number;
using nibble_test::string_bytes;
namespace id = nibble_test::gguf_id;

namespace {

/// A file of one f32 tensor of 2 x 3.
gguf_file lone_tensor() { return {.tensors = {{"w", 0, {3, 2}, byte_list(24, std::byte{1})}}}; }

struct lie {
  std::string what;
  std::function<void(gguf_file&)> put_in;
  std::string code;
  std::vector<std::string> named{};
};

/// Each lie in a file of its own.
std::vector<crafted_file> told_of_a_lone_tensor(const std::vector<lie>& lies) {
  std::vector<crafted_file> rows;
  for (const lie& one : lies) {
    gguf_file file = lone_tensor();
    one.put_in(file);
    rows.push_back({one.what, file.bytes(), one.code, one.named});
  }
  return rows;
}

/// A lie in the metadata's only value, of key "k".
auto value(std::uint32_t type, const byte_list& bytes) {
  return [=](gguf_file& file) { file.metadata = {{"k", type, bytes}}; };
}
auto alignment(std::uint32_t type, const byte_list& bytes) {
  return [=](gguf_file& file) { file.metadata = {{"general.alignment", type, bytes}}; };
}
auto key(const std::string& name) {
  return [=](gguf_file& file) { file.metadata = {{name, id::u8, byte_list(1)}}; };
}
auto tensor(const std::function<void(gguf_tensor&)>& change) {
  return [=](gguf_file& file) { change(file.tensors[0]); };
}

/// Arrays in arrays, `depth` in all.
byte_list nested_arrays(std::size_t depth) {
  byte_list bytes = array_bytes(id::u8, {number_bytes(std::uint8_t{9})});
  for (std::size_t i = 1; i < depth; ++i) bytes = array_bytes(id::array, {bytes});
  return bytes;
}

/// `count` times the same bytes, as an array's.
byte_list uniform_array(std::uint32_t type, std::size_t count, const byte_list& element) {
  byte_list bytes = array_bytes(type, {}, count);
  bytes.reserve(bytes.size() + count * element.size());
  for (std::size_t i = 0; i < count; ++i) nibble_test::append_bytes(bytes, element);
  return bytes;
}

}  // namespace

TEST_CASE("a GGUF header cannot lie", "[crafted_gguf]") {
  // A byte at a place of the 24.
  const auto with = [](std::size_t at, auto number) {
    byte_list file = lone_tensor().bytes();
    put_number(file, at, number);
    return file;
  };
  const byte_list whole = lone_tensor().bytes();
  nibble_test::check_crafted(std::vector<crafted_file>{
      {"magic", with(3, std::uint8_t{'f'}), "unknown_container", {"47 47 55 66"}},
      {"magic backwards", with(0, std::uint32_t{0x47475546}), "unknown_container"},
      {"nothing behind the magic",
       byte_list(whole.begin(), whole.begin() + 4),
       "truncated",
       {"header"}},
      {"a byte of header short",
       byte_list(whole.begin(), whole.begin() + 23),
       "truncated",
       {"23 bytes"}},
      {"version 0", with(4, 0U), "unsupported_version", {"header.version", "found 0"}},
      {"version 1", with(4, 1U), "unsupported_version", {"found 1", "2 or 3"}},
      {"version 2", with(4, 2U), "taken"},
      {"version 4", with(4, 4U), "unsupported_version", {"found 4", "2 or 3"}},
      {"version 2^32 - 1", with(4, 0xFFFFFFFFU), "unsupported_version", {"4294967295"}},
      {"version 3, big-endian", with(4, 0x03000000U), "unsupported_feature", {"big-endian"}},
      {"version 2, big-endian", with(4, 0x02000000U), "unsupported_feature", {"big-endian"}},
      {"no tensors, and bytes that nothing accounts for", with(8, std::uint64_t{0}), "taken"},
      {"a tensor more", with(8, std::uint64_t{2}), "bad_name", {"tensor 1"}},
      {"as many tensors as fit", with(8, std::uint64_t{3}), "bad_name", {"tensor 1"}},
      {"more tensors than fit", with(8, std::uint64_t{5}), "truncated", {"header, tensor_count"}},
      {"2^64 - 1 tensors",
       with(8, most),
       "truncated",
       {"header, tensor_count", "18446744073709551615"}},
      {"tensors whose bytes wrap to few", with(8, most / 25 + 1), "truncated", {"tensor_count"}},
      {"a value more", with(16, std::uint64_t{1}), "bad_name", {"tensor 0"}},
      {"2^64 - 1 values",
       with(16, most),
       "truncated",
       {"header, metadata_count", "18446744073709551615"}},
      {"values whose bytes wrap to few", with(16, most / 14 + 1), "truncated", {"metadata_count"}},
  });
}

TEST_CASE("metadata of a GGUF file cannot lie", "[crafted_gguf]") {
  nibble_test::check_crafted(told_of_a_lone_tensor({
      {"a key of no bytes",
       [](gguf_file& f) {
         f.metadata = {{"", id::u8, byte_list(1)}};
       },
       "bad_metadata",
       {"metadata 0, key", "0 bytes"}},
      {"a key of 65536 bytes",
       [](gguf_file& f) {
         f.metadata = {{std::string(65536, 'k'), id::u8, byte_list(1)}};
       },
       "bad_metadata",
       {"65536 bytes", "65535"}},
      {"a key that is not UTF-8",
       [](gguf_file& f) {
         f.metadata = {{"k\xFF", id::u8, byte_list(1)}};
       },
       "bad_metadata",
       {"k\\xff", "UTF-8"}},
      {"a key twice",
       [](gguf_file& f) {
         f.metadata = {{"k", id::u8, byte_list(1)}, {"k", id::u8, byte_list(1)}};
       },
       "bad_metadata",
       {"metadata 1", "'k' a second time"}},
      {"the record's key",
       [](gguf_file& f) {
         f.metadata = {{"nibble.gguf", id::u8, byte_list(1)}};
       },
       "bad_metadata",
       {"nibble.gguf"}},
      {"a value type 13",
       value(13, byte_list(8)),
       "bad_metadata",
       {"metadata 0, value type", "found 13"}},
      {"an element type 13",
       value(id::array, array_bytes(13, {})),
       "bad_metadata",
       {"element type", "13"}},
      {"a bool of 2",
       value(id::boolean, number_bytes(std::uint8_t{2})),
       "bad_metadata",
       {"bool of 2", "0 or 1"}},
      {"a string past the end",
       value(id::string, number_bytes(std::uint64_t{100000})),
       "truncated",
       {"metadata 0, value", "100000"}},
      {"a string of 2^64", value(id::string, number_bytes(most)), "truncated", {"metadata 0, value"}},
      {"an array past the end",
       value(id::array, array_bytes(id::u32, {}, 100000)),
       "truncated",
       {"metadata 0, elements", "100000 times 4"}},
      {"an array of 2^62 u32",
       value(id::array, array_bytes(id::u32, {}, 1ULL << 62U)),
       "truncated",
       {"elements"}},
      {"an array of 2^61 strings",
       value(id::array, array_bytes(id::string, {}, 1ULL << 61U)),
       "truncated",
       {"elements"}},
      {"an array of 2^60 arrays",
       value(id::array, array_bytes(id::array, {}, most / 12 + 1)),
       "truncated",
       {"elements"}},
      {"arrays too deep", value(id::array, nested_arrays(33)), "bad_metadata", {"32 levels"}},
      {"an alignment of 0",
       alignment(id::u32, number_bytes(std::uint32_t{0})),
       "bad_metadata",
       {"general.alignment", "u32 0"}},
      {"an alignment of 33",
       alignment(id::u32, number_bytes(std::uint32_t{33})),
       "bad_metadata",
       {"general.alignment", "33", "power of two"}},
      {"an alignment of 2 MiB",
       alignment(id::u32, number_bytes(std::uint32_t{1U << 21U})),
       "bad_metadata",
       {"general.alignment", "2097152", "1048576"}},
      {"an alignment of 2^31",
       alignment(id::u32, number_bytes(std::uint32_t{1U << 31U})),
       "bad_metadata",
       {"general.alignment"}},
      {"an alignment as u64",
       alignment(id::u64, number_bytes(std::uint64_t{32})),
       "bad_metadata",
       {"general.alignment", "u64 32"}},
      {"an alignment as text",
       alignment(id::string, string_bytes("32")),
       "bad_metadata",
       {"general.alignment", "str"}},
      {"a key of 0x00", key(std::string(1, '\0')), "taken"},
      {"a key with control characters",
       [](gguf_file& f) {
         f.metadata = {{"\x1b[2J\n", id::u8, byte_list(1)}, {"\x1b[2J\n", id::u8, byte_list(1)}};
       },
       "bad_metadata",
       {"\\x1b[2J\\x0a"}},
      {"a value type of 2^32 - 1", value(0xFFFFFFFFU, byte_list(8)), "bad_metadata", {"4294967295"}},
      {"a bool of 255",
       value(id::boolean, number_bytes(std::uint8_t{255})),
       "bad_metadata",
       {"bool of 255"}},
      {"a string a byte longer than it is: the rest is read a byte late",
       value(id::string,
             [] {
               byte_list b = number_bytes(std::uint64_t{2});
               b.push_back(std::byte{'x'});
               return b;
             }()),
       "bad_name",
       {"tensor 0, name"}},
      {"a string of 2^64 - 1 bytes, which wraps to before it",
       value(id::string, number_bytes(most)),
       "truncated",
       {"metadata 0, value"}},
      {"no elements of a type that nobody knows",
       value(id::array, array_bytes(0xFFFFFFFFU, {})),
       "bad_metadata",
       {"element type"}},
      {"32 levels of arrays", value(id::array, nested_arrays(32)), "taken"},
      {"4,000 levels of arrays", value(id::array, nested_arrays(4'000)), "bad_metadata", {"32 levels"}},
      {"an alignment of 1",
       alignment(id::u32, number_bytes(std::uint32_t{1})),
       "taken",
       {"multiple of 8"}},
      {"an alignment of 2^20, that the file is not laid out by",
       alignment(id::u32, number_bytes(std::uint32_t{1} << 20U)),
       "truncated",
       {"padding before the data"}},
      {"an alignment of 2^32 - 1",
       alignment(id::u32, number_bytes(0xFFFFFFFFU)),
       "bad_metadata",
       {"general.alignment"}},
      {"an alignment as a list",
       alignment(id::array, array_bytes(id::u32, {number_bytes(std::uint32_t{32})})),
       "bad_metadata",
       {"general.alignment", "arr"}},
      {"NaN, kept beside null", value(id::f32, number_bytes(0x7FC00000U)), "taken"},

  }));
}

TEST_CASE("tensors of a GGUF file cannot lie", "[crafted_gguf]") {
  nibble_test::check_crafted(told_of_a_lone_tensor({
      {"a name of no bytes",
       [](gguf_file& f) { f.tensors[0].name = ""; },
       "bad_name",
       {"tensor 0, name", "0 bytes"}},
      {"a name of 65 bytes",
       [](gguf_file& f) { f.tensors[0].name = std::string(65, 'n'); },
       "bad_name",
       {"65 bytes", "1 to 64"}},
      {"a name of 2^64 bytes",
       [](gguf_file& f) { f.tensors[0].name_bytes = most; },
       "bad_name",
       {"tensor 0"}},
      {"a name that is not UTF-8",
       [](gguf_file& f) { f.tensors[0].name = "w\xC3("; },
       "bad_name",
       {"w\\xc3(", "UTF-8"}},
      {"a name twice",
       [](gguf_file& f) {
         f.tensors.push_back({"w", 24, {1}, byte_list(1)});
       },
       "duplicate_name",
       {"'w'", "second time"}},
      {"5 dimensions",
       [](gguf_file& f) {
         f.tensors[0].dimensions = {1, 1, 1, 1, 6};
       },
       "bad_shape",
       {"'w'", "found 5", "at most 4"}},
      {"2^32 dimensions",
       [](gguf_file& f) { f.tensors[0].rank = 0xFFFFFFFFU; },
       "bad_shape",
       {"'w'", "4294967295"}},
      {"a dimension of 2^63",
       [](gguf_file& f) {
         f.tensors[0].dimensions = {1ULL << 63U, 0};
       },
       "bad_shape",
       {"'w'", "9223372036854775808"}},
      {"2^64 elements",
       [](gguf_file& f) {
         f.tensors[0].dimensions = {1ULL << 32U, 1ULL << 32U};
       },
       "bad_shape",
       {"'w'", "2^63"}},
      {"2^64 bytes",
       [](gguf_file& f) { f.tensors[0].dimensions = {1ULL << 62U}; },
       "bad_shape",
       {"'w'", "2^64"}},
      {"rows of incomplete blocks",
       [](gguf_file& f) {
         f.tensors[0] = {"w", 2, {33, 2}, byte_list(72)};
       },
       "bad_shape",
       {"'w'", "2x33", "q4_0", "32"}},
      {"partial super-blocks",
       [](gguf_file& f) {
         f.tensors[0] = {"w", 12, {128}, byte_list(144)};
       },
       "bad_shape",
       {"'w'", "128", "q4_k", "256"}},
      {"an offset that is not aligned",
       [](gguf_file& f) { f.tensors[0].offset = 16; },
       "bad_layout",
       {"'w'", "offset", "16", "multiple of 32"}},
      {"an offset past the end",
       [](gguf_file& f) {
         f.tensors[0].offset = 64;
         f.tensors[0].bytes = {};
       },
       "truncated",
       {"'w'", "data"}},
      {"an offset of 2^64",
       [](gguf_file& f) { f.tensors[0].offset = most - 31; },
       "truncated",
       {"'w'", "2^64"}},
      {"an offset whose end is 2^64",
       [](gguf_file& f) { f.tensors[0].offset = most - 255; },
       "truncated",
       {"'w'"}},
      {"a tensor larger than its bytes",
       [](gguf_file& f) {
         f.tensors[0].dimensions = {3, 3};
       },
       "truncated",
       {"'w'", "data"}},
      {"an empty tensor past the end",
       [](gguf_file& f) {
         f.tensors.push_back({"x", 0, {0}, {}, 1U << 25U});
       },
       "truncated",
       {"'x'", "data"}},
      {"two tensors in one place",
       [](gguf_file& f) {
         f.tensors.push_back({"x", 24, {1}, byte_list(1), 0});
       },
       "bad_layout",
       {"offset", "behind tensor"}},
      {"tensors that overlap",
       [](gguf_file& f) {
         f.tensors[0] = {"w", 24, {33}, byte_list(33)};
         f.tensors.push_back({"x", 24, {1}, byte_list(1), 32});
       },
       "bad_layout",
       {"'x'", "offset", "'w'"}},
      {"an unknown type over a known tensor",
       [](gguf_file& f) {
         f.tensors.push_back({"x", 36, {1}, {}, 0});
       },
       "bad_layout",
       {"offset"}},
      {"an unknown type without bytes",
       [](gguf_file& f) {
         f.tensors.push_back({"x", 36, {1}, {}, 32});
       },
       "truncated",
       {"'x'", "data"}},
      {"a dimension of 0 in 24 bytes",
       tensor([](gguf_tensor& t) {
         t.dimensions = {0, 2};
       }),
       "taken",
       {"32 bytes behind the data"}},
      {"a dimension of 1 in place of 3", tensor([](gguf_tensor& t) {
         t.dimensions = {1, 2};
       }),
       "taken"},
      {"a tensor a row larger than the file has padding for",
       tensor([](gguf_tensor& t) {
         t.dimensions = {3, 3};
       }),
       "truncated",
       {"'w'"}},
      {"dimensions whose product wraps to 2",
       tensor([](gguf_tensor& t) {
         t.dimensions = {(1ULL << 62U) + 1, 2, 2};
       }),
       "bad_shape",
       {"'w'", "2^63"}},
      {"dimensions whose product wraps to 0",
       tensor([](gguf_tensor& t) {
         t.dimensions = {1ULL << 32U, 1ULL << 31U, 2};
       }),
       "bad_shape",
       {"'w'"}},
      {"2^62 elements, whose bytes wrap to 0",
       tensor([](gguf_tensor& t) { t.dimensions = {1ULL << 62U}; }),
       "bad_shape",
       {"'w'", "2^64"}},
      {"2^62 + 6 elements, whose bytes wrap to 24",
       tensor([](gguf_tensor& t) { t.dimensions = {(1ULL << 62U) + 6}; }),
       "bad_shape",
       {"'w'", "2^64"}},
      {"no elements beside 2^63 - 1", tensor([](gguf_tensor& t) {
         t.dimensions = {0, (1ULL << 63U) - 1};
       }),
       "taken"},
      {"no dimensions, of a tensor with 24 bytes",
       tensor([](gguf_tensor& t) { t.rank = 0; }),
       "bad_shape",
       {"\'w\'", "q4_1"}},
      {"control characters in a name",
       tensor([](gguf_tensor& t) {
         t.name = "evil\n\x1b[2J";
         t.dimensions = {1ULL << 40U};
       }),
       "truncated",
       {"evil\\x0a\\x1b[2J"}},
      {"an offset of 1",
       tensor([](gguf_tensor& t) { t.offset = 1; }),
       "bad_layout",
       {"'w'", "offset", "found 1"}},
      {"an offset of 2^64 - 32, which wraps to before the data",
       tensor([](gguf_tensor& t) { t.offset = most - 31; }),
       "truncated",
       {"'w'", "2^64"}},
      {"an unknown type of 2^62 elements has the bytes that there are",
       tensor([](gguf_tensor& t) {
         t.type = 99;
         t.dimensions = {1ULL << 62U};
       }),
       "taken",
       {"id 99"}},

  }));
}

TEST_CASE("a GGUF file of megabytes asks for no more memory than it may", "[crafted_gguf]") {
  constexpr std::size_t size = 4'000'000;
  const auto array = [](std::uint32_t type, const byte_list& element) {
    return value(id::array, uniform_array(type, size / element.size(), element));
  };
  const auto strings = [](const char* text) { return string_bytes(text); };
  const auto keys = [](std::size_t count, std::uint32_t type, const byte_list& bytes) {
    return [=](gguf_file& file) {
      for (std::size_t i = 0; i < count; ++i) {
        file.metadata.push_back({fmt::format("{:x}", i), type, bytes});
      }
    };
  };
  const auto tensors = [](std::size_t count, std::uint32_t type) {
    return [=](gguf_file& file) {
      file.tensors.clear();
      for (std::size_t i = 0; i < count; ++i) {
        file.tensors.push_back({fmt::format("{:x}", count - i), type, {0}, {}});
      }
    };
  };
  // Inner arrays of two kinds by turns, each of which is recorded.
  byte_list mixed = array_bytes(id::array, {}, size / 12);
  for (std::size_t i = 0; i < size / 12; ++i) {
    nibble_test::append_bytes(mixed, array_bytes(i % 2 == 0 ? id::u8 : id::i8, {}));
  }
  nibble_test::check_crafted(told_of_a_lone_tensor({
      {"u8", array(id::u8, byte_list(1)), "directory_too_large", {"metadata", "4 times the file"}},
      {"i8", array(id::i8, byte_list(1, std::byte{0xFF})), "directory_too_large"},
      {"u16", array(id::u16, byte_list(2)), "directory_too_large"},
      {"bools", array(id::boolean, byte_list(1)), "directory_too_large"},
      {"u32", array(id::u32, byte_list(4)), "directory_too_large"},
      {"f64", array(id::f64, byte_list(8)), "directory_too_large"},
      {"empty strings", array(id::string, strings("")), "directory_too_large"},
      {"strings of a word", array(id::string, strings("five and")), "taken"},
      {"strings of 16 bytes", array(id::string, strings("sixteen of bytes")), "taken"},
      {"NaN", array(id::f32, number_bytes(0x7FC00000U)), "directory_too_large"},
      {"strings that are not UTF-8", array(id::string, strings("\xFF")), "directory_too_large"},
      {"one string that is not UTF-8", value(id::string, string_bytes(std::string(size, '\xFF'))),
       "directory_too_large"},
      {"one string that is", value(id::string, string_bytes(std::string(size, 'x'))), "taken"},
      {"empty arrays", array(id::array, array_bytes(id::u8, {})), "directory_too_large"},
      {"empty arrays of two kinds", value(id::array, mixed), "directory_too_large"},
      {"arrays 32 deep",
       value(id::array,
             uniform_array(id::array, size / 2 / nested_arrays(31).size(), nested_arrays(31))),
       "taken"},
      {"32,769 keys",
       keys(32'769, id::u32, byte_list(4)),
       "directory_too_large",
       {"header.metadata_count", "found 32769", "at most 32768"}},
      {"32,768 keys", keys(32'768, id::u32, byte_list(4)), "taken"},
      {"32,768 keys that are recorded", keys(32'768, id::u8, byte_list(1)), "taken"},
      {"tensors without bytes", tensors(size / 37, 0), "directory_too_large", {"tensor list"}},
      {"tensors of unknown types", tensors(size / 37, 99), "directory_too_large"},
      {"30,000 tensors without bytes", tensors(30'000, 0), "taken"},
      {"a count of tensors that 4 MB would hold, and none",
       [](gguf_file& file) {
         file.metadata = {{"k", id::string, string_bytes(std::string(size, 'x'))}};
         file.tensor_count = size / 25;
       },
       "truncated"},
  }));
}

TEST_CASE("the vocabulary of a large model opens within the bound, as GGUF has it", "[crafted_gguf]") {
  constexpr std::size_t words = 150'000;
  byte_list tokens = array_bytes(id::string, {}, words);
  byte_list scores = array_bytes(id::f32, {}, words);
  byte_list types = array_bytes(id::i32, {}, words);
  for (std::size_t i = 0; i < words; ++i) {
    nibble_test::append_gguf_string(tokens, fmt::format("word {}", i));
    nibble_test::append_bytes(scores, number_bytes(-static_cast<float>(i)));
    nibble_test::append_bytes(types, number_bytes(static_cast<std::int32_t>(i % 7)));
  }
  gguf_file file;
  file.metadata = {{"tokenizer.ggml.tokens", id::array, tokens},
                   {"tokenizer.ggml.scores", id::array, scores},
                   {"tokenizer.ggml.token_type", id::array, types}};
  const crafted_file row{"tokens, scores and types", file.bytes(), "taken"};
  nibble_test::check_crafted(row);
  const nibble::reader in(row.file);
  for (const gguf_value& one : file.metadata) CHECK(in.metadata()[one.key].size() == words);
}
