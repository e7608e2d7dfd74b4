#include <nibble/format/safetensors/index.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::safetensors::is_index;
using nibble::safetensors::parse_index;
using nibble_test::bytes_of;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using namespace std::string_literals;

TEST_CASE("an index says where each tensor stands", "[safetensors_index]") {
  const auto index = parse_index(bytes_of(
      R"( {"metadata": {"total_size": 28966928384, "total_parameters": 1.5, "x": [{}]}, "more": [1, {"a": null}],
           "weight_map": {"b": "m-2.safetensors", "a\u002eb": "m-1.safetensors", "c": "m-2.safetensors"}}
      )"));
  CHECK(index.files == std::vector<std::string>{"m-1.safetensors", "m-2.safetensors"});
  CHECK(index.tensors == std::vector<std::string>{"b", "a.b", "c"});
  CHECK(index.file_of_tensor == std::vector<std::size_t>{1, 0, 1});
  CHECK(index.total_bytes == 28966928384U);
  const auto empty = parse_index(bytes_of(R"({"weight_map":{}})"));
  CHECK(empty.files.empty());
  CHECK_FALSE(empty.total_bytes);
  CHECK_FALSE(
      parse_index(bytes_of(R"({"metadata":{"total_size":2.5e9},"weight_map":{}})")).total_bytes);
  CHECK_FALSE(parse_index(bytes_of(R"({"metadata":{"total_size":-1},"weight_map":{}})")).total_bytes);
  CHECK_FALSE(parse_index(bytes_of(R"({"metadata":null,"weight_map":{}})")).total_bytes);
}

TEST_CASE("a total size is read where it is a whole number of 64 bits", "[safetensors_index]") {
  const auto total_of = [](const std::string& number) {
    return parse_index(bytes_of(R"({"metadata":{"total_size":)" + number + R"(},"weight_map":{}})"))
        .total_bytes;
  };
  for (const std::uint64_t total :
       std::initializer_list<std::uint64_t>{0, 1, 9, 10, 90, 18446744073709551615U}) {
    CHECK(total_of(std::to_string(total)) == total);
  }
  for (const char* const other :
       {"18446744073709551616", "99999999999999999999999", "0.0", "1e3", "1E3", "-0", "-5", "\"7\"",
        "null", "true", "[7]", "{\"total_size\":7}"}) {
    CAPTURE(other);
    CHECK_FALSE(total_of(other));
  }
  // Elsewhere it is any other field.
  CHECK_FALSE(parse_index(bytes_of(R"({"total_size":7,"weight_map":{}})")).total_bytes);
  CHECK_FALSE(parse_index(bytes_of(R"({"other":{"total_size":7},"weight_map":{}})")).total_bytes);
  CHECK_FALSE(parse_index(bytes_of(R"({"metadata":{"total":7},"weight_map":{}})")).total_bytes);
  CHECK(parse_index(bytes_of(R"({"weight_map":{},"metadata":{"a":1,"total_size":7}})")).total_bytes ==
        7U);
  CHECK_THROWS_AS(total_of("07"), nibble::error);
  CHECK_THROWS_AS(total_of("1."), nibble::error);
}

TEST_CASE("what is wrong with an index is refused by name", "[safetensors_index]") {
  struct row {
    std::string text;
    std::string code;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"", "bad_metadata", {"index", "an object"}},
      {"[]", "bad_metadata", {"an array", "an object"}},
      {"{}", "bad_metadata", {"no weight_map"}},
      {R"({"weight_map":[]})", "bad_metadata", {"an array", "an object"}},
      {R"({"weight_map":{"a":1}})", "bad_metadata", {"'a'", "found 1", "name of a file"}},
      {R"({"weight_map":{"a":"f"},"weight_map":{"b":"f"}})", "bad_metadata", {"weight_map", "second"}},
      {R"({"weight_map":{"a":"f"}} x)", "bad_metadata", {"index, byte"}},
      {R"({"weight_map":{"a":"f"})", "bad_metadata", {"index, byte"}},
      {"{\"weight_map\":{\"a\":\"\xFF\"}}", "bad_metadata", {"UTF-8"}},
      {R"({"weight_map":{},"more":)" + std::string(1000, '[') + "}", "bad_metadata", {"nesting"}},
      {R"({"weight_map":{"a":"f","b":"g","a":"g"}})", "duplicate_name", {"'a'", "second time"}},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "bad_shard", {"'a'", "/etc/passwd", "separators"}},
      {R"({"weight_map":{"a":"../f"}})", "bad_shard", {"'a'", "../f"}},
      {R"({"weight_map":{"a":".."}})", "bad_shard", {"'a'", "'..'"}},
      {R"({"weight_map":{"a":"d/f"}})", "bad_shard", {"'a'", "d/f"}},
      {R"({"weight_map":{"a":"d\\f"}})", "bad_shard", {"'a'"}},
      {R"({"weight_map":{"a":"f\u0000"}})", "bad_shard", {"'a'"}},
      {R"({"weight_map":{"a":""}})", "bad_shard", {"'a'", "''"}},
  };
  for (const row& wrong : rows) {
    CAPTURE(wrong.text.substr(0, 100));
    const auto result = outcome_of([&] { static_cast<void>(parse_index(bytes_of(wrong.text))); });
    CHECK(result.code == wrong.code);
    CHECK(missing_parts(result.message, wrong.named).empty());
  }
}

TEST_CASE("an index is told from a container by its bytes", "[safetensors_index]") {
  CHECK(is_index(bytes_of("{}")));
  CHECK(is_index(bytes_of(" \r\n\t{")));
  CHECK_FALSE(is_index(bytes_of("")));
  CHECK_FALSE(is_index(bytes_of("  ")));
  CHECK_FALSE(is_index(bytes_of("APR\0"s)));
  CHECK_FALSE(is_index(bytes_of("GGUF")));
  // A header of 123 bytes: its length starts with the byte of an opening brace.
  CHECK_FALSE(is_index(bytes_of("{\0\0\0\0\0\0\0{"s)));
}
