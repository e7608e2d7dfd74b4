#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>

/// What the reference implementation of .apr wrote, read here as it was read there.
using nibble_test::outcome_of;
using nibble_test::plain_crc32;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// Names in the fixtures' JSON, where q4 and q8 are what this library calls apr_q4 and apr_q8.
std::string fixture_encoding_name(const std::string& dtype) {
  return dtype == "q4" || dtype == "q8" ? "apr_" + dtype : dtype;
}

std::vector<float> floats_in(const fs::path& path) {
  const auto bytes = nibble_test::read_file(path);
  REQUIRE(bytes.size() % 4 == 0);
  std::vector<float> values(bytes.size() / 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::bit_cast<float>(nibble_test::number_at<std::uint32_t>(bytes, 4 * i));
  }
  return values;
}

bool is_nan_pattern(float value) {
  return (std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU) > 0x7F800000U;
}

/// Bits that differ, any NaN being like any other.
std::size_t differences(std::span<const float> a, std::span<const float> b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const bool same = std::bit_cast<std::uint32_t>(a[i]) == std::bit_cast<std::uint32_t>(b[i]) ||
                      (is_nan_pattern(a[i]) && is_nan_pattern(b[i]));
    count += same ? 0U : 1U;
  }
  return count;
}

std::uint32_t sum_of(const json& hex) {
  return static_cast<std::uint32_t>(std::stoul(hex.get<std::string>(), nullptr, 16));
}

struct fixture {
  fs::path file;
  json said;
};

std::vector<fixture> all_fixtures(const fs::path& shared) {
  std::vector<fixture> all;
  for (const auto& found : fs::directory_iterator(shared / "fixtures" / "apr")) {
    if (found.path().extension() != ".apr") continue;
    std::ifstream in(found.path().string() + ".json");
    REQUIRE(in);
    all.push_back({found.path(), json::parse(in)});
  }
  std::ranges::sort(all, {}, &fixture::file);
  return all;
}

}  // namespace

TEST_CASE("every .apr fixture opens and lists what the reference wrote", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const auto all = all_fixtures(shared);
  CHECK(all.size() >= 14);
  for (const auto& [file, said] : all) {
    CAPTURE(file.filename().string());
    for (const auto how : {nibble::file_access::mapped, nibble::file_access::read}) {
      const nibble::reader in(file.string(), how);
      CHECK(in.container() == nibble::container::apr);
      CHECK(in.file_bytes() == said["file_size"]);
      REQUIRE(in.size() == said["tensors"].size());
      for (const json& tensor : said["tensors"]) {
        const std::string name = tensor["name"];
        CAPTURE(name);
        const nibble::tensor_view* const view = in.find(name);
        REQUIRE(view != nullptr);
        CHECK(view->dtype_id() == tensor["dtype_id_on_disk"].get<std::uint32_t>());
        CHECK(nibble::to_string(view->encoding()) == fixture_encoding_name(tensor["dtype"]));
        const std::vector<std::uint64_t> dimensions(view->shape().dimensions().begin(),
                                                    view->shape().dimensions().end());
        CHECK(dimensions == tensor["shape"].get<std::vector<std::uint64_t>>());
        CHECK(view->elements() == tensor["elements"]);
        CHECK(view->file_offset_bytes() == tensor["file_offset"]);
        CHECK(view->bytes().size() == tensor["size"]);
        CHECK(plain_crc32(view->bytes()) == sum_of(tensor["raw_crc32"]));
      }
    }
  }
}

TEST_CASE("fixtures decode to the reference's values bit for bit", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  std::size_t dumps = 0;
  std::size_t whole_sums = 0;
  std::set<std::string> left_out;
  for (const auto& [file, said] : all_fixtures(shared)) {
    const nibble::reader in(file.string());
    for (const json& tensor : said["tensors"]) {
      const std::string name = tensor["name"];
      CAPTURE(file.filename().string(), name);
      const nibble::tensor_view& view = in[name];
      std::vector<float> values(static_cast<std::size_t>(view.elements()));
      if (!nibble::is_decodable(view.encoding())) {
        left_out.insert(std::string(nibble::to_string(view.encoding())));
        CHECK(outcome_of([&] { nibble::dequantize(view, values); }).code == "unsupported_encoding");
        continue;
      }
      nibble::dequantize(view, values);
      // No dump: the reference itself reads nothing there, though the values are plain.
      if (!tensor.contains("f32") || !tensor["f32"].is_object()) continue;
      const json& f32 = tensor["f32"];
      const json& dump = f32["dump"];
      const auto expected = floats_in(file.parent_path() / dump["file"].get<std::string>());
      REQUIRE(expected.size() == dump["values"]);
      REQUIRE(expected.size() <= values.size());
      CHECK(values.size() == f32["values"]);
      CHECK(differences(std::span(values).first(expected.size()), expected) == 0);
      ++dumps;
      if (f32["nan"] == 0) {
        CHECK(plain_crc32(std::as_bytes(std::span(values))) == sum_of(f32["crc32"]));
        ++whole_sums;
      }
    }
  }
  CHECK(dumps >= 60);
  CHECK(whole_sums >= 50);
  for (const std::string& name : left_out) CHECK((name == "q4_k" || name == "q6_k"));
}

TEST_CASE("whole numbers that the reference does not read have the values they were given",
          "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const nibble::reader in((shared / "fixtures/apr/other_dtypes.apr").string());
  for (const char* const name : {"f64", "i32", "i64", "i8", "u8"}) {
    const nibble::tensor_view& view = in[name];
    std::vector<float> values(static_cast<std::size_t>(view.elements()));
    nibble::dequantize(view, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::string which = name;
      const auto bytes = view.bytes();
      const float expected =
          which == "f64"   ? static_cast<float>(std::bit_cast<double>(
                               nibble_test::number_at<std::uint64_t>(bytes, 8 * i)))
          : which == "i32" ? static_cast<float>(nibble_test::number_at<std::int32_t>(bytes, 4 * i))
          : which == "i64" ? static_cast<float>(nibble_test::number_at<std::int64_t>(bytes, 8 * i))
          : which == "i8"  ? static_cast<float>(nibble_test::number_at<std::int8_t>(bytes, i))
                           : static_cast<float>(nibble_test::number_at<std::uint8_t>(bytes, i));
      CHECK(values[i] == expected);
    }
  }
}

TEST_CASE("packing by the reference's rule gives the reference's bytes", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const std::set<std::string> not_representable = {"q4.huge", "q4.inf", "q4.nan", "q8.inf", "q8.nan"};
  std::size_t packed_count = 0;
  std::set<std::string> refused;
  for (const auto& [file, said] : all_fixtures(shared)) {
    const nibble::reader in(file.string());
    for (const json& tensor : said["tensors"]) {
      if (!tensor.contains("src_file")) continue;
      const std::string name = tensor["name"];
      CAPTURE(file.filename().string(), name);
      const nibble::tensor_view& view = in[name];
      const std::string source = tensor["src_file"].get<std::string>().substr(
          0, tensor["src_file"].get<std::string>().find(' '));
      std::vector<float> values = floats_in(file.parent_path() / source);
      if (source == "src_960x576.f32" && name.find("_proj") != std::string::npos) {
        // Rows 0..576 are q, 576..768 k, 768..960 v.
        const std::size_t first = name.find("q_proj") != std::string::npos   ? 0
                                  : name.find("k_proj") != std::string::npos ? 576
                                                                             : 768;
        values = {values.begin() + static_cast<std::ptrdiff_t>(first * 576),
                  values.begin() + static_cast<std::ptrdiff_t>(first * 576 + view.elements())};
      }
      REQUIRE(plain_crc32(std::as_bytes(std::span(values))) == sum_of(tensor["src_crc32"]));
      std::vector<std::byte> packed(view.bytes().size());
      const auto result = outcome_of([&] {
        nibble::quantize(view.encoding(), view.shape(), values, packed,
                         {.rule = nibble::packing_rule::reference}, name);
      });
      if (file.stem() == "edge" && not_representable.contains(name)) {
        CHECK(result.code == "not_representable");
        refused.insert(name);
      } else {
        CHECK(result.code == "taken");
        CHECK(std::ranges::equal(packed, view.bytes()));
        ++packed_count;
      }
    }
  }
  CHECK(packed_count >= 30);
  CHECK(refused == not_representable);
}

TEST_CASE("fixtures are examined without a problem but for the values that are not finite",
          "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  for (const auto& [file, said] : all_fixtures(shared)) {
    CAPTURE(file.filename().string());
    std::set<std::string> not_finite;
    for (const json& tensor : said["tensors"]) {
      const json f32 = tensor.value("f32", json::object());
      if (f32.is_object() && (f32.value("nan", 0) != 0 || f32.value("inf", 0) != 0)) {
        not_finite.insert(tensor["name"].get<std::string>());
      }
    }
    std::set<std::string> found;
    for (const nibble::finding& one : nibble::reader(file.string()).examine()) {
      if (one.severity == nibble::finding::kind::note) continue;
      CAPTURE(one.tensor, one.field, one.text);
      CHECK((one.field == "values" || one.field == "scales"));
      found.insert(one.tensor);
    }
    // The reference stores scales of q4.inf and q4.huge as infinity and reads them as 0.
    if (file.stem() == "edge") not_finite.insert({"q4.inf", "q4.huge"});
    CHECK(found == not_finite);
  }
}

TEST_CASE("what the fixtures' names and metadata hold is kept", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const nibble::reader in((shared / "fixtures/apr/mixed_meta.apr").string());
  CHECK(in.contains(""));
  CHECK(in.contains("\xD1\x81\xD0\xBB\xD0\xBE\xD0\xB9.0.\xD0\xB2\xD0\xB5\xD1\x81"));
  CHECK(in.contains("\xE5\xB1\x82.0.\xE6\x9D\x83\xE9\x87\x8D"));
  std::size_t longest = 0;
  for (const nibble::tensor_view& tensor : in) longest = std::max(longest, tensor.name().size());
  CHECK(longest == 256);
  CHECK(in.metadata()["param_count"] == 18446744073709551615U);
  CHECK(in.metadata()["total_size"] == 9007199254740993U);  // no double holds it
  CHECK(in.metadata()["sharding"]["shard_count"] == 3);
  const auto findings = in.examine();
  CHECK(std::ranges::any_of(
      findings, [](const auto& one) { return one.text.find("signature") != std::string::npos; }));
  CHECK(std::ranges::any_of(findings, [](const auto& one) { return one.text == "the name is empty"; }));
}

TEST_CASE("tensors of a streamed fixture come in the order of their bytes", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const nibble::reader in((shared / "fixtures/apr/streaming.apr").string());
  std::uint64_t previous = 0;
  for (const nibble::tensor_view& tensor : in) {
    CHECK(tensor.file_offset_bytes() >= previous);
    previous = tensor.file_offset_bytes();
  }
  CHECK(in.tensors().front().name() == "z.q4_64x172");
  CHECK(in["y.empty"].file_offset_bytes() == in["b.q4k_2x256"].file_offset_bytes());
}

TEST_CASE("a real model's safetensors file is opened and found sound", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const nibble::reader in((shared / "models/stories260K/model.safetensors").string());
  CHECK(in.container() == nibble::container::safetensors);
  CHECK_NOTHROW(in.verify());
  std::uint64_t elements = 0;
  for (const nibble::tensor_view& tensor : in) {
    CHECK(tensor.encoding() == nibble::encoding::f32);
    elements += tensor.elements();
  }
  CHECK(elements > 250'000);
  CHECK(elements < 300'000);
}
