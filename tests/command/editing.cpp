#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/gguf_bytes.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::metadata_of;
using nibble_test::outcome;
using nibble_test::read_file;
using nibble_test::require_contains;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::run;
using nibble_test::temporary_directory;
using nibble_test::words;
using nibble_test::write_file;
using nlohmann::json;

/// Editing never surprises: types stay, what changes is said, and files that others share are left alone.
namespace {

namespace id = nibble_test::gguf_id;

nibble_test::gguf_file gpt2_file() {
  return {.metadata = {{"general.architecture", id::string, nibble_test::string_bytes("gpt2")},
                       {"general.file_type", id::u32, nibble_test::number_bytes(std::uint32_t{0})},
                       {"general.name", id::string, nibble_test::string_bytes("small")},
                       {"gpt2.attention.layer_norm_epsilon", id::f32, nibble_test::number_bytes(0.5F)},
                       {"gpt2.block_count", id::u32, nibble_test::number_bytes(std::uint32_t{12})},
                       {"gpt2.scale", id::f64, nibble_test::number_bytes(0.1)},
                       {"gpt2.shift", id::i8, nibble_test::number_bytes(std::int8_t{-3})}},
          .tensors = {{"w", 0, {64, 2}, std::vector<std::byte>(512, std::byte{0x3C})}}};
}

/// The type and the bytes of a value, found in the file by its key alone.
nibble_test::byte_list value_in(const std::string& path, const std::string& key, std::size_t bytes) {
  const auto file = read_file(path);
  const auto wanted = nibble_test::string_bytes(key);
  const auto at = std::ranges::search(file, wanted);
  REQUIRE(!at.empty());
  return {at.end(), at.end() + static_cast<std::ptrdiff_t>(4 + bytes)};
}
template <class Number>
nibble_test::byte_list typed(std::uint32_t type, Number number) {
  auto bytes = nibble_test::number_bytes(type);
  nibble_test::append_bytes(bytes, nibble_test::number_bytes(number));
  return bytes;
}

void write_text_file(const std::string& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace

TEST_CASE("a key of GGUF keeps its type, and rounding is said", "[editing]") {
  const temporary_directory files;
  const std::string file = files / "m.gguf";
  write_file(file, gpt2_file().bytes());
  const std::string epsilon = "gpt2.attention.layer_norm_epsilon";
  const std::string said = require_success({"meta", file, "--set", epsilon + "=1e-5", "--set",
                                            "gpt2.block_count=7.0", "--set", "gpt2.scale=0.3", "--set",
                                            "general.name=7", "--set", "gpt2.shift=-128"});
  CHECK((value_in(file, epsilon, 4) == typed(id::f32, 1e-5F)));
  CHECK((value_in(file, "gpt2.block_count", 4) == typed(id::u32, std::uint32_t{7})));
  CHECK((value_in(file, "gpt2.scale", 8) == typed(id::f64, 0.3)));
  CHECK((value_in(file, "gpt2.shift", 1) == typed(id::i8, std::int8_t{-128})));
  auto name = nibble_test::number_bytes(id::string);
  nibble_test::append_bytes(name, nibble_test::string_bytes("7"));
  CHECK((value_in(file, "general.name", 9) == name));
  require_contains(
      said,
      {epsilon + ": 0.5 (f32) -> 1e-05 (f32), rounded from 1e-5\n",
       "gpt2.block_count: 12 (u32) -> 7 (u32)\n", "gpt2.scale: 0.1 (f64) -> 0.3 (f64)\n",
       "general.name: \"small\" (str) -> \"7\" (str)\n", file + ": written, 1 tensor as they were\n"});

  const auto before = read_file(file);
  for (const std::string wrong :
       {"gpt2.block_count=-1", "gpt2.block_count=1.5", "gpt2.block_count=4294967296",
        "gpt2.block_count=\"12\"", "gpt2.block_count=true", "gpt2.shift=128", "gpt2.shift=-129",
        "gpt2.scale=null", "general.name=[1]", "new=null", "new={\"a\":1}", "new=[1,\"a\"]"}) {
    INFO(wrong);
    require_refusal(run({"meta", file, "--set", wrong}), 2, {wrong.substr(0, wrong.find('='))});
  }
  require_refusal(run({"meta", file, "--set", epsilon + "=1e39"}), 2, {"does not fit f32", ":TYPE="});
  require_refusal(run({"meta", file, "--set-string", "gpt2.block_count=x"}), 2, {"does not fit u32"});
  CHECK((read_file(file) == before));
}

TEST_CASE("a type is changed on purpose, and keys that programs know get theirs", "[editing]") {
  const temporary_directory files;
  const std::string file = files / "m.gguf";
  write_file(file, gpt2_file().bytes());
  require_success({"meta", file, "--set", "gpt2.block_count:u64=7", "--set", "gpt2.shift:f32=0.1",
                   "--set", "list:[i32]=[1,2]"});
  CHECK((value_in(file, "gpt2.block_count", 8) == typed(id::u64, std::uint64_t{7})));
  CHECK((value_in(file, "gpt2.shift", 4) == typed(id::f32, 0.1F)));
  require_contains(require_success({"meta", file}), {"list", "[i32]", "u64"});
  require_success({"meta", file, "--set", "gpt2.context_length=1024", "--set",
                   "gpt2.rope.freq_base=10000", "--set", "other=10000", "--set", "half=0.1"});
  CHECK((value_in(file, "gpt2.context_length", 4) == typed(id::u32, std::uint32_t{1024})));
  CHECK((value_in(file, "gpt2.rope.freq_base", 4) == typed(id::f32, 10000.0F)));
  CHECK((value_in(file, "other", 4) == typed(id::u32, std::uint32_t{10000})));
  CHECK((value_in(file, "half", 4) == typed(id::f32, 0.1F)));
  require_refusal(run({"meta", file, "--set", "gpt2.block_count:f23=7"}), 2,
                  {"'f23' is no type", "f32"});
  require_refusal(run({"meta", file, "--set", "gpt2.expert_count=1.5"}), 2, {"programs expect"});

  const json listed = json::parse(require_success({"meta", file, "--json"}));
  CHECK(listed.at("version") == 1);
  CHECK(listed.at("types").at("gpt2.block_count") == "u64");
  CHECK(listed.at("types").at("list") == "[i32]");
  CHECK(listed.at("types").at("general.name") == "str");
}

TEST_CASE(".apr files keep JSON's types, safetensors have text alone and say so", "[editing]") {
  const temporary_directory files;
  nibble_test::write_safetensors(
      files / "m.safetensors",
      {{"w", "F32", {2, 32}, nibble_test::bytes_of(nibble_test::gaussian(64, 1))}},
      {{"format", "mlx"}});
  require_contains(require_success({"meta", files / "m.safetensors", "--set", "a=1"}),
                   {"a: new, \"1\" (string), as text"});
  CHECK(metadata_of(files / "m.safetensors") == json{{"a", "1"}, {"format", "mlx"}});
  require_refusal(run({"meta", files / "m.safetensors", "--set", "a:u32=1"}), 2, {"'u32' is no type"});

  // format travels, there and back.
  require_success({"pack", files / "m.safetensors", "-o", files / "m.apr", "--encoding", "f32"});
  require_success({"convert", files / "m.apr", "-o", files / "back.safetensors"});
  CHECK(metadata_of(files / "back.safetensors").at("format") == "mlx");
  require_success({"unpack", files / "m.apr", "-o", files / "out.safetensors"});
  CHECK(metadata_of(files / "out.safetensors").at("format") == "mlx");

  const std::string apr = files / "m.apr";
  require_success({"meta", apr, "--set", "n=3", "--set", "x=0.5", "--set-string", "s=t"});
  require_contains(require_success({"meta", apr, "--set", "x=1", "--set", "s=7", "--set", "n=4.0"}),
                   {"n: 3 (integer) -> 4 (integer)", "x: 0.5 (number) -> 1.0 (number)",
                    "s: \"t\" (string) -> \"7\" (string)"});
  require_refusal(run({"meta", apr, "--set", "n=1.5"}), 2, {"does not fit integer"});
  require_refusal(run({"meta", apr, "--set", "n=\"a\""}), 2, {"n:TYPE="});
  require_success({"meta", apr, "--set", "n:string=\"a\""});
  CHECK(metadata_of(apr).at("n") == "a");
}

TEST_CASE("a dry run writes nothing, -o writes elsewhere", "[editing]") {
  const temporary_directory files;
  const std::string file = files / "m.gguf";
  write_file(file, gpt2_file().bytes());
  const auto before = read_file(file);
  const words edit{"meta", file, "--set", "gpt2.block_count=3", "--remove", "general.name"};
  words dry = edit;
  dry.push_back("--dry-run");
  require_contains(require_success(dry), {"gpt2.block_count: 12 (u32) -> 3 (u32)",
                                          "general.name: removed, was \"small\" (str)", "not written"});
  CHECK((read_file(file) == before));
  words elsewhere = edit;
  elsewhere.insert(elsewhere.end(), {"-o", files / "n.gguf", "--json"});
  const json said = json::parse(require_success(elsewhere));
  CHECK((read_file(file) == before));
  CHECK(metadata_of(files / "n.gguf").at("gpt2.block_count") == 3);
  CHECK(said.at("written") == json{files / "n.gguf"});
  CHECK(said.at("metadata").at("gpt2.block_count") == 3);
  CHECK(said.at("changes") == json{{{"key", "general.name"},
                                    {"old", {{"type", "str"}, {"value", "small"}}},
                                    {"new", nullptr},
                                    {"note", nullptr}},
                                   {{"key", "gpt2.block_count"},
                                    {"old", {{"type", "u32"}, {"value", 12}}},
                                    {"new", {{"type", "u32"}, {"value", 3}}},
                                    {"note", nullptr}}});
  require_refusal(run({"meta", file, "--dry-run"}), 2, {"--dry-run"});
  require_refusal(run({"meta", file, "--set", "a=1", "--remove", "a"}), 2, {"--remove a"});
  require_refusal(run({"meta", file, "--set", "a=1", "--set", "a=2"}), 2, {"'a' is named twice"});
}

#if !defined(_WIN32)
TEST_CASE("a file that is named by its content is not replaced through a link", "[editing]") {
  const temporary_directory files;
  const std::string hash(64, 'a');
  std::filesystem::create_directories(files / "blobs");
  std::filesystem::create_directories(files / "snapshots/main");
  const std::string blob = files / "blobs/" + hash;
  write_file(blob, gpt2_file().bytes());
  const std::string link = files / "snapshots/main/m.gguf";
  std::filesystem::create_symlink("../../blobs/" + hash, link);
  nibble_test::write_safetensors(files / "m.safetensors",
                                 {{"w", "F32", {1}, std::vector<std::byte>(4)}});
  const std::string apr = files / "m.apr";
  require_success({"pack", files / "m.safetensors", "-o", apr, "-e", "f32"});
  const std::string apr_blob = files / "blobs/sha256-" + std::string(64, 'b');
  std::filesystem::rename(apr, apr_blob);
  std::filesystem::create_symlink(apr_blob, apr);
  const auto before = read_file(blob);
  const auto apr_before = read_file(apr_blob);
  for (const words& arguments : std::vector<words>{{"meta", link, "--set", "a=1"},
                                                   {"meta", blob, "--set", "a=1"},
                                                   {"convert", link, "-o", link},
                                                   {"pack", apr, "-o", apr},
                                                   {"convert", apr, "-o", apr}}) {
    INFO(arguments[0]);
    require_refusal(run(arguments), 2, {"named by the hash of its content", "-o"});
  }
  CHECK((read_file(blob) == before));
  CHECK((read_file(apr_blob) == apr_before));
  require_success({"meta", link, "--set", "a=1", "-o", files / "n.gguf"});

  // Plain links are followed.
  std::filesystem::create_symlink("n.gguf", files / "plain.gguf");
  require_success({"meta", files / "plain.gguf", "--set", "a=2"});
  CHECK(std::filesystem::is_symlink(files / "plain.gguf"));
  CHECK(metadata_of(files / "n.gguf").at("a") == 2);
}
#endif

TEST_CASE("pack --metadata and meta --set agree on the library's own keys, and JSON is read strictly",
          "[editing]") {
  const temporary_directory files;
  nibble_test::write_safetensors(files / "m.safetensors",
                                 {{"w", "F32", {1}, std::vector<std::byte>(4)}});
  const std::string in = files / "m.safetensors";
  const std::string out = files / "m.apr";
  require_success({"pack", in, "-o", out});
  const words pack{"pack", in, "-o", files / "n.apr", "--metadata", files / "more.json"};
  for (const std::string key : {"nibble", "quantization", "sharding"}) {
    write_text_file(files / "more.json", "{\"a\":1,\"" + key + "\":{}}");
    require_refusal(run(pack), 2, {"'" + key + "'", "library's own"});
    require_refusal(run({"meta", out, "--set", key + "={}"}), 2, {"'" + key + "'", "library's own"});
  }
  for (const auto& [text, found] : std::vector<std::pair<std::string, std::string>>{
           {R"({"a":1,"b":2,"a":3})", "'a' twice"},
           {R"({"x":{"deep":[{"k":1,"k":1}]}})", "'k' twice"},
           {R"({"a":18446744073709551616})", "18446744073709551616"},
           {R"({"a":-9223372036854775809})", "-9223372036854775809"}}) {
    INFO(text);
    write_text_file(files / "more.json", text);
    require_refusal(run(pack), 3, {"more.json", found});
    require_refusal(run({"meta", out, "--set", "v=" + text}), 2, {found});
  }
  write_text_file(files / "more.json", R"({"a":18446744073709551615,"b":-9223372036854775808})");
  require_success(pack);
  CHECK(metadata_of(files / "n.apr").at("a") == ~std::uint64_t{0});
  require_refusal(run({"meta", out, "--set-string", "a=\xFF"}), 2, {"UTF-8"});
  require_refusal(run({"meta", out, "--set", "\xFF=1"}), 2, {"UTF-8"});
}

TEST_CASE("general.file_type says what the file holds, and what is left out is said", "[editing]") {
  const temporary_directory files;
  write_file(files / "m.gguf", gpt2_file().bytes());
  const std::vector<std::pair<std::string, int>> numbers = {
      {"q4", 3}, {"apr_q4", 2}, {"f16", 1}, {"bf16", 32}, {"f32", 0}};
  for (const auto& [encoding, number] : numbers) {
    INFO(encoding);
    const std::string apr = files / (encoding + ".apr");
    const std::string said = require_success({"pack", files / "m.gguf", "-o", apr, "-e", encoding});
    CHECK(metadata_of(apr).at("general.file_type") == number);
    if (number != 0) require_contains(said, {"general.file_type", "0 is " + std::to_string(number)});
    require_success({"convert", apr, "-o", files / "back.gguf"});
    CHECK((value_in(files / "back.gguf", "general.file_type", 4) ==
           typed(id::u32, static_cast<std::uint32_t>(number))));
  }
  const std::string said =
      require_success({"pack", files / "m.gguf", "-o", files / "q8.apr", "-e", "q8"});
  require_contains(said, {"metadata 'general.file_type': 0 left out, llama.cpp has no number for q8"});
  CHECK_FALSE(metadata_of(files / "q8.apr").contains("general.file_type"));
  // A recipe's number stays where the encoding is what it says.
  auto file = gpt2_file();
  file.metadata[1].bytes = nibble_test::number_bytes(std::uint32_t{15});
  file.tensors = {{"w", 12, {256, 1}, std::vector<std::byte>(144)}};
  write_file(files / "k.gguf", file.bytes());
  require_success({"convert", files / "k.gguf", "-o", files / "k2.gguf"});
  CHECK((value_in(files / "k2.gguf", "general.file_type", 4) == typed(id::u32, std::uint32_t{15})));
  // So does the number of a fork, whose types are kept without being known.
  file.metadata[1].bytes = nibble_test::number_bytes(std::uint32_t{40});
  file.tensors = {{"blk.0.ffn_up.weight", 36, {256, 2}, std::vector<std::byte>(160, std::byte{7})},
                  {"blk.0.ffn_down.weight", 97, {256, 2}, std::vector<std::byte>(64, std::byte{8})},
                  {"embd", 0, {32, 2}, std::vector<std::byte>(256)}};
  write_file(files / "fork.gguf", file.bytes());
  require_success({"convert", files / "fork.gguf", "-o", files / "fork2.gguf"});
  CHECK((value_in(files / "fork2.gguf", "general.file_type", 4) == typed(id::u32, std::uint32_t{40})));
  require_contains(require_success({"inspect", files / "fork2.gguf"}), {"id 36", "id 97"});
  const auto forked = read_file(files / "fork2.gguf");
  const std::vector<std::byte> kept(160, std::byte{7});
  CHECK(std::ranges::search(forked, kept).size() == kept.size());
  // From .apr, checksums and the record of quantization are lost, from GGUF the types.
  require_contains(require_success({"convert", files / "q4.apr", "-o", files / "l.gguf"}),
                   {"checksums: left out", "metadata 'quantization': left out"});
  require_contains(require_success({"unpack", files / "m.gguf", "-o", files / "l.safetensors"}),
                   {"metadata 'nibble.gguf': left out"});
}
