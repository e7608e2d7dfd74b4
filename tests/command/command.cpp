#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <fcntl.h>
#include <unistd.h>
#endif

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/passed_by.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::bytes_of;
using nibble_test::entry_of;
using nibble_test::numbers_of;
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
using nibble_test::write_safetensors;
using nlohmann::json;

namespace {

json require_json(const words& arguments) { return json::parse(require_success(arguments)); }

/// A tensor's bytes, from where `inspect --json` says that they are.
std::vector<std::byte> bytes_at(const std::string& path, const json& entry) {
  const std::vector<std::byte> file = read_file(path);
  const auto part = std::span(file).subspan(entry.at("offset").get<std::size_t>(),
                                            entry.at("bytes").get<std::size_t>());
  return {part.begin(), part.end()};
}
std::vector<std::byte> bytes_in(const std::string& path, const std::string& name) {
  return bytes_at(path, entry_of(require_json({"inspect", path, "--json"}), name));
}
std::string encoding_in(const std::string& path, const std::string& name) {
  return entry_of(require_json({"inspect", path, "--json"}), name).at("encoding");
}

/// Codes of finite 16-bit floats of moderate size.
std::vector<std::uint16_t> half_codes(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::uint16_t> codes(count);
  for (auto& code : codes) {  // exponents 2^-8 .. 2^-1
    code = static_cast<std::uint16_t>((generator() & 0x83FFU) | ((7U + generator() % 8U) << 10U));
  }
  return codes;
}
std::vector<std::uint16_t> bfloat_codes(std::size_t count, std::uint32_t seed) {
  std::vector<std::uint16_t> codes;
  for (const float value : nibble_test::gaussian(count, seed)) {
    codes.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U));
  }
  return codes;
}

stored_tensor f32_tensor(std::string name, std::vector<std::uint64_t> shape,
                         const std::vector<float>& values) {
  return {std::move(name), "F32", std::move(shape), bytes_of(values)};
}

/// A small model of every source dtype.
struct mixed_model {
  std::vector<std::uint16_t> bf16 = bfloat_codes(48 * 64, 1);
  std::vector<std::uint16_t> f16 = half_codes(40 * 172, 2);
  std::vector<float> f32 = nibble_test::gaussian(6 * 8 * 33, 3);
  std::vector<double> f64{};
  std::vector<std::uint16_t> bf16_gain = bfloat_codes(64, 5);
  std::vector<std::uint16_t> f16_gain = half_codes(172, 6);
  std::vector<double> f64_gain{0.1, -3.0, 1e-3};
  std::vector<std::int64_t> positions{0, 1, -5, std::int64_t{1} << 60, 4, 5};

  mixed_model() {
    for (const float value : nibble_test::gaussian(10 * 32, 4)) f64.push_back(double{value} / 3.0);
  }

  void write(const std::string& path) const {
    write_safetensors(path,
                      {{"layer.bf16", "BF16", {48, 64}, bytes_of(bf16)},
                       {"layer.f16", "F16", {40, 172}, bytes_of(f16)},
                       {"layer.f32", "F32", {6, 8, 33}, bytes_of(f32)},
                       {"layer.f64", "F64", {10, 32}, bytes_of(f64)},
                       {"norm.bf16", "BF16", {64}, bytes_of(bf16_gain)},
                       {"norm.f16", "F16", {172}, bytes_of(f16_gain)},
                       {"norm.f64", "F64", {3}, bytes_of(f64_gain)},
                       {"positions", "I64", {2, 3}, bytes_of(positions)},
                       {"scalar", "F32", {}, bytes_of(std::vector<float>{0.5F})}},
                      {{"format", "pt"}, {"license", "MIT"}});
  }
  [[nodiscard]] std::vector<float> f64_as_f32() const { return {f64.begin(), f64.end()}; }
};

/// Requires every value within a step of its block's 255: a block's range is found from the source.
void require_within_q8_step(const std::vector<float>& source, const std::vector<float>& decoded,
                            std::size_t cols) {
  REQUIRE(decoded.size() == source.size());
  for (std::size_t row = 0; row < source.size(); row += cols) {
    for (std::size_t col = 0; col < cols; col += 32) {
      const auto block = std::span(source).subspan(row + col, std::min<std::size_t>(32, cols - col));
      const auto [low, high] = std::ranges::minmax_element(block);
      // f16 holds scale and min to 11 bits: a step, and what the min may be off.
      const float step = (*high - *low) / 255.0F + std::fabs(*low) / 1024.0F;
      for (std::size_t i = 0; i < block.size(); ++i) {
        if (!(std::fabs(decoded[row + col + i] - block[i]) <= step)) {
          FAIL("row " << row / cols << ", column " << col + i << ": " << decoded[row + col + i]
                      << " for " << block[i] << ", more than " << step << " off");
        }
      }
    }
  }
}

/// Whether two figures differ by no more than a part of the second.
bool is_close(double actual, double expected, double part = 1e-9) {
  return std::fabs(actual - expected) <= part * std::fabs(expected);
}

std::vector<float> transpose(const std::vector<float>& values, std::size_t rows, std::size_t cols) {
  std::vector<float> turned(values.size());
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t col = 0; col < cols; ++col) turned[col * rows + row] = values[row * cols + col];
  }
  return turned;
}

}  // namespace

TEST_CASE("wrong usage exits with 2 and one line", "[command]") {
  const auto arguments = GENERATE(values<words>({
      {"frobnicate"},
      {"pack"},
      {"pack", "in.safetensors", "-o"},
      {"pack", "in.safetensors", "-o", "out.apr", "--encoding", "q9"},
      {"pack", "in.safetensors", "-o", "out.apr", "--encoding", "i8"},
      {"pack", "in.safetensors", "-o", "out.apr", "--packing-rule", "worst"},
      {"pack", "in.safetensors", "-o", "out.apr", "--packing-rule", "reference"},
      {"pack", "in.safetensors", "-o", "out.apr", "--threads", "0"},
      {"pack", "in.safetensors", "-o", "out.apr", "--frobnicate"},
      {"pack", "in.safetensors", "more.safetensors", "-o", "out.apr"},
      {"inspect"},
      {"inspect", "a", "b"},
      {"verify"},
      {"unpack", "in.apr"},
      {"unpack", "in.apr", "-o", "out.safetensors", "--dtype", "q8"},
      {"diff", "a"},
      {"diff", "a", "b", "--max-error", "-1"},
      {"diff", "a", "b", "--max-error", "nan"},
      {"diff", "a", "b", "--max-error", "much"},
      {"bench"},
      {"bench", "a", "--threads", "0"},
      {"bench", "a", "--seconds", "-1"},
  }));
  INFO(Catch::StringMaker<words>::convert(arguments));
  require_refusal(run(arguments), 2, {});
}

TEST_CASE("what is wrong with the arguments is named, and the nearest right thing", "[command]") {
  const std::vector<std::pair<words, words>> cases = {
      {{"--foo"}, {"'--foo' is no option of nibble", "--help", "--version"}},
      {{"-v"}, {"'-v' is no option of nibble", "--version"}},
      {{"--json"}, {"'--json' is no option of nibble"}},
      {{"pakc"}, {"'pakc' is no subcommand, 'pack' is"}},
      {{"frobnicate"}, {"'frobnicate' is no subcommand", "pack", "help"}},
      {{"help", "pakc"}, {"'pakc' is no subcommand, 'pack' is"}},
      {{"pack"}, {"nibble pack needs INPUT", "nibble pack --help"}},
      {{"pack", "in", "-o"}, {"--output needs a value, OUT"}},
      {{"pack", "in", "--only", "--keep", "x"}, {"--only needs a value, GLOB"}},
      {{"pack", "in", "-o", "a.apr", "--output=b.apr"}, {"--output is given twice"}},
      {{"pack", "in", "-o", "a.apr", "--encodign", "q4"},
       {"'--encodign' is no option of nibble pack", "--encoding"}},
      {{"pack", "in", "-o", "a.apr", "-e", "q9"}, {"--encoding q9", "q8, q4", "or q8_r8"}},
      {{"pack", "in", "-o", "a.apr", "--threads", "many"}, {"--threads many", "from 1 to 1024"}},
      {{"pack", "--only", "A", "B", "INPUT"},
       {"'INPUT' is one argument too many", "takes INPUT ('B')", "--only A --only B"}},
      {{"inspect", "a", "b"}, {"'b' is one argument too many", "FILE ('a')"}},
      {{"inspect", "a", "--json=3"}, {"--json takes no value"}},
      {{"inspect", "a", "-jq"}, {"'-jq' is no option of nibble inspect"}},
      {{"split", "a", "-o", "b.apr"}, {"nibble split needs --shard-size SIZE"}},
      {{"split", "a", "-o", "b.apr", "--shard-size", "1.5"}, {"--shard-size 1.5", "1.5MB"}},
      {{"split", "a", "-o", "b.apr", "--shard-size", "many"}, {"--shard-size many"}},
      {{"diff", "a", "b", "--max-error", "nan"}, {"--max-error nan", "from 0 on"}},
      {{"verify", "a", "\x1b[2J"}, {"\\x1b[2J"}},
  };
  for (const auto& [arguments, parts] : cases) {
    INFO(Catch::StringMaker<words>::convert(arguments));
    const outcome result = run(arguments);
    require_refusal(result, 2, parts);
    for (const std::string leaked : {"UINT", "TEXT", "json.exception", "not convert"}) {
      REQUIRE(result.err.find(leaked) == std::string::npos);
    }
  }
}

TEST_CASE("nibble alone and nibble help print what --help does", "[command]") {
  REQUIRE(require_success(words{}) == require_success({"--help"}));
  REQUIRE(require_success({"help"}) == require_success({"--help"}));
  for (const std::string name : {"pack", "meta", "bench"}) {
    REQUIRE(require_success({"help", name}) == require_success({name, "--help"}));
  }
}

TEST_CASE("help and version go to standard output", "[command]") {
  REQUIRE(require_success({"--version"}).starts_with("nibble "));
  for (const std::string name : {"pack", "inspect", "verify", "unpack", "diff", "bench"}) {
    require_contains(require_success({"--help"}), {name});
    require_contains(require_success({name, "--help"}), {"nibble " + name});
  }
}

TEST_CASE("input and output that fail exit with 4", "[command]") {
  const temporary_directory files;
  mixed_model().write(files / "in.safetensors");
  for (const std::string command : {"inspect", "verify", "bench"}) {
    require_refusal(run({command, files / "absent"}), 4, {files / "absent", "file_not_found"});
    std::filesystem::create_directories(files / "folder");
    require_refusal(run({command, files / "folder"}), 4, {"folder"});
  }
  require_refusal(run({"diff", files / "in.safetensors", files / "absent"}), 4, {"absent"});
  require_refusal(run({"pack", files / "absent", "-o", files / "out.apr"}), 4, {"file_not_found"});
  require_refusal(run({"pack", files / "in.safetensors", "-o", files / "absent/out.apr"}), 4,
                  {"write_failed"});
  std::filesystem::create_directories(files / "d.safetensors");
  require_refusal(run({"unpack", files / "in.safetensors", "-o", files / "d.safetensors"}), 4,
                  {"a directory"});
  require_refusal(run({"pack", files / "in.safetensors", "-o", files / "out.apr", "--metadata",
                       files / "absent.json"}),
                  4, {"absent.json"});
  REQUIRE_FALSE(std::filesystem::exists(files / "out.apr"));
}

TEST_CASE("standard output that fails exits with 4", "[command]") {
  const temporary_directory files;
  mixed_model().write(files / "in.safetensors");
  const std::string in = files / "in.safetensors";
  for (const words& arguments : std::vector<words>{{"inspect", in},
                                                   {"inspect", in, "--json"},
                                                   {"verify", in},
                                                   {"diff", in, in},
                                                   {"pack", in, "-o", files / "out.apr"},
                                                   {"--help"}}) {
    INFO(arguments[0]);
#if !defined(_WIN32)
    require_refusal(run(arguments, {.standard_output = "/dev/full"}), 4, {"standard output"});
#endif
    require_refusal(run(arguments, {.closes_standard_output = true}), 4, {"standard output"});
  }
  // Where standard output was closed, the summary must not have become part of the file.
  require_success({"verify", files / "out.apr"});
}

TEST_CASE("files that are not what they claim to be exit with 3", "[command]") {
  const temporary_directory files;
  const std::string text = "hello, this is not a tensor file";
  nibble_test::write_file(files / "text", std::as_bytes(std::span(text)));
  nibble_test::write_file(files / "empty", {});
  mixed_model().write(files / "in.safetensors");
  std::vector<std::byte> bytes = read_file(files / "in.safetensors");
  bytes.pop_back();
  nibble_test::write_file(files / "cut.safetensors", bytes);
  require_success({"pack", files / "in.safetensors", "-o", files / "in.apr"});
  bytes = read_file(files / "in.apr");
  bytes[8] ^= std::byte{1};  // of the number of tensors
  nibble_test::write_file(files / "header.apr", bytes);
  for (const std::string name : {"text", "empty", "cut.safetensors", "header.apr"}) {
    require_refusal(run({"inspect", files / name}), 3, {files / name});
    require_refusal(run({"verify", files / name}), 3, {files / name});
    require_refusal(run({"pack", files / name, "-o", files / "out.apr"}), 3, {files / name});
    require_refusal(run({"unpack", files / name, "-o", files / "out.safetensors"}), 3, {files / name});
    require_refusal(run({"diff", files / "in.safetensors", files / name}), 3, {files / name});
  }
}

TEST_CASE("pack stores matrices as q8, vectors as f32 and whole numbers as they are", "[command]") {
  const temporary_directory files;
  const mixed_model model;
  model.write(files / "in.safetensors");
  const std::string out = files / "out.apr";
  const std::string summary = require_success({"pack", files / "in.safetensors", "-o", out});
  require_contains(summary, {"9 tensors", "4 q8", "4 f32", "1 i64"});

  const json listing = require_json({"inspect", out, "--json"});
  REQUIRE(listing.at("file") == out);
  REQUIRE(listing.at("format") == "apr");
  REQUIRE(listing.at("tensors").size() == 9);
  struct expected {
    std::string name;
    std::string encoding;
    int dtype_id;
    std::vector<std::uint64_t> shape;
    std::uint64_t elements;
    std::uint64_t bytes;
  };
  const std::vector<expected> table{
      {"layer.bf16", "q8", 9, {48, 64}, 3072, 48 * 2 * 36},
      {"layer.f16", "q8", 9, {40, 172}, 6880, 40 * 6 * 36},
      {"layer.f32", "q8", 9, {6, 8, 33}, 1584, 48 * 2 * 36},
      {"layer.f64", "q8", 9, {10, 32}, 320, 10 * 36},
      {"norm.bf16", "f32", 0, {64}, 64, 256},
      {"norm.f16", "f32", 0, {172}, 172, 688},
      {"norm.f64", "f32", 0, {3}, 3, 12},
      {"positions", "i64", 5, {2, 3}, 6, 48},
      {"scalar", "f32", 0, {}, 1, 4},
  };
  for (const expected& tensor : table) {
    INFO(tensor.name);
    const json entry = entry_of(listing, tensor.name);
    REQUIRE(entry.size() == 10);
    REQUIRE(entry.at("encoding") == tensor.encoding);
    REQUIRE(entry.at("dtype_id") == tensor.dtype_id);
    REQUIRE(entry.at("shape") == tensor.shape);
    REQUIRE(entry.at("elements") == tensor.elements);
    REQUIRE(entry.at("bytes") == tensor.bytes);
    REQUIRE(entry.at("offset").get<std::uint64_t>() % 64 == 0);
    REQUIRE(is_close(entry.at("packing_ratio").get<double>(),
                     4.0 * static_cast<double>(tensor.elements) / static_cast<double>(tensor.bytes)));
  }

  const auto decoded = [&](const std::string& name, std::size_t rows, std::size_t cols) {
    return nibble_test::decode_q8(bytes_in(out, name), rows, cols);
  };
  require_within_q8_step(nibble_test::bfloat_values(model.bf16), decoded("layer.bf16", 48, 64), 64);
  require_within_q8_step(nibble_test::half_values(model.f16), decoded("layer.f16", 40, 172), 172);
  require_within_q8_step(model.f32, decoded("layer.f32", 48, 33), 33);
  require_within_q8_step(model.f64_as_f32(), decoded("layer.f64", 10, 32), 32);
  REQUIRE(
      (numbers_of<float>(bytes_in(out, "norm.bf16")) == nibble_test::bfloat_values(model.bf16_gain)));
  REQUIRE((numbers_of<float>(bytes_in(out, "norm.f16")) == nibble_test::half_values(model.f16_gain)));
  REQUIRE((numbers_of<float>(bytes_in(out, "norm.f64")) == std::vector<float>{0.1F, -3.0F, 1e-3F}));
  REQUIRE((bytes_in(out, "positions") == bytes_of(model.positions)));
  REQUIRE(require_json({"verify", out, "--json"}).at("ok") == true);
}

TEST_CASE("pack takes every encoding that it offers", "[command]") {
  const temporary_directory files;
  const std::vector<float> values = nibble_test::gaussian(20 * 172, 7);
  write_safetensors(files / "in.safetensors", {f32_tensor("w", {20, 172}, values)});
  struct expected {
    std::string encoding;
    std::uint64_t bytes;
    double most_relative_rmse;
  };
  // 3440 elements; 6 blocks a row where blocks run along rows, 108 where they run along the tensor.
  const std::vector<expected> table{{"q8", 20 * 6 * 36, 0.006}, {"q4", 20 * 6 * 20, 0.1},
                                    {"apr_q8", 4 + 3440, 0.02}, {"apr_q4", 108 * 18, 0.13},
                                    {"f16", 2 * 3440, 0.0005},  {"bf16", 2 * 3440, 0.004},
                                    {"f32", 4 * 3440, 0.0}};
  for (const expected& packed : table) {
    INFO(packed.encoding);
    const std::string out = files / (packed.encoding + ".apr");
    require_success({"pack", files / "in.safetensors", "-o", out, "--encoding", packed.encoding});
    const json entry = entry_of(require_json({"inspect", out, "--json"}), "w");
    REQUIRE(entry.at("encoding") == packed.encoding);
    REQUIRE(entry.at("bytes") == packed.bytes);
    require_success({"unpack", out, "-o", files / "out.safetensors"});
    nibble_test::relative_rmse error;
    error.add(values, numbers_of<float>(read_safetensors(files / "out.safetensors")["w"].bytes));
    REQUIRE(error.value() <= packed.most_relative_rmse);
    REQUIRE((error.value() > 0.0 || packed.encoding == "f32"));
  }
}

TEST_CASE("pack --packing-rule reference writes the reference implementation's bytes", "[command]") {
  const temporary_directory files;
  const std::vector<float> values = nibble_test::gaussian(9 * 40, 8);
  write_safetensors(files / "in.safetensors", {f32_tensor("w", {9, 40}, values)});
  const auto pack = [&](const std::string& encoding, const std::string& rule) {
    require_success({"pack", files / "in.safetensors", "-o", files / "out.apr", "--encoding", encoding,
                     "--packing-rule", rule});
    return bytes_in(files / "out.apr", "w");
  };
  const auto largest_of = [](std::span<const float> some) {
    float largest = 0.0F;
    for (const float value : some) largest = std::max(largest, std::fabs(value));
    return largest;
  };

  const float scale = largest_of(values) / 127.0F;
  std::vector<std::byte> expected = bytes_of(std::vector<float>{scale});
  for (const float value : values) {
    const float code = std::clamp(std::round(value / scale), -127.0F, 127.0F);
    expected.push_back(static_cast<std::byte>(static_cast<std::int8_t>(code)));
  }
  REQUIRE((pack("apr_q8", "reference") == expected));

  expected.clear();
  for (std::size_t at = 0; at < values.size(); at += 32) {
    const auto block = std::span(values).subspan(at, std::min<std::size_t>(32, values.size() - at));
    const float step = largest_of(block) / 7.0F;
    std::vector<std::byte> bytes = bytes_of(std::vector{nibble_test::nearest_half(step)});
    bytes.resize(18);
    for (std::size_t i = 0; i < block.size(); ++i) {
      const auto code =
          static_cast<unsigned>(std::clamp(std::round(block[i] / step), -8.0F, 7.0F) + 8.0F);
      bytes[2 + i / 2] |= static_cast<std::byte>(i % 2 == 0 ? code : code << 4U);
    }
    expected.insert(expected.end(), bytes.begin(), bytes.end());
  }
  REQUIRE((pack("apr_q4", "reference") == expected));
  REQUIRE((pack("apr_q4", "best") != expected));
}

TEST_CASE("pack --only, --keep and what they leave", "[command]") {
  const temporary_directory files;
  const mixed_model model;
  model.write(files / "in.safetensors");
  const std::string in = files / "in.safetensors";
  const std::string out = files / "out.apr";

  require_success(
      {"pack", in, "-o", out, "--only", "*.f16", "--only", "layer.f[36]?", "--encoding", "q4"});
  REQUIRE(encoding_in(out, "layer.f16") == "q4");
  REQUIRE(encoding_in(out, "layer.f32") == "q4");
  REQUIRE(encoding_in(out, "layer.f64") == "q4");
  REQUIRE(encoding_in(out, "norm.f16") == "f32");
  REQUIRE(encoding_in(out, "layer.bf16") == "bf16");
  REQUIRE((bytes_in(out, "layer.bf16") == bytes_of(model.bf16)));

  require_success({"pack", in, "-o", out, "--keep", "*.bf16", "--keep", "norm.f64"});
  REQUIRE(encoding_in(out, "layer.bf16") == "bf16");
  REQUIRE(encoding_in(out, "norm.bf16") == "bf16");
  REQUIRE(encoding_in(out, "norm.f64") == "f64");
  REQUIRE(encoding_in(out, "layer.f16") == "q8");
  REQUIRE((bytes_in(out, "layer.bf16") == bytes_of(model.bf16)));
  REQUIRE((bytes_in(out, "norm.bf16") == bytes_of(model.bf16_gain)));
  REQUIRE((bytes_in(out, "norm.f64") == bytes_of(model.f64_gain)));

  require_success({"pack", in, "-o", out, "--only", "layer.*", "--keep", "layer.bf16"});
  REQUIRE(encoding_in(out, "layer.bf16") == "bf16");
  REQUIRE(encoding_in(out, "layer.f16") == "q8");
}

TEST_CASE("pack refuses globs that mean nothing", "[command]") {
  const temporary_directory files;
  mixed_model().write(files / "in.safetensors");
  const words pack{"pack", files / "in.safetensors", "-o", files / "out.apr"};
  const auto with = [&](words more) {
    more.insert(more.begin(), pack.begin(), pack.end());
    return run(more);
  };
  for (const std::string option : {"--only", "--keep", "--drop", "--transpose"}) {
    require_refusal(with({option, "layer.f16", option, "layr.*"}), 2, {option, "'layr.*'"});
    require_refusal(with({option, "[ab]"}), 2, {"'[ab]'"});
  }
  require_refusal(with({"--only", "norm.*"}), 2, {"'norm.*'", "two or more dimensions"});
  require_refusal(with({"--only", "positions"}), 2, {"'positions'"});
  require_refusal(with({"--transpose", "norm.bf16"}), 2, {"norm.bf16", "64"});
  require_refusal(with({"--transpose", "layer.f32"}), 2, {"layer.f32", "6x8x33"});
  require_refusal(with({"--transpose", "scalar"}), 2, {"a scalar"});
  require_refusal(with({"--transpose", "positions"}), 2, {"positions", "whole numbers"});
  require_refusal(with({"--transpose", "layer.f16", "--keep", "layer.f16"}), 2, {"layer.f16"});
  require_refusal(with({"--transpose", "layer.f64", "--only", "layer.f16"}), 2, {"layer.f64"});
  REQUIRE_FALSE(std::filesystem::exists(files / "out.apr"));
}

TEST_CASE("pack --transpose stores an input-major matrix as [outputs, inputs]", "[command]") {
  const temporary_directory files;
  const std::vector<std::uint16_t> codes = bfloat_codes(768 * 2304, 9);
  write_safetensors(files / "in.safetensors",
                    {{"h.0.attn.c_attn.weight", "BF16", {768, 2304}, bytes_of(codes)},
                     {"h.0.attn.c_attn.bias", "BF16", {2304}, bytes_of(bfloat_codes(2304, 10))},
                     {"other", "BF16", {2, 3}, bytes_of(bfloat_codes(6, 11))}});
  const std::string in = files / "in.safetensors";
  const std::string out = files / "out.apr";
  const std::vector<float> turned = transpose(nibble_test::bfloat_values(codes), 768, 2304);

  require_success({"pack", in, "-o", out, "--transpose", "*c_attn.weight", "--encoding", "f32"});
  const json entry = entry_of(require_json({"inspect", out, "--json"}), "h.0.attn.c_attn.weight");
  REQUIRE(entry.at("shape") == std::vector<int>{2304, 768});
  REQUIRE((numbers_of<float>(bytes_at(out, entry)) == turned));

  require_success({"pack", in, "-o", out, "--transpose", "*c_attn.weight", "--threads", "1"});
  require_within_q8_step(
      turned, nibble_test::decode_q8(bytes_in(out, "h.0.attn.c_attn.weight"), 2304, 768), 768);

  // Left out by --only it keeps its dtype.
  require_success({"pack", in, "-o", out, "--transpose", "*c_attn.weight", "--only", "other"});
  REQUIRE(encoding_in(out, "h.0.attn.c_attn.weight") == "bf16");
  REQUIRE((nibble_test::bfloat_values(
               numbers_of<std::uint16_t>(bytes_in(out, "h.0.attn.c_attn.weight"))) == turned));
}

TEST_CASE("pack --transpose reads every encoding", "[command]") {
  const temporary_directory files;
  constexpr std::size_t rows = 70;
  constexpr std::size_t cols = 1027;  // no multiple of any block, more than one chunk once turned
  write_safetensors(files / "in.safetensors",
                    {f32_tensor("w", {rows, cols}, nibble_test::gaussian(rows * cols, 12))});
  const auto encoding =
      GENERATE(as<std::string>(), "q8", "q4", "apr_q8", "apr_q4", "f16", "bf16", "f32");
  INFO(encoding);
  require_success(
      {"pack", files / "in.safetensors", "-o", files / "packed.apr", "--encoding", encoding});
  require_success({"unpack", files / "packed.apr", "-o", files / "plain.safetensors"});
  const auto plain = numbers_of<float>(read_safetensors(files / "plain.safetensors")["w"].bytes);
  require_success({"pack", files / "packed.apr", "-o", files / "turned.apr", "--encoding", "f32",
                   "--transpose", "w", "--requantize"});
  REQUIRE((numbers_of<float>(bytes_in(files / "turned.apr", "w")) == transpose(plain, rows, cols)));
}

TEST_CASE("pack leaves what is quantized alone unless it is told otherwise", "[command]") {
  const temporary_directory files;
  write_safetensors(files / "in.safetensors",
                    {f32_tensor("a", {4, 64}, nibble_test::gaussian(256, 13)),
                     f32_tensor("b", {4, 64}, nibble_test::gaussian(256, 14))});
  const std::string packed = files / "packed.apr";
  const std::string out = files / "out.apr";
  require_success({"pack", files / "in.safetensors", "-o", packed, "--only", "a"});
  require_refusal(run({"pack", packed, "-o", out, "--encoding", "q4"}), 2,
                  {packed, "'a'", "q8", "--requantize"});
  REQUIRE_FALSE(std::filesystem::exists(out));
  require_success({"pack", packed, "-o", out, "--encoding", "q4", "--only", "b"});
  REQUIRE((bytes_in(out, "a") == bytes_in(packed, "a")));
  REQUIRE(encoding_in(out, "b") == "q4");
  require_success({"pack", packed, "-o", out, "--encoding", "q4", "--requantize"});
  REQUIRE(encoding_in(out, "a") == "q4");
}

TEST_CASE("pack carries metadata and merges a file into it", "[command]") {
  const temporary_directory files;
  mixed_model().write(files / "in.safetensors");
  const std::string in = files / "in.safetensors";
  const std::string out = files / "out.apr";
  const auto write_text = [&](const std::string& name, const std::string& text) {
    nibble_test::write_file(files / name, std::as_bytes(std::span(text)));
    return files / name;
  };
  const auto metadata_of = [&](const std::string& path) {
    return require_json({"inspect", path, "--json"}).at("metadata");
  };

  require_success({"pack", in, "-o", out});
  json metadata = metadata_of(out);
  REQUIRE(metadata.at("license") == "MIT");
  REQUIRE(metadata.at("format") == "pt");
  REQUIRE(metadata.at("quantization").at("quant_type") == "q8");

  const std::string more =
      write_text("more.json", R"({"license": "BSD", "num_layers": 3, "ключ": ["値", null, 1e-5]})");
  require_success({"pack", in, "-o", out, "--metadata", more});
  metadata = metadata_of(out);
  REQUIRE(metadata.at("license") == "BSD");
  REQUIRE(metadata.at("num_layers") == 3);
  REQUIRE(metadata.at("ключ") == json::parse(R"(["値", null, 1e-5])"));
  REQUIRE(metadata.at("nibble").is_object());

  require_success({"pack", out, "-o", files / "again.apr", "--encoding", "f32", "--requantize"});
  metadata = metadata_of(files / "again.apr");
  REQUIRE(metadata.at("num_layers") == 3);
  REQUIRE_FALSE(metadata.contains("quantization"));

  for (const std::string text : {"[1, 2]", "{\"a\": ", "", "{\"a\": 1e999}"}) {
    require_refusal(run({"pack", in, "-o", out, "--metadata", write_text("bad.json", text)}), 3,
                    {"bad.json", "bad_metadata"});
  }
}

TEST_CASE("pack gives the same bytes on any number of threads, onto its own input too", "[command]") {
  const temporary_directory files;
  write_safetensors(files / "in.safetensors",
                    {f32_tensor("a", {700, 500}, nibble_test::gaussian(350000, 15)),
                     f32_tensor("b", {300, 1000}, nibble_test::heavy_tailed(300000, 16))});
  const auto encoding = GENERATE(as<std::string>(), "q8", "q4", "apr_q8", "apr_q4");
  const std::string in = files / "in.safetensors";
  require_success({"pack", in, "-o", files / "1.apr", "--threads", "1", "--encoding", encoding});
  require_success({"pack", in, "-o", files / "2.apr", "--threads", "2", "--encoding", encoding});
  require_success({"pack", in, "-o", files / "7.apr", "--threads", "7", "--encoding", encoding});
  const std::vector<std::byte> bytes = read_file(files / "1.apr");
  REQUIRE((read_file(files / "2.apr") == bytes));
  REQUIRE((read_file(files / "7.apr") == bytes));
  const std::string itself = files / "in.apr";  // whatever the input is
  std::filesystem::copy_file(in, itself);
  require_success({"pack", itself, "-o", itself, "--encoding", encoding});
  REQUIRE((read_file(itself) == bytes));
  const std::vector<std::byte> unpacked = read_file(in);
  require_refusal(run({"pack", in, "-o", in, "--encoding", encoding}), 2,
                  {in, ".safetensors files cannot hold " + encoding});
  REQUIRE((read_file(in) == unpacked));
}

TEST_CASE("pack names the value that an encoding cannot hold", "[command]") {
  const temporary_directory files;
  std::vector<float> values = nibble_test::gaussian(128, 17);
  values[77] = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(files / "nan.safetensors", {f32_tensor("w", {2, 64}, values)});
  require_refusal(run({"pack", files / "nan.safetensors", "-o", files / "out.apr"}), 3,
                  {files / "nan.safetensors", "'w'", "element 77", "nan"});
  values[77] = 1e6F;
  write_safetensors(files / "large.safetensors", {f32_tensor("w", {2, 64}, values)});
  require_refusal(
      run({"pack", files / "large.safetensors", "-o", files / "out.apr", "--encoding", "f16"}), 3,
      {files / "large.safetensors", "'w'", "element 77", "1000000"});
  for (const std::vector<std::uint64_t>& shape : {std::vector<std::uint64_t>{4}, {2, 2}}) {
    write_safetensors(files / "f64.safetensors",
                      {{"w", "F64", shape, bytes_of(std::vector<double>{1.0, 2.0, -1e300, 3.0})}});
    require_refusal(run({"pack", files / "f64.safetensors", "-o", files / "out.apr"}), 3,
                    {files / "f64.safetensors", "'w'", "element 2", "-1e+300"});
  }
  REQUIRE_FALSE(std::filesystem::exists(files / "out.apr"));
  REQUIRE_FALSE(std::filesystem::exists(files / "out.apr.nibble-partial"));
}

TEST_CASE("tensors of dtypes that .apr lacks are listed, and not carried", "[command]") {
  const temporary_directory files;
  const std::string in = files / "in.safetensors";
  write_safetensors(in, {{"mask", "BOOL", {3}, std::vector<std::byte>(3)},
                         {"scales", "F6_E2M3", {2, 2}, std::vector<std::byte>(3)},
                         {"new", "F2", {4}, std::vector<std::byte>(1)},
                         {"empty", "F32", {0, 4}, {}},
                         f32_tensor("w", {2}, {1.0F, 2.0F})});
  const json listing = require_json({"inspect", in, "--json"});
  REQUIRE(listing.at("format") == "safetensors");
  REQUIRE(entry_of(listing, "mask").at("encoding") == "bool8");
  REQUIRE(entry_of(listing, "scales").at("encoding") == "f6_e2m3");
  REQUIRE(entry_of(listing, "new").at("encoding").is_null());
  REQUIRE(entry_of(listing, "new").at("dtype") == "F2");
  REQUIRE(entry_of(listing, "w").at("dtype_id").is_null());
  REQUIRE(entry_of(listing, "empty").at("packing_ratio").is_null());
  require_contains(require_success({"inspect", in}), {"f6_e2m3", "bool8", "F2"});
  require_refusal(run({"pack", in, "-o", files / "out.apr", "--keep", "mask"}), 2,
                  {"'mask'", "bool8", "'scales'", "'new'", ".apr"});
  require_refusal(run({"pack", in, "-o", files / "out.apr", "--drop", "mask"}), 2, {"'scales'"});
  require_success({"pack", in, "-o", files / "out.apr", "--drop", "mask", "--drop", "[sn]*"});
  const json packed = require_json({"inspect", files / "out.apr", "--json"});
  REQUIRE(packed.at("tensors").size() == 2);
  REQUIRE(entry_of(packed, "empty").at("elements") == 0);
  REQUIRE(entry_of(packed, "w").at("elements") == 2);
  require_refusal(run({"unpack", in, "-o", files / "out.safetensors"}), 2, {"in.safetensors"});
}

TEST_CASE("inspect says who cannot read a file", "[command]") {
  const temporary_directory files;
  write_safetensors(files / "in.safetensors",
                    {f32_tensor("w", {2, 32}, nibble_test::gaussian(64, 18))});
  for (const std::string encoding : {"q8", "q4", "apr_q8", "apr_q4", "f16"}) {
    const std::string out = files / "out.apr";
    require_success({"pack", files / "in.safetensors", "-o", out, "--encoding", encoding});
    const bool is_warned_of =
        require_success({"inspect", out}).find("do not know nibble") != std::string::npos;
    const bool is_nibble_only = encoding == "q8" || encoding == "q4";
    REQUIRE(is_warned_of == is_nibble_only);
    REQUIRE(require_json({"inspect", out, "--json"}).at("warnings").empty() != is_nibble_only);
  }
}

TEST_CASE("inspect keeps strange names in line", "[command]") {
  const temporary_directory files;
  const std::string in = files / "in.safetensors";
  write_safetensors(
      in, {f32_tensor("слой.вес", {2}, {1.0F, 2.0F}), f32_tensor("权重", {2}, {1.0F, 2.0F}),
           f32_tensor("plain", {2}, {1.0F, 2.0F}), f32_tensor("e\x1b[31mvil\n", {2}, {1.0F, 2.0F})});
  const std::string text = require_success({"inspect", in});
  REQUIRE(text.find('\x1b') == std::string::npos);
  require_contains(text, {"e\\x1b[31mvil\\x0a"});
  // Eight columns of Cyrillic, four of Chinese, five of ASCII: blanks fill each name up to one width.
  const auto blanks_after = [&](const std::string& name) {
    const std::size_t end = text.find(name) + name.size();
    return text.find_first_not_of(' ', end) - end;
  };
  REQUIRE(blanks_after("权重") == blanks_after("слой.вес") + 4);
  REQUIRE(blanks_after("plain") == blanks_after("слой.вес") + 3);
  REQUIRE(entry_of(require_json({"inspect", in, "--json"}), "权重").at("elements") == 2);
}

TEST_CASE("verify names what is damaged", "[command]") {
  const temporary_directory files;
  mixed_model().write(files / "in.safetensors");
  const std::string out = files / "out.apr";
  require_success({"pack", files / "in.safetensors", "-o", out});
  require_contains(require_success({"verify", out}), {"ok", "0 problems"});

  const json entry = entry_of(require_json({"inspect", out, "--json"}), "layer.f16");
  std::vector<std::byte> bytes = read_file(out);
  bytes[entry.at("offset").get<std::size_t>() + 1000] ^= std::byte{4};
  nibble_test::write_file(out, bytes);

  const outcome text = run({"verify", out});
  REQUIRE(text.exit_code == 1);
  REQUIRE(text.err.empty());
  require_contains(text.out, {"problem: tensor 'layer.f16': crc32", "problem: footer", "not ok"});
  const outcome result = run({"verify", out, "--json", "--threads", "3"});
  REQUIRE(result.exit_code == 1);
  const json report = json::parse(result.out);
  REQUIRE(report.size() == 9);
  REQUIRE(report.at("file") == out);
  REQUIRE(report.at("ok") == false);
  std::set<std::string> damaged;
  for (const json& found : report.at("findings")) {
    REQUIRE(found.size() == 6);
    REQUIRE(found.at("file").is_null());
    REQUIRE(found.at("severity") == "problem");
    REQUIRE_FALSE(found.at("text").get<std::string>().empty());
    if (found.at("tensor").is_string()) damaged.insert(found.at("tensor"));
  }
  REQUIRE(damaged == std::set<std::string>{"layer.f16"});
}

TEST_CASE("unpack decodes into safetensors of the dtype asked for", "[command]") {
  const temporary_directory files;
  const mixed_model model;
  model.write(files / "in.safetensors");
  const std::string out = files / "out.safetensors";
  require_success({"pack", files / "in.safetensors", "-o", files / "packed.apr"});

  require_success({"unpack", files / "packed.apr", "-o", out});
  auto file = read_safetensors(out);
  REQUIRE(file.tensors.size() == 9);
  REQUIRE(file.metadata.at("license") == "MIT");
  REQUIRE_FALSE(file.metadata.contains("nibble"));
  REQUIRE(file["layer.f16"].dtype == "F32");
  REQUIRE(file["layer.f16"].shape == std::vector<std::uint64_t>{40, 172});
  REQUIRE((numbers_of<float>(file["layer.f16"].bytes) ==
           nibble_test::decode_q8(bytes_in(files / "packed.apr", "layer.f16"), 40, 172)));
  REQUIRE(file["positions"].dtype == "I64");
  REQUIRE((file["positions"].bytes == bytes_of(model.positions)));

  // Source and target dtypes meet: no value changes.
  require_success({"unpack", files / "in.safetensors", "-o", out, "--dtype", "bf16"});
  file = read_safetensors(out);
  REQUIRE((file["layer.bf16"].bytes == bytes_of(model.bf16)));
  REQUIRE(file["layer.f16"].dtype == "BF16");
  require_success({"unpack", files / "in.safetensors", "-o", out, "--dtype", "f16"});
  REQUIRE((read_safetensors(out)["layer.f16"].bytes == bytes_of(model.f16)));

  write_safetensors(files / "large.safetensors", {f32_tensor("w", {3}, {1.0F, 70000.0F, 2.0F})});
  require_refusal(
      run({"unpack", files / "large.safetensors", "-o", files / "no.safetensors", "--dtype", "f16"}), 3,
      {files / "large.safetensors", "'w'", "element 1", "70000"});
  REQUIRE_FALSE(std::filesystem::exists(files / "no.safetensors"));
}

TEST_CASE("diff measures", "[command]") {
  const temporary_directory files;
  const std::string a = files / "a.safetensors";
  const std::string b = files / "b.safetensors";
  write_safetensors(a, {f32_tensor("m", {1, 2}, {3.0F, 4.0F}),
                        f32_tensor("same", {2}, {1.0F, -2.0F}),
                        f32_tensor("v", {2}, {0.0F, 2.0F}),
                        {"ids", "I64", {1, 2}, bytes_of(std::vector<std::int64_t>{5000, 6000})}});
  write_safetensors(b, {f32_tensor("m", {1, 2}, {3.0F, 5.0F}),
                        f32_tensor("same", {2}, {1.0F, -2.0F}),
                        f32_tensor("v", {2}, {1.0F, 2.0F}),
                        {"ids", "I64", {1, 2}, bytes_of(std::vector<std::int64_t>{5000, 6000})}});
  const json report = require_json({"diff", a, b, "--json"});
  const json m = entry_of(report, "m");
  REQUIRE(m.at("max_abs_error").get<double>() == 1.0);
  REQUIRE(is_close(m.at("rmse").get<double>(), std::sqrt(0.5)));
  REQUIRE(is_close(m.at("relative_rmse").get<double>(), 0.2));
  REQUIRE(is_close(m.at("sqnr_db").get<double>(), 10.0 * std::log10(25.0)));
  REQUIRE(is_close(m.at("cosine").get<double>(), 29.0 / (5.0 * std::sqrt(34.0))));
  const json same = entry_of(report, "same");
  REQUIRE(same.at("relative_rmse").get<double>() == 0.0);
  REQUIRE(same.at("sqnr_db") == "inf");
  REQUIRE(same.at("equal") == true);
  REQUIRE(m.at("equal") == false);
  REQUIRE(is_close(same.at("cosine").get<double>(), 1.0));
  // Whole numbers weigh in the totals like others.
  const double ids = 5000.0 * 5000.0 + 6000.0 * 6000.0;
  REQUIRE(report.at("version") == 1);
  REQUIRE(report.at("all_matrices").at("elements") == 4);
  REQUIRE(is_close(report.at("all_matrices").at("relative_rmse").get<double>(),
                   std::sqrt(1.0 / (25.0 + ids))));
  REQUIRE(report.at("all_tensors").at("elements") == 8);
  REQUIRE(is_close(report.at("all_tensors").at("relative_rmse").get<double>(),
                   std::sqrt((1.0 + 1.0) / (25.0 + 5.0 + 4.0 + ids))));
  require_contains(require_success({"diff", a, b}), {"2.000e-01", "inf", "all matrices"});

  require_success({"diff", a, b, "--max-error", "0.51"});
  const outcome above = run({"diff", a, b, "--max-error", "0.3"});
  REQUIRE(above.exit_code == 1);
  require_contains(above.out, {"above 0.3: 'v'"});
  REQUIRE(above.out.find("above 0.3: 'm'") == std::string::npos);
  const outcome both = run({"diff", a, b, "--max-error", "0.1", "--json"});
  REQUIRE(both.exit_code == 1);
  REQUIRE(json::parse(both.out).at("above_max_error") == json{"m", "v"});
}

TEST_CASE("diff knows NaN, infinities and zeros", "[command]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  struct expected {
    std::vector<float> a;
    std::vector<float> b;
    bool is_equal;
  };
  const auto [a, b, is_equal] = GENERATE_COPY(values<expected>({
      {{nan, 1.0F}, {-nan, 1.0F}, true},
      {{infinity, -infinity}, {infinity, -infinity}, true},
      {{0.0F, 0.0F}, {-0.0F, 0.0F}, true},
      {{nan, 1.0F}, {0.0F, 1.0F}, false},
      {{0.0F, 1.0F}, {nan, 1.0F}, false},
      {{infinity, 1.0F}, {-infinity, 1.0F}, false},
      {{infinity, 1.0F}, {3e38F, 1.0F}, false},
      {{1.0F, 1.0F}, {1.0F, infinity}, false},
      {{0.0F, 0.0F}, {0.0F, 1e-30F}, false},
  }));
  INFO(a[0] << ' ' << a[1] << ' ' << b[0] << ' ' << b[1]);
  const temporary_directory files;
  write_safetensors(files / "a", {f32_tensor("w", {2}, a)});
  write_safetensors(files / "b", {f32_tensor("w", {2}, b)});
  const json entry = entry_of(require_json({"diff", files / "a", files / "b", "--json"}), "w");
  REQUIRE(entry.at("equal") == is_equal);
  if (is_equal) {
    REQUIRE(entry.at("relative_rmse") == 0.0);
    REQUIRE(entry.at("max_abs_error") == 0.0);
  } else {
    REQUIRE(entry.at("relative_rmse") == "inf");
    REQUIRE(entry.at("sqnr_db") == "-inf");
  }
  REQUIRE(run({"diff", files / "a", files / "b", "--max-error", "1e30"}).exit_code ==
          (is_equal ? 0 : 1));
}

TEST_CASE("diff says what does not pair up", "[command]") {
  const temporary_directory files;
  const std::string a = files / "a.safetensors";
  const std::string b = files / "b.safetensors";
  write_safetensors(a, {f32_tensor("x", {2}, {1.0F, 2.0F}),
                        f32_tensor("gone", {1}, {1.0F}),
                        f32_tensor("turned", {1, 2}, {1.0F, 2.0F}),
                        {"same flags", "F4", {2}, {std::byte{1}}},
                        {"flags", "F4", {2}, {std::byte{1}}}});
  write_safetensors(b, {f32_tensor("x", {2}, {1.0F, 2.0F}),
                        f32_tensor("new", {1}, {1.0F}),
                        f32_tensor("turned", {2, 1}, {1.0F, 2.0F}),
                        {"same flags", "F4", {2}, {std::byte{1}}},
                        {"flags", "F4", {2}, {std::byte{0}}}});
  const outcome text = run({"diff", a, b});
  REQUIRE(text.exit_code == 1);
  require_contains(text.out,
                   {"only in " + a + ": 'gone'", "only in " + b + ": 'new'", "1x2 and 2x1: 'turned'"});
  const outcome result = run({"diff", a, b, "--json", "--max-error", "1"});
  REQUIRE(result.exit_code == 1);
  const json report = json::parse(result.out);
  REQUIRE(report.at("only_in_a") == json::array({"gone"}));
  REQUIRE(report.at("only_in_b") == json::array({"new"}));
  REQUIRE(report.at("shape_mismatches").at(0).at("shape_b") == json{2, 1});
  REQUIRE(report.at("not_compared") == json::array({"flags"}));
  REQUIRE(report.at("ok") == false);
  require_success({"diff", a, a});
}

TEST_CASE("diff finds one value among millions, on any number of threads", "[command]") {
  const temporary_directory files;
  std::vector<float> values(1500 * 2000, 0.25F);
  write_safetensors(files / "a", {f32_tensor("w", {1500, 2000}, values)});
  values[2'999'999] = 0.5F;
  write_safetensors(files / "b", {f32_tensor("w", {1500, 2000}, values)});
  for (const std::string threads : {"1", "2", "5"}) {
    const json entry =
        entry_of(require_json({"diff", files / "a", files / "b", "--json", "--threads", threads}), "w");
    REQUIRE(entry.at("elements") == 3'000'000);
    REQUIRE(entry.at("max_abs_error") == 0.25);
    REQUIRE(is_close(entry.at("relative_rmse").get<double>(), 1.0 / std::sqrt(3e6)));
  }
}

TEST_CASE("bench measures decoding and products", "[command]") {
  const temporary_directory files;
  const std::string in = files / "in.safetensors";
  write_safetensors(in, {f32_tensor("large", {40, 96}, nibble_test::gaussian(40 * 96, 21)),
                         f32_tensor("small", {3, 33}, nibble_test::gaussian(99, 22)),
                         f32_tensor("kept", {7, 5}, nibble_test::gaussian(35, 23)),
                         f32_tensor("gain", {96}, nibble_test::gaussian(96, 24))});
  require_success({"pack", in, "-o", files / "out.apr", "--encoding", "q4", "--keep", "kept"});
  const json report =
      require_json({"bench", files / "out.apr", "--threads", "2", "--json", "--seconds", "0.01"});
  REQUIRE(report.at("threads") == 2);
  for (const auto& [name, figure] : report.at("machine").items()) {
    INFO(name);
    REQUIRE(figure.get<double>() > 1e6);
  }
  std::map<std::string, std::set<std::uint64_t>> elements;
  std::map<std::string, std::set<std::uint64_t>> input_vectors;
  for (const json& each : report.at("measurements")) {
    INFO(each.dump());
    REQUIRE(each.at("ok") == true);
    REQUIRE(each.at("relative_error").get<double>() < 2e-2);
    for (const char* const figure :
         {"seconds", "elements_per_second", "flop_per_second", "bytes_per_second", "share_of_roof"}) {
      REQUIRE(each.at(figure).get<double>() > 0.0);
    }
    const auto encoding = each.at("encoding").get<std::string>();
    elements[encoding].insert(each.at("elements").get<std::uint64_t>());
    REQUIRE(each.at("weight_bytes") == (encoding == "q4" ? 40 * 60 + 3 * 40 : 4 * 35));
    if (each.at("work") == "multiply") {
      input_vectors[encoding].insert(each.at("input_vectors").get<std::uint64_t>());
      REQUIRE(is_close(each.at("flop").get<double>(), 2.0 * each.at("input_vectors").get<double>() *
                                                          each.at("elements").get<double>()));
    } else {
      REQUIRE(each.at("work") == "decode to f32");
      REQUIRE(each.at("bytes_written") == each.at("elements").get<std::uint64_t>() * 4);
    }
  }
  REQUIRE((elements ==
           std::map<std::string, std::set<std::uint64_t>>{{"q4", {40 * 96 + 3 * 33}}, {"f32", {35}}}));
  REQUIRE((input_vectors == std::map<std::string, std::set<std::uint64_t>>{{"q4", {1, 16, 512}},
                                                                           {"f32", {1, 16, 512}}}));

  require_contains(
      require_success({"bench", files / "out.apr", "--threads", "1", "--seconds", "0"}),
      {"1 thread;", "G elements/s", "GFLOP/s", "GB/s", "share of roof", "decode to f32", "exact"});
}

TEST_CASE("bench refuses what it cannot measure", "[command]") {
  const temporary_directory files;
  write_safetensors(files / "vectors", {f32_tensor("gain", {3}, {1.0F, 2.0F, 3.0F}),
                                        {"flags", "F6_E3M2", {2, 2}, std::vector<std::byte>(3)}});
  require_refusal(run({"bench", files / "vectors"}), 2, {files / "vectors", "no matrix"});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  write_safetensors(files / "nan", {f32_tensor("w", {2, 2}, {1.0F, 2.0F, nan, 3.0F})});
  require_refusal(run({"bench", files / "nan", "--seconds", "0"}), 1, {files / "nan", "'w'", "NaN"});
}

namespace {

/// A safetensors file of one matrix of zeros of 256 MiB, which takes next to no room on the disk.
[[maybe_unused]] void write_large_file(const std::string& path) {
  write_safetensors(path, {});
  const std::string header =
      R"({"w":{"dtype":"F32","shape":[16384,4096],"data_offsets":[0,268435456]}})";
  std::vector<std::byte> bytes = bytes_of(std::vector<std::uint64_t>{header.size()});
  const auto text = std::as_bytes(std::span(header));
  bytes.insert(bytes.end(), text.begin(), text.end());
  nibble_test::write_file(path, bytes);
  std::filesystem::resize_file(path, bytes.size() + 268435456);
}

}  // namespace

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("a signal ends pack without a trace", "[command]",
                           "signals; programs of Windows are told by their console")
NIBBLE_PASSED_BY_TEST_CASE("a progress bar is drawn on a terminal only, and goes away", "[command]",
                           "pseudo-terminals")
#else
TEST_CASE("a signal ends pack without a trace", "[command]") {
  const temporary_directory files;
  write_large_file(files / "in.safetensors");
  const int signal = GENERATE(SIGINT, SIGTERM);
  nibble_test::process packing(
      {"pack", files / "in.safetensors", "-o", files / "out.apr", "--threads", "1"});
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!std::filesystem::exists(files / "out.apr.nibble-partial")) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  packing.send(signal);
  REQUIRE(packing.wait() == 128 + signal);
  REQUIRE(packing.err().starts_with("nibble: interrupted"));
  REQUIRE(packing.out().empty());
  REQUIRE_FALSE(std::filesystem::exists(files / "out.apr"));
  REQUIRE_FALSE(std::filesystem::exists(files / "out.apr.nibble-partial"));
}

TEST_CASE("a progress bar is drawn on a terminal only, and goes away", "[command]") {
  const temporary_directory files;
  write_safetensors(files / "in.safetensors",
                    {f32_tensor("w", {64, 64}, nibble_test::gaussian(4096, 19)),
                     f32_tensor("x", {64, 64}, nibble_test::gaussian(4096, 20))});
  const std::string in = files / "in.safetensors";
  for (const words& arguments : std::vector<words>{{"pack", in, "-o", files / "out.apr"},
                                                   {"unpack", in, "-o", files / "out.safetensors"},
                                                   {"verify", in},
                                                   {"diff", in, in}}) {
    INFO(arguments[0]);
    const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0) {
      WARN("passed by: this machine has no pseudo-terminals");
      return;
    }
    REQUIRE(::grantpt(terminal) == 0);
    REQUIRE(::unlockpt(terminal) == 0);
    const std::string name = ::ptsname(terminal);
    const int holder = ::open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    const int exit_code = run(arguments, {.standard_error = name}).exit_code;
    ::close(holder);
    // In parts, as they come through; once nobody has the terminal open, an error follows the last.
    std::string drawn;
    std::array<char, 4096> part;
    for (ssize_t count = 0; (count = ::read(terminal, part.data(), part.size())) > 0;) {
      drawn.append(part.data(), static_cast<std::size_t>(count));
    }
    ::close(terminal);
    REQUIRE(exit_code == 0);
    REQUIRE_FALSE(drawn.empty());
    require_contains(drawn, {" %"});
    // What stands last on the line is blanks.
    REQUIRE(drawn.back() == '\r');
    const std::size_t last = drawn.rfind('\r', drawn.size() - 2);
    REQUIRE(drawn.find_first_not_of(' ', last + 1) == drawn.size() - 1);

    REQUIRE(run(arguments).err.empty());
  }
}

#endif

TEST_CASE("a real model keeps its values", "[command]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(folder);
  const auto model = folder / "models/stories260K";
  const std::string in = (model / "model.safetensors").string();
  const temporary_directory files;
  const auto source = read_safetensors(in);
  struct expected {
    std::string encoding;
    double packing_ratio;  // of 64 columns
    double most_relative_rmse;
  };
  const auto [encoding, packing_ratio, most] =
      GENERATE_COPY(values<expected>({{"q8", 3.556, 0.005}, {"q4", 6.4, 0.08}}));
  const std::string out = files / "out.apr";
  const words arguments{"pack",   in,           "--encoding",
                        encoding, "--metadata", (model / "metadata.json").string()};
  const auto pack = [&](const std::string& to, const std::string& threads) {
    words all = arguments;
    all.insert(all.end(), {"-o", to, "--threads", threads});
    require_success(all);
  };
  pack(out, "1");
  pack(files / "2.apr", "2");
  REQUIRE((read_file(out) == read_file(files / "2.apr")));

  const json listing = require_json({"inspect", out, "--json"});
  REQUIRE(listing.at("tensors").size() == 47);
  REQUIRE(listing.at("metadata").at("tokenizer.vocabulary").size() == 512);
  const std::vector<std::byte> bytes = read_file(out);
  nibble_test::relative_rmse error;
  std::size_t matrices = 0;
  for (const stored_tensor& tensor : source.tensors) {
    INFO(tensor.name);
    const json entry = entry_of(listing, tensor.name);
    const auto part = std::span(bytes).subspan(entry.at("offset").get<std::size_t>(),
                                               entry.at("bytes").get<std::size_t>());
    if (tensor.shape.size() != 2) {
      REQUIRE(entry.at("encoding") == "f32");
      REQUIRE(std::ranges::equal(part, tensor.bytes));
      continue;
    }
    ++matrices;
    const auto rows = static_cast<std::size_t>(tensor.shape[0]);
    const auto cols = static_cast<std::size_t>(tensor.shape[1]);
    REQUIRE(entry.at("encoding") == encoding);
    REQUIRE((cols == 64 || cols == 172));
    const double columns_stored = cols == 64 ? 64.0 : 192.0;
    REQUIRE(is_close(entry.at("packing_ratio").get<double>(),
                     packing_ratio * static_cast<double>(cols) / columns_stored, 3e-4));
    error.add(numbers_of<float>(tensor.bytes), encoding == "q8"
                                                   ? nibble_test::decode_q8(part, rows, cols)
                                                   : nibble_test::decode_q4(part, rows, cols));
  }
  REQUIRE(matrices == 36);
  REQUIRE(error.value() > 0.0);
  REQUIRE(error.value() < most);

  const json report = require_json({"diff", in, out, "--json"});
  REQUIRE(is_close(report.at("all_matrices").at("relative_rmse").get<double>(), error.value(), 1e-6));
  REQUIRE(report.at("all_matrices").at("elements") == 259'328);
  REQUIRE(require_json({"verify", out, "--json"}).at("findings").empty());
}

TEST_CASE("files of the reference implementation are told apart", "[command]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(folder);
  const auto file = (folder / "fixtures/apr/smollm_qkv_int8.apr").string();
  const json listing = require_json({"inspect", file, "--json"});
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
  for (const json& tensor : listing.at("tensors")) {
    REQUIRE(tensor.at("encoding") == "apr_q8");
    REQUIRE(tensor.at("dtype_id") == 9);
    elements += tensor.at("elements").get<std::uint64_t>();
    bytes += tensor.at("bytes").get<std::uint64_t>();
  }
  REQUIRE(elements == 552'960);
  REQUIRE(bytes == 552'972);
  REQUIRE(listing.at("warnings").empty());

  const temporary_directory files;
  const auto q8 = (folder / "fixtures/apr/q8.apr").string();
  require_success({"unpack", q8, "-o", files / "out.safetensors"});
  const json expected = json::parse(std::ifstream(q8 + ".json"));
  const auto unpacked = read_safetensors(files / "out.safetensors");
  REQUIRE(unpacked.tensors.size() == 6);
  for (const json& tensor : expected.at("tensors")) {
    const std::vector<std::byte> dump =
        read_file(folder / "fixtures/apr" / tensor.at("f32").at("dump").at("file").get<std::string>());
    const stored_tensor& found = unpacked[tensor.at("name").get<std::string>()];
    REQUIRE(found.shape == tensor.at("shape").get<std::vector<std::uint64_t>>());
    REQUIRE(found.bytes.size() == 4 * tensor.at("elements").get<std::size_t>());
    REQUIRE(std::ranges::equal(std::span(found.bytes).first(dump.size()), dump));
  }
}
