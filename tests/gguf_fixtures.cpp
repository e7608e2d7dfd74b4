#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/compute/dequantize.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>
#include <nibble/writer.hpp>

#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>

/// What ggml wrote, and what comes of GGUF files on their way through .apr.
using nibble_test::byte_list;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// "q4_K", as ggml spells it, is q4_k here.
std::string ggml_encoding_name(std::string ggml_name) {
  std::ranges::replace(ggml_name, 'K', 'k');
  return ggml_name;
}

/// The file that holds everything of `from` in another container.
byte_list rewritten(const nibble::reader& from, nibble::container as) {
  const nibble_test::temporary_directory folder;
  nibble::writer out;
  out.metadata() = from.metadata();
  out.metadata().erase("nibble");
  out.metadata().erase("quantization");
  for (const nibble::tensor_view& tensor : from) {
    out.add_stored(tensor.encoding(), std::string(tensor.name()), tensor.shape(), tensor.bytes());
  }
  out.write(folder / "file", {.container = as});
  return nibble_test::read_file(folder / "file");
}

}  // namespace

TEST_CASE("ggml's GGUF fixture opens and lists what ggml wrote", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const fs::path folder = shared / "fixtures" / "gguf";
  std::ifstream in_json(folder / "types.json");
  const json said = json::parse(in_json);
  const auto dump = nibble_test::read_file(folder / "types.f32");
  for (const auto how : {nibble::file_access::mapped, nibble::file_access::read}) {
    const nibble::reader in((folder / "types.gguf").string(), how);
    CHECK(in.container() == nibble::container::gguf);
    REQUIRE(in.size() == said.size());
    std::size_t decoded = 0;
    for (const json& tensor : said) {
      const std::string name = tensor["name"];
      CAPTURE(name);
      const nibble::tensor_view* const view = in.find(name);
      REQUIRE(view != nullptr);
      CHECK(view->dtype_id() == tensor["ggml_type"].get<std::uint32_t>());
      CHECK(nibble::to_string(view->encoding()) == ggml_encoding_name(tensor["type_name"]));
      CHECK(view->shape() == nibble::shape(tensor["shape"].get<std::vector<std::uint64_t>>()));
      CHECK(view->bytes().size() == tensor["bytes"]);
      const nibble::encoding_description& row = nibble::describe(view->encoding());
      CHECK(row.block_elements == tensor["block_elements"]);
      CHECK(row.block_bytes == tensor["block_bytes"]);
      if (!nibble::is_decodable(view->encoding())) continue;
      std::vector<float> values(static_cast<std::size_t>(view->elements()));
      nibble::dequantize(*view, values);
      const auto expected =
          std::span(dump).subspan(tensor["f32_offset"].get<std::size_t>(), 4 * values.size());
      CHECK(std::ranges::equal(std::as_bytes(std::span(values)), expected));
      ++decoded;
    }
    CHECK(decoded >= 3);
    CHECK_NOTHROW(in.verify());
  }
}

TEST_CASE("ggml's metadata appears as it was given", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const nibble::reader in((shared / "fixtures/gguf/types.gguf").string());
  CHECK(in.metadata() == json{{"general.architecture", "fixture"},
                              {"general.alignment", 32},
                              {"fixture.bool", true},
                              {"fixture.i64", -9007199254740993},
                              {"fixture.f64", 0.1},
                              {"fixture.unicode", "\xE2\x96\x81na\xC3\xAFve"},
                              {"fixture.strings", {"alpha", "beta", ""}},
                              {"fixture.floats", {1.5, -2.25}},
                              {"nibble.gguf", {{"types", {{"fixture.f64", "f64"}}}}}});
}

TEST_CASE("ggml's file survives .apr: the same types, values and tensor bytes", "[fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const nibble::reader first((shared / "fixtures/gguf/types.gguf").string());
  const byte_list apr = rewritten(first, nibble::container::apr);
  const nibble::reader between(apr);
  CHECK(between.container() == nibble::container::apr);
  const byte_list last_bytes = rewritten(between, nibble::container::gguf);
  const nibble::reader last(last_bytes);
  CHECK(last.metadata() == first.metadata());
  CHECK(last.size() == first.size());
  for (const nibble::tensor_view& tensor : first) {
    CAPTURE(tensor.name());
    CHECK(last[tensor.name()].dtype_id() == tensor.dtype_id());
    CHECK(last[tensor.name()].shape() == tensor.shape());
    CHECK(std::ranges::equal(last[tensor.name()].bytes(), tensor.bytes()));
  }
  // Straight into GGUF gives the same file.
  CHECK(rewritten(first, nibble::container::gguf) == last_bytes);
}

TEST_CASE("a GGUF file with a value of every type survives .apr byte for byte", "[fixtures]") {
  auto sample = nibble_test::sample_gguf_file();
  std::erase_if(sample.tensors, [](const auto& tensor) { return tensor.name == "other"; });
  std::ranges::sort(sample.tensors, {}, &nibble_test::gguf_tensor::name);
  std::ranges::sort(sample.metadata, {}, &nibble_test::gguf_value::key);
  const byte_list file = sample.bytes();
  const byte_list apr = rewritten(nibble::reader(file), nibble::container::apr);
  CHECK(nibble::reader(apr).metadata()["a.u64"] == ~std::uint64_t{0});
  CHECK(rewritten(nibble::reader(apr), nibble::container::gguf) == file);
}
