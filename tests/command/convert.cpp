#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/codec/codecs.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/gguf_bytes.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::outcome;
using nibble_test::read_file;
using nibble_test::read_safetensors;
using nibble_test::require_contains;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::run;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::words;
using nibble_test::write_file;
using nibble_test::write_safetensors;
using nlohmann::json;

namespace {

/// What `inspect --json` says, tensors by name.
struct listing {
  explicit listing(const std::string& path)
      : all(json::parse(require_success({"inspect", path, "--json"}))), file(read_file(path)) {
    for (const json& tensor : all.at("tensors")) tensors[tensor.at("name")] = tensor;
  }
  [[nodiscard]] std::string encoding(const std::string& name) const {
    return tensors.at(name).at("encoding");
  }
  [[nodiscard]] std::vector<std::byte> bytes(const std::string& name) const {
    const json& tensor = tensors.at(name);
    const auto part = std::span(file).subspan(tensor.at("offset").get<std::size_t>(),
                                              tensor.at("bytes").get<std::size_t>());
    return {part.begin(), part.end()};
  }

  json all;
  std::vector<std::byte> file;
  json tensors = json::object();
};

stored_tensor f32_tensor(std::string name, std::vector<std::uint64_t> shape, std::uint32_t seed) {
  std::uint64_t elements = 1;
  for (const std::uint64_t dimension : shape) elements *= dimension;
  return {std::move(name), "F32", std::move(shape),
          nibble_test::bytes_of(nibble_test::gaussian(static_cast<std::size_t>(elements), seed))};
}

/// Values of an f32 tensor in the file that unpack makes of `path`.
std::vector<float> values_of(const temporary_directory& folder, const std::string& path,
                             const std::string& name) {
  require_success({"unpack", path, "-o", folder / "values.safetensors"});
  return nibble_test::numbers_of<float>(read_safetensors(folder / "values.safetensors")[name].bytes);
}

/// A GGUF file of types that this library knows, sorted as it writes them.
nibble_test::gguf_file sorted_sample() {
  auto sample = nibble_test::sample_gguf_file();
  std::erase_if(sample.tensors, [](const auto& tensor) { return tensor.name == "other"; });
  std::ranges::sort(sample.tensors, {}, &nibble_test::gguf_tensor::name);
  std::ranges::sort(sample.metadata, {}, &nibble_test::gguf_value::key);
  return sample;
}

}  // namespace

TEST_CASE("convert takes a GGUF file to .apr and back byte for byte", "[convert]") {
  const temporary_directory folder;
  const auto file = sorted_sample().bytes();
  write_file(folder / "a.gguf", file);
  const std::string out = require_success({"convert", folder / "a.gguf", "-o", folder / "b.apr"});
  require_contains(out, {"blk.1.q", "q4_0", "bit for bit", folder / "b.apr", "7 tensors"});
  CHECK(out.find("moved") == std::string::npos);
  const listing apr(folder / "b.apr");
  CHECK(apr.all["format"] == "apr");
  CHECK(apr.all["metadata"]["general.architecture"] == "llama");
  CHECK(apr.encoding("blk.0.k") == "q4_k");
  for (const auto& tensor : sorted_sample().tensors) CHECK(apr.bytes(tensor.name) == tensor.bytes);

  require_success({"convert", folder / "b.apr", "-o", folder / "c.gguf"});
  CHECK(read_file(folder / "c.gguf") == file);
  require_success({"convert", folder / "a.gguf", "-o", folder / "d.gguf"});
  CHECK(read_file(folder / "d.gguf") == file);
  require_success({"convert", folder / "d.gguf", "-o", folder / "d.gguf", "--threads", "3"});
  CHECK(read_file(folder / "d.gguf") == file);
}

TEST_CASE("convert and merge keep a type that is not known in GGUF, and nowhere else", "[convert]") {
  const temporary_directory folder;
  auto sample = nibble_test::sample_gguf_file();
  std::ranges::sort(sample.tensors, {}, &nibble_test::gguf_tensor::name);
  std::ranges::sort(sample.metadata, {}, &nibble_test::gguf_value::key);
  write_file(folder / "a.gguf", sample.bytes());
  const std::string out = require_success({"convert", folder / "a.gguf", "-o", folder / "b.gguf"});
  require_contains(out, {"id 36"});
  CHECK(read_file(folder / "b.gguf") == sample.bytes());
  require_success({"merge", folder / "a.gguf", "-o", folder / "c.gguf"});
  CHECK(read_file(folder / "c.gguf") == sample.bytes());
  std::erase_if(sample.tensors, [](const auto& tensor) { return tensor.name != "other"; });
  write_file(folder / "a.gguf", sample.bytes());
  for (const std::string& to : {folder / "b.apr", folder / "b.safetensors"}) {
    require_refusal(run({"convert", folder / "a.gguf", "-o", to}), 2, {"a.gguf", "'other'", "id 36"});
  }
  require_refusal(run({"split", folder / "a.gguf", "-o", folder / "b.apr", "--shard-size", "99"}), 2,
                  {"a.gguf", "'other'", "id 36"});

  write_safetensors(folder / "a.safetensors", {{"odd", "X7", {3}, std::vector<std::byte>(2)}});
  require_success({"convert", folder / "a.safetensors", "-o", folder / "b.safetensors"});
  const auto kept = read_safetensors(folder / "b.safetensors")["odd"];
  CHECK(kept.dtype == "X7");
  CHECK(kept.shape == std::vector<std::uint64_t>{3});
  CHECK(kept.bytes.size() == 2);
}

TEST_CASE("convert stores q4 as Q4_1 and apr_q4 as Q4_0, values kept", "[convert]") {
  const temporary_directory folder;
  // More than a part of 1 MiB, whose end is no block's.
  write_safetensors(folder / "in.safetensors",
                    {f32_tensor("w", {700, 4096}, 1), f32_tensor("n", {48}, 2)});
  for (const std::string encoding : {"q4", "apr_q4"}) {
    const std::string apr = folder / (encoding + ".apr");
    const std::string gguf = folder / (encoding + ".gguf");
    require_success({"pack", folder / "in.safetensors", "-o", apr, "--encoding", encoding});
    const std::string out = require_success({"convert", apr, "-o", gguf});
    const listing from(apr);
    const listing to(gguf);
    CHECK(to.all["format"] == "gguf");
    CHECK(to.bytes("n") == from.bytes("n"));
    CHECK_FALSE(to.all["metadata"].contains("nibble"));
    CHECK_FALSE(to.all["metadata"].contains("quantization"));
    require_contains(out, {"checksums"});
    if (encoding == "q4") {
      CHECK(to.encoding("w") == "q4_1");
      CHECK(to.bytes("w") == from.bytes("w"));
      require_contains(out, {"q4_1", "bit for bit"});
      continue;
    }
    CHECK(to.encoding("w") == "q4_0");
    require_contains(out, {"q4_0", "codes moved"});
    // Q4_0 by ggml's definition.
    const auto expected = values_of(folder, apr, "w");
    const auto blocks = to.bytes("w");
    std::size_t different = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const std::size_t block = i / 32 * 18;
      const std::size_t j = i % 32;
      const float scale = nibble_test::half_value(nibble_test::number_at<std::uint16_t>(blocks, block));
      const auto pair = std::to_integer<unsigned>(blocks[block + 2 + j % 16]);
      const unsigned code = j < 16 ? pair & 15U : pair >> 4U;
      const float value = scale * (static_cast<float>(code) - 8.0F);
      different += std::bit_cast<std::uint32_t>(value) != std::bit_cast<std::uint32_t>(expected[i]);
    }
    CHECK(different == 0);
  }
}

TEST_CASE("convert puts rows of q4 and q8 side by side, and back bit for bit", "[convert]") {
  const temporary_directory folder;
  write_safetensors(folder / "a.safetensors",
                    {f32_tensor("four", {21, 70}, 1), f32_tensor("eight", {9, 64}, 2),
                     f32_tensor("whole", {8, 96}, 3), f32_tensor("gains", {70}, 4)});
  require_success({"pack", folder / "a.safetensors", "-o", folder / "q.apr", "-e", "q4", "--tensor",
                   "eight=q8", "--tensor", "gains=q4"});
  const std::string out =
      require_success({"convert", folder / "q.apr", "-o", folder / "r.apr", "--rows", "interleaved"});
  require_contains(out, {"q4_r8", "q8_r8", "rows interleaved, bit for bit"});
  const listing interleaved(folder / "r.apr");
  CHECK(interleaved.encoding("four") == "q4_r8");
  CHECK(interleaved.encoding("eight") == "q8_r8");
  CHECK(interleaved.encoding("whole") == "q4_r8");
  // A vector would be counted up to eight rows.
  CHECK(interleaved.encoding("gains") == "q4");
  CHECK(interleaved.bytes("four").size() == 3 * 3 * 160);
  CHECK(interleaved.bytes("eight").size() == 2 * 2 * 288);
  // What pack makes of the floats with this encoding is the same.
  require_success({"pack", folder / "a.safetensors", "-o", folder / "p.apr", "-e", "q4_r8", "--tensor",
                   "eight=q8_r8"});
  const listing packed(folder / "p.apr");
  for (const char* const name : {"four", "eight", "whole"}) {
    CHECK(packed.bytes(name) == interleaved.bytes(name));
    CHECK(values_of(folder, folder / "r.apr", name) == values_of(folder, folder / "q.apr", name));
  }
  for (const char* const name : {"r.apr", "p.apr"}) require_success({"verify", folder / name});
  require_success({"diff", folder / "q.apr", folder / "r.apr"});

  require_contains(require_success({"convert", folder / "r.apr", "-o", folder / "s.apr", "--rows",
                                    "separate", "--threads", "3"}),
                   {"rows separated, bit for bit"});
  CHECK(read_file(folder / "s.apr") == read_file(folder / "q.apr"));
  // Left as they are unless told.
  require_success({"convert", folder / "r.apr", "-o", folder / "t.apr"});
  CHECK(read_file(folder / "t.apr") == read_file(folder / "r.apr"));
  require_refusal(run({"convert", folder / "r.apr", "-o", folder / "u.apr", "--rows", "across"}), 2,
                  {"--rows", "across", "interleaved", "separate"});

  // GGUF has blocks of rows alone: what is whole there is Q4_1, the same as from q4.
  require_success({"convert", folder / "r.apr", "-o", folder / "r.gguf", "--requantize"});
  require_success({"convert", folder / "q.apr", "-o", folder / "q.gguf", "--requantize"});
  const listing from_interleaved(folder / "r.gguf");
  CHECK(from_interleaved.encoding("whole") == "q4_1");
  CHECK(from_interleaved.bytes("whole") == listing(folder / "q.gguf").bytes("whole"));
  CHECK(read_file(folder / "r.gguf") == read_file(folder / "q.gguf"));
  require_refusal(run({"convert", folder / "r.apr", "-o", folder / "v.gguf"}), 2, {"--requantize"});
  require_refusal(run({"convert", folder / "r.apr", "-o", folder / "v.safetensors"}), 2,
                  {"safetensors has no dtype for"});
}

TEST_CASE("convert refuses what GGUF cannot hold bit for bit, unless it may requantize", "[convert]") {
  const temporary_directory folder;
  write_safetensors(folder / "in.safetensors",
                    {f32_tensor("w", {6, 64}, 1), f32_tensor("odd", {5, 33}, 2)});
  for (const std::string encoding : {"q8", "apr_q8", "q4", "apr_q4"}) {
    const std::string apr = folder / (encoding + ".apr");
    require_success(
        {"pack", folder / "in.safetensors", "-o", apr, "--encoding", encoding, "--drop", "w"});
    require_refusal(run({"convert", apr, "-o", folder / "out.gguf"}), 2,
                    {apr, "'odd'", encoding, "--requantize", "f32"});
    CHECK_FALSE(std::filesystem::exists(folder / "out.gguf"));
    const std::string out =
        require_success({"convert", apr, "-o", folder / "out.gguf", "--requantize"});
    require_contains(out, {"odd", "expanded"});
    CHECK(listing(folder / "out.gguf").encoding("odd") == "f32");
    CHECK(values_of(folder, folder / "out.gguf", "odd") == values_of(folder, apr, "odd"));
    std::filesystem::remove(folder / "out.gguf");
  }
  for (const std::string encoding : {"q8", "apr_q8"}) {
    const std::string apr = folder / (encoding + ".apr");
    require_success(
        {"pack", folder / "in.safetensors", "-o", apr, "--encoding", encoding, "--drop", "odd"});
    require_refusal(run({"convert", apr, "-o", folder / "out2.gguf"}), 2,
                    {apr, "'w'", encoding, "--requantize", "q8_0"});
    const std::string out =
        require_success({"convert", apr, "-o", folder / "out2.gguf", "--requantize"});
    require_contains(out, {"q8_0", "requantized"});
    CHECK(listing(folder / "out2.gguf").encoding("w") == "q8_0");
    nibble_test::relative_rmse error;
    error.add(values_of(folder, apr, "w"), values_of(folder, folder / "out2.gguf", "w"));
    CHECK(error.value() < 0.01);
    CHECK(error.value() > 0.0);
  }
}

TEST_CASE("convert names the tensor that GGUF has no place for", "[convert]") {
  const temporary_directory folder;
  const std::string long_name(64, 'n');
  write_safetensors(folder / "name.safetensors", {f32_tensor(long_name, {2}, 1)});
  write_safetensors(folder / "rank.safetensors", {f32_tensor("w", {1, 2, 1, 2, 1}, 1)});
  write_safetensors(folder / "u8.safetensors", {{"ids", "U8", {3}, std::vector<std::byte>(3)}});
  write_safetensors(folder / "bool.safetensors", {{"mask", "BOOL", {3}, std::vector<std::byte>(3)}});
  require_refusal(run({"convert", folder / "name.safetensors", "-o", folder / "out.gguf"}), 2,
                  {"name.safetensors", long_name, "64 bytes"});
  require_refusal(run({"convert", folder / "rank.safetensors", "-o", folder / "out.gguf"}), 2,
                  {"'w'", "5 dimensions"});
  require_refusal(run({"convert", folder / "u8.safetensors", "-o", folder / "out.gguf"}), 2,
                  {"'ids'", "u8"});
  require_refusal(run({"convert", folder / "bool.safetensors", "-o", folder / "out.gguf"}), 2,
                  {"'mask'", "bool8", "GGUF"});
  CHECK_FALSE(std::filesystem::exists(folder / "out.gguf"));
  // Each of the first three has a place in .apr.
  for (const std::string name : {"name", "rank", "u8"}) {
    require_success({"convert", folder / (name + ".safetensors"), "-o", folder / "out.apr"});
  }
}

TEST_CASE("convert says which metadata it could not keep", "[convert]") {
  const temporary_directory folder;
  write_safetensors(folder / "in.safetensors", {f32_tensor("w", {2, 32}, 1)}, {{"format", "pt"}});
  write_file(folder / "more.json",
             nibble_test::bytes_of(std::string_view(
                 R"({"rope": {"theta": 1}, "none": null, "list": [1, 2], "nested": [[1]], "n": 3})")));
  require_success(
      {"pack", folder / "in.safetensors", "-o", folder / "a.apr", "--metadata", folder / "more.json"});
  const outcome refused = run({"convert", folder / "a.apr", "-o", folder / "b.gguf"});
  CHECK(refused.exit_code == 2);  // q8
  require_success({"pack", folder / "in.safetensors", "-o", folder / "a.apr", "--metadata",
                   folder / "more.json", "--encoding", "f32"});
  const std::string out = require_success({"convert", folder / "a.apr", "-o", folder / "b.gguf"});
  require_contains(out,
                   {"metadata 'rope': written as JSON text", "metadata 'none'", "metadata 'nested'"});
  CHECK(out.find("'list'") == std::string::npos);
  CHECK(listing(folder / "b.gguf").all["metadata"] == json{{"format", "pt"},
                                                           {"rope", R"({"theta":1})"},
                                                           {"none", "null"},
                                                           {"list", {1, 2}},
                                                           {"nested", "[[1]]"},
                                                           {"n", 3}});

  // A GGUF file's own keys of the names that the library writes into .apr files.
  const nibble_test::gguf_file own{
      .metadata = {{"nibble", nibble_test::gguf_id::string, nibble_test::string_bytes("mine")},
                   {"quantization", nibble_test::gguf_id::string, nibble_test::string_bytes("also")}},
      .tensors = {{"w", 0, {1}, std::vector<std::byte>(4)}}};
  write_file(folder / "own.gguf", own.bytes());
  require_contains(require_success({"convert", folder / "own.gguf", "-o", folder / "own.apr"}),
                   {"metadata 'nibble': left out", "metadata 'quantization': left out"});
  require_success({"convert", folder / "own.gguf", "-o", folder / "own2.gguf"});
  CHECK(read_file(folder / "own2.gguf") == own.bytes());
}

TEST_CASE("convert goes to and from safetensors where there is a dtype", "[convert]") {
  const temporary_directory folder;
  const auto w = f32_tensor("w", {3, 5}, 1);
  const stored_tensor h{"h", "BF16", {4}, nibble_test::random_bytes(8, 2)};
  const stored_tensor i{"i", "I64", {2}, nibble_test::random_bytes(16, 3)};
  write_safetensors(folder / "in.safetensors", {w, h, i}, {{"format", "pt"}, {"general.name", "x"}});
  require_success({"convert", folder / "in.safetensors", "-o", folder / "a.gguf"});
  const listing gguf(folder / "a.gguf");
  CHECK(gguf.all["metadata"] == json{{"format", "pt"}, {"general.name", "x"}});
  CHECK(gguf.bytes("w") == w.bytes);
  CHECK(gguf.bytes("h") == h.bytes);
  CHECK(gguf.bytes("i") == i.bytes);
  require_success({"convert", folder / "a.gguf", "-o", folder / "out.safetensors"});
  const auto back = read_safetensors(folder / "out.safetensors");
  CHECK(back.metadata == json{{"format", "pt"}, {"general.name", "x"}});
  CHECK(back["w"].bytes == w.bytes);
  CHECK(back["w"].shape == w.shape);
  CHECK(back["h"].dtype == "BF16");
  CHECK(back["i"].bytes == i.bytes);

  write_file(folder / "q.gguf", sorted_sample().bytes());
  require_refusal(run({"convert", folder / "q.gguf", "-o", folder / "q.safetensors"}), 2,
                  {"blk.", "safetensors", "nibble unpack"});
  require_refusal(run({"convert", folder / "a.gguf", "-o", folder / "a.bin"}), 2,
                  {"a.bin", ".apr, .gguf or .safetensors"});
  require_refusal(run({"convert", folder / "a.gguf", "-o", folder / "none/a.apr"}), 4,
                  {"none", "a folder that is there"});
  require_refusal(run({"convert", folder / "a.gguf"}), 2, {"--output"});
}

TEST_CASE("the other subcommands take GGUF files", "[convert]") {
  const temporary_directory folder;
  const auto w = f32_tensor("w", {3, 64}, 1);
  write_safetensors(folder / "in.safetensors", {w, f32_tensor("n", {5}, 2)});
  require_success({"convert", folder / "in.safetensors", "-o", folder / "a.gguf"});

  require_contains(require_success({"inspect", folder / "a.gguf"}), {"gguf", "3x64", "f32"});
  require_contains(require_success({"verify", folder / "a.gguf"}), {"ok, 2 tensors"});
  require_success({"diff", folder / "in.safetensors", folder / "a.gguf", "--max-error", "0"});
  CHECK(values_of(folder, folder / "a.gguf", "w") == nibble_test::numbers_of<float>(w.bytes));
  require_success({"pack", folder / "a.gguf", "-o", folder / "a.apr", "--encoding", "q4"});
  require_success({"pack", folder / "in.safetensors", "-o", folder / "b.apr", "--encoding", "q4"});
  CHECK(read_file(folder / "a.apr") == read_file(folder / "b.apr"));

  auto sample = sorted_sample();
  write_file(folder / "q.gguf", sample.bytes());
  require_refusal(run({"pack", folder / "q.gguf", "-o", folder / "q.apr"}), 2,
                  {"blk.", "--requantize"});
  require_success(
      {"pack", folder / "q.gguf", "-o", folder / "q.apr", "--keep", "blk.*", "--keep", "none"});
  const listing packed(folder / "q.apr");
  CHECK(packed.encoding("blk.0.k") == "q4_k");
  CHECK(packed.encoding("token_embd.weight") == "f16");  // of rows that are shorter than a block
  CHECK(packed.all["metadata"]["nibble.gguf"]["types"]["a.u8"] == "u8");

  sample.tensors.push_back({"z.other", 36, {2}, std::vector<std::byte>(4)});
  write_file(folder / "other.gguf", sample.bytes());
  require_contains(require_success({"inspect", folder / "other.gguf"}), {"id 36"});
  require_refusal(run({"convert", folder / "other.gguf", "-o", folder / "other.apr"}), 2,
                  {"other.gguf", "'z.other'", "id 36"});
}
