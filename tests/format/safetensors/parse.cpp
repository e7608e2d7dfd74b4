#include <nibble/format/safetensors/parse.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/safetensors_bytes.hpp>

using nibble::encoding;
using nibble_test::lone;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::with_header;
using namespace std::string_literals;

namespace {

using file_bytes = std::vector<std::byte>;

outcome parse(const file_bytes& file) {
  return nibble_test::outcome_of([&] { static_cast<void>(nibble::safetensors::parse(file)); });
}

const std::string good_header = R"({"__metadata__":{"format":"pt","n":"1"},)"
                                R"("w.b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},)"
                                R"("w.a":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},)"
                                R"("w.c":{"data_offsets":[32,32],"shape":[0,5],"dtype":"F16"},)"
                                R"("w.d":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[32,35]},)"
                                R"("w.e":{"dtype":"U8","shape":[],"data_offsets":[35,36]}}   )";
constexpr std::size_t good_data_bytes = 36;

}  // namespace

TEST_CASE("a safetensors file is read in its own order", "[safetensors_parse]") {
  const file_bytes file = with_header(good_header, good_data_bytes);
  const auto parsed = nibble::safetensors::parse(file);
  CHECK(parsed.container == nibble::container::safetensors);
  CHECK(parsed.metadata == nlohmann::json{{"format", "pt"}, {"n", "1"}});
  CHECK(parsed.metadata_text == good_header);
  CHECK(parsed.notes.empty());
  CHECK_FALSE(parsed.footer_crc32.has_value());
  REQUIRE(parsed.tensors.size() == 5);
  struct row {
    std::string name;
    std::string dtype;
    std::optional<encoding> which;
    nibble::shape shape;
    std::uint64_t offset;
    std::uint64_t size;
  };
  const std::vector<row> rows = {{"w.b", "F32", encoding::f32, {2, 3}, 8, 24},
                                 {"w.a", "BF16", encoding::bf16, {4}, 0, 8},
                                 {"w.c", "F16", encoding::f16, {0, 5}, 32, 0},
                                 {"w.d", "F8_E4M3", encoding::f8_e4m3, {3}, 32, 3},
                                 {"w.e", "U8", encoding::u8, {}, 35, 1}};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const nibble::tensor_info& tensor = parsed.tensors[i];
    CHECK(tensor.name == rows[i].name);
    CHECK(tensor.dtype == rows[i].dtype);
    CHECK(tensor.encoding == rows[i].which);
    CHECK(tensor.shape == rows[i].shape);
    CHECK(tensor.file_offset_bytes == 8 + good_header.size() + rows[i].offset);
    CHECK(tensor.size_bytes == rows[i].size);
    CHECK_FALSE(tensor.dtype_id.has_value());
    CHECK_FALSE(tensor.crc32.has_value());
  }
}

TEST_CASE("every dtype of the format that this library knows is resolved", "[safetensors_parse]") {
  // The reference implementation's dtypes, and the bytes of 12 elements by its bits for each.
  const std::map<std::string, std::pair<encoding, std::size_t>> dtypes = {
      {"BOOL", {encoding::bool8, 12}},
      {"F4", {encoding::f4, 6}},
      {"F6_E2M3", {encoding::f6_e2m3, 9}},
      {"F6_E3M2", {encoding::f6_e3m2, 9}},
      {"U8", {encoding::u8, 12}},
      {"I8", {encoding::i8, 12}},
      {"F8_E5M2", {encoding::f8_e5m2, 12}},
      {"F8_E4M3", {encoding::f8_e4m3, 12}},
      {"F8_E8M0", {encoding::f8_e8m0, 12}},
      {"F8_E4M3FNUZ", {encoding::f8_e4m3fnuz, 12}},
      {"F8_E5M2FNUZ", {encoding::f8_e5m2fnuz, 12}},
      {"I16", {encoding::i16, 24}},
      {"U16", {encoding::u16, 24}},
      {"F16", {encoding::f16, 24}},
      {"BF16", {encoding::bf16, 24}},
      {"I32", {encoding::i32, 48}},
      {"U32", {encoding::u32, 48}},
      {"F32", {encoding::f32, 48}},
      {"C64", {encoding::c64, 96}},
      {"F64", {encoding::f64, 96}},
      {"I64", {encoding::i64, 96}},
      {"U64", {encoding::u64, 96}}};
  CHECK(dtypes.size() == 22);
  for (const auto& [dtype, known] : dtypes) {
    const auto header = lone(
        fmt::format(R"({{"dtype":"{}","shape":[3,4],"data_offsets":[0,{}]}})", dtype, known.second));
    CAPTURE(dtype);
    CHECK(nibble::safetensors::parse(with_header(header, known.second)).tensors[0].encoding ==
          known.first);
    const auto longer = lone(fmt::format(R"({{"dtype":"{}","shape":[3,4],"data_offsets":[0,{}]}})",
                                         dtype, known.second + 1));
    CHECK(parse(with_header(longer, known.second + 1)).code == "size_mismatch");
  }
  // Of dtypes that nobody knows yet the bytes are kept.
  for (const char* const dtype : {"F2", "F8_E3M4", "f32", ""}) {
    const auto header =
        lone(fmt::format(R"({{"dtype":"{}","shape":[3],"data_offsets":[0,12]}})", dtype));
    const auto parsed = nibble::safetensors::parse(with_header(header, 12));
    CHECK_FALSE(parsed.tensors[0].encoding.has_value());
    CHECK(parsed.tensors[0].dtype == dtype);
  }
}

TEST_CASE("a safetensors entry may say what nobody knows yet", "[safetensors_parse]") {
  const auto parsed = nibble::safetensors::parse(with_header(
      lone(R"({"more":{"a":[1,{"b":"\"}"}]},"dtype":"U8","shape":[1],"data_offsets":[0,1],"":null})"),
      1));
  CHECK(parsed.tensors[0].encoding == encoding::u8);
}

TEST_CASE("a safetensors file may say that it has no metadata", "[safetensors_parse]") {
  CHECK(nibble::safetensors::parse(with_header(R"({"__metadata__":null})", 0)).metadata ==
        nlohmann::json::object());
  CHECK(nibble::safetensors::parse(with_header(R"({"__metadata__":{"a":"1","a":"2"}})", 0)).metadata ==
        nlohmann::json{{"a", "2"}});
}

TEST_CASE("a safetensors file of nothing is read", "[safetensors_parse]") {
  CHECK(nibble::safetensors::parse(with_header("{}", 0)).tensors.empty());
  CHECK(nibble::safetensors::parse(with_header("{\"__metadata__\":{}}", 0)).metadata.empty());
}

TEST_CASE("names of a safetensors file may hold what JSON may", "[safetensors_parse]") {
  const auto parsed = nibble::safetensors::parse(
      with_header(R"({"\u00e9\"\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1));
  CHECK(parsed.tensors[0].name == "\xC3\xA9\"\n");
}

TEST_CASE("what does not start as a safetensors header does is refused by name",
          "[safetensors_parse]") {
  struct row {
    std::string header;
    std::size_t data_bytes;
    std::string code;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"[]", 0, "bad_metadata", {"header", "opening brace"}},
      {" {}", 0, "bad_metadata", {"header", "opening brace"}},
      {"\xEF\xBB\xBF{}", 0, "bad_metadata", {"header", "opening brace"}},
      {"", 0, "bad_metadata", {"header"}},
  };
  for (const row& wrong : rows) {
    CAPTURE(wrong.header.substr(0, 200));
    const outcome result = parse(with_header(wrong.header, wrong.data_bytes));
    CHECK(result.code == wrong.code);
    CHECK(missing_parts(result.message, wrong.named).empty());
  }
}

TEST_CASE("a safetensors header longer than the format allows is refused", "[safetensors_parse]") {
  file_bytes file = with_header("{}", 0);
  nibble_test::put_number(file, 0, std::uint64_t{100'000'001});
  CHECK(parse(file).code == "bad_metadata");
  CHECK(missing_parts(parse(file).message, {"header length", "100000001", "100000000"}).empty());
  nibble_test::put_number(file, 0, ~std::uint64_t{0});
  CHECK(parse(file).code == "bad_metadata");
  nibble_test::put_number(file, 0, std::uint64_t{100'000'000});
  CHECK(parse(file).code == "truncated");
}

TEST_CASE("a safetensors file cut at any byte is refused for what it lacks", "[safetensors_parse]") {
  const file_bytes whole = with_header(good_header, good_data_bytes);
  REQUIRE(parse(whole).code == "taken");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const file_bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const outcome result = parse(cut);
    CAPTURE(size);
    CHECK(result.code == "truncated");
    const std::string lacking = size < 8                        ? "header length"
                                : size < 8 + good_header.size() ? "header"
                                                                : "data";
    CHECK(missing_parts(result.message, {lacking}).empty());
  }
  for (const std::size_t more : {1U, 64U}) {
    file_bytes longer = whole;
    longer.resize(whole.size() + more);
    CHECK(parse(longer).code == "bad_layout");
  }
}

TEST_CASE("a safetensors file is told by its first bytes", "[safetensors_parse]") {
  using nibble::safetensors::has_magic;
  CHECK(has_magic(with_header("{}", 0)));
  CHECK_FALSE(has_magic(with_header("[]", 0)));
  CHECK_FALSE(has_magic({}));
  file_bytes implausible = with_header("{}", 0);
  nibble_test::put_number(implausible, 0, std::uint64_t{1} << 60U);
  CHECK_FALSE(has_magic(implausible));
  nibble_test::put_number(implausible, 0, std::uint64_t{1});
  CHECK_FALSE(has_magic(implausible));
  file_bytes cut = with_header("{}", 0);
  cut.resize(8);
  CHECK_FALSE(has_magic(cut));
}

TEST_CASE("whatever bytes a safetensors file has, it is refused or proved", "[safetensors_parse]") {
  std::mt19937 generator(23);
  int taken = 0;
  for (int turn = 0; turn < 5000; ++turn) {
    file_bytes file = with_header(good_header, good_data_bytes);
    for (auto changes = 1 + generator() % 2U; changes != 0; --changes) {
      static constexpr std::string_view telling = "{}[]\",:0129 \\\x01\xFF";
      file[8 + generator() % good_header.size()] =
          static_cast<std::byte>(telling[generator() % telling.size()]);
    }
    try {
      const auto parsed = nibble::safetensors::parse(file);
      ++taken;
      std::uint64_t covered = 0;
      for (const auto& tensor : parsed.tensors) {
        REQUIRE(tensor.file_offset_bytes <= file.size());
        REQUIRE(tensor.size_bytes <= file.size() - tensor.file_offset_bytes);
        covered += tensor.size_bytes;
      }
      REQUIRE(covered == good_data_bytes);
    } catch (const nibble::error&) {
    }
  }
  CHECK(taken > 50);
  CHECK(taken < 4000);
}
