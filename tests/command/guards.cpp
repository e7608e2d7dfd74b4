#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::outcome;
using nibble_test::read_file;
using nibble_test::require_contains;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::run;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::words;
using nibble_test::write_file;
using nlohmann::json;

namespace {

stored_tensor guarded_weights(const std::string& name, std::uint32_t seed) {
  return {name, "F32", {8, 64}, nibble_test::bytes_of(nibble_test::gaussian(8 * 64, seed))};
}

/// Eight matrices of 2 KiB, as safetensors and as a set of .apr shards.
struct shards_to_guard {
  temporary_directory files;
  std::string whole = files / "whole.safetensors";

  shards_to_guard() {
    std::vector<stored_tensor> tensors;
    for (std::uint32_t i = 0; i < 8; ++i) tensors.push_back(guarded_weights(fmt::format("w{}", i), i));
    nibble_test::write_safetensors(whole, tensors);
  }
  [[nodiscard]] std::string shard(const std::string& name, int index, int count) const {
    return files / fmt::format("{}-0000{}-of-0000{}.apr", name, index, count);
  }
};

}  // namespace

TEST_CASE("a shard's name is not written onto unless its set is replaced", "[sets]") {
  const shards_to_guard model;
  const auto& files = model.files;
  require_success({"split", model.whole, "-o", files / "sp.apr", "--shard-size", "10kB"});
  const std::string first = model.shard("sp", 1, 2);
  const std::string second = model.shard("sp", 2, 2);
  const auto before = read_file(first);
  for (const words& arguments :
       std::vector<words>{{"merge", second, "-o", first},
                          {"pack", model.whole, "-o", first, "-e", "f16"},
                          {"convert", model.whole, "-o", second},
                          {"split", model.whole, "-o", first, "--shard-size", "1GB"},
                          {"pack", first, "-o", first, "--single", "--requantize"}}) {
    INFO(arguments[0]);
    require_refusal(run(arguments), 2, {"is a shard of a set", "sp-0000", "--force"});
  }
  CHECK((read_file(first) == before));
  // Shards whose names are of another form say by themselves what they are part of.
  require_success({"verify", first});
  require_success({"split", model.whole, "-o", files / "sp.apr", "--shard-size", "10kB"});
  require_success({"merge", second, "-o", first, "--force"});
  require_refusal(run({"verify", second}), 3, {"bad_shard"});

  // Members of an index, whatever they are called.
  nibble_test::write_safetensors(files / "a.safetensors", {guarded_weights("a", 1)});
  nibble_test::write_safetensors(files / "b.safetensors", {guarded_weights("b", 2)});
  const std::string index = R"({"weight_map":{"a":"a.safetensors","b":"b.safetensors"}})";
  write_file(files / "model.safetensors.index.json", std::as_bytes(std::span(index)));
  require_refusal(run({"unpack", model.whole, "-o", files / "a.safetensors"}), 2, {"b.safetensors"});
  require_success({"merge", files / "model.safetensors.index.json", "-o", files / "c.safetensors"});
}

TEST_CASE("a set of fewer shards names those that are left over", "[sets]") {
  const shards_to_guard model;
  const std::string out = model.files / "s.apr";
  require_success({"split", model.whole, "-o", out, "--shard-size", "5kB"});
  require_success({"verify", model.shard("s", 1, 4)});
  const std::string said = require_success({"split", model.whole, "-o", out, "--shard-size", "10kB"});
  require_contains(said, {"left over: s-00001-of-00004.apr", "left over: s-00004-of-00004.apr"});
  const json report = json::parse(
      require_success({"pack", model.whole, "-o", out, "--shard-size", "1GB", "-e", "q8", "--json"}));
  CHECK(report.at("left_over_shards").size() == 6);
  CHECK(report.at("files").size() == 1);
}

TEST_CASE("a shard size bounds files, header and all", "[sets]") {
  const shards_to_guard model;
  for (const auto& [size, bytes] : std::map<std::string, std::uint64_t>{{"3000", 3000},
                                                                        {"4.5kB", 4500},
                                                                        {"5KiB", 5120},
                                                                        {"0.0061MB", 6100},
                                                                        {"9.25KiB", 9472},
                                                                        {"0.01mb", 10000}}) {
    INFO(size);
    const temporary_directory files;
    const json report = json::parse(
        require_success({"split", model.whole, "-o", files / "s.apr", "--shard-size", size, "--json"}));
    CHECK(report.at("over_shard_size").empty());
    for (const json& file : report.at("files")) {
      const auto on_disk = std::filesystem::file_size(file.at("file").get<std::string>());
      CHECK(on_disk == file.at("file_bytes"));
      CHECK(on_disk <= bytes);
    }
    require_success({"diff", report.at("files")[0].at("file"), model.whole, "--max-error", "0"});
  }
  const std::string said =
      require_success({"split", model.whole, "-o", model.files / "t.apr", "--shard-size", "1kB"});
  require_contains(said, {"over 1,000 bytes, for tensor 'w0' alone is as large"});
  for (const std::string wrong : {"0", "1.0001kB", "1.5", ".5MB", "1.MB", "9999999TB", "1 XB"}) {
    require_refusal(run({"split", model.whole, "-o", model.files / "t.apr", "--shard-size", wrong}), 2,
                    {"1.5MB"});
  }
  require_contains(require_success({"split", "--help"}), {"header and all"});
}

TEST_CASE("whole numbers count in diff, to the last bit", "[gates]") {
  const temporary_directory files;
  const std::int64_t large = std::int64_t{1} << 60U;
  const auto write = [&](const std::string& name, std::int64_t value) {
    nibble_test::write_safetensors(
        files / name,
        {{"ids", "I64", {2}, nibble_test::bytes_of(std::vector<std::int64_t>{value, -5})}});
    return files / name;
  };
  const std::string a = write("a.safetensors", large);
  const std::string b = write("b.safetensors", large + 1);
  const json report = json::parse(require_success({"diff", a, b, "--json"}));
  CHECK(report.at("all_tensors").at("elements") == 2);
  CHECK(report.at("all_tensors").at("equal") == false);
  CHECK(report.at("all_tensors").at("max_abs_error") == 1.0);
  CHECK(run({"diff", a, b, "--max-error", "0"}).exit_code == 1);
  require_success({"diff", a, a, "--max-error", "0"});

  nibble_test::write_safetensors(files / "c.safetensors", {guarded_weights("other", 1)});
  require_refusal(run({"diff", a, files / "c.safetensors"}), 2, {"share no tensor"});
  require_refusal(run({"diff", a, files / "c.safetensors", "--json"}), 2, {"share no tensor"});
}

TEST_CASE("verify says what it cannot see, and --fail-on chooses what counts", "[gates]") {
  const temporary_directory files;
  const std::vector<std::byte> zeros(4 * 64);
  nibble_test::write_safetensors(
      files / "z.safetensors",
      {{"matrix", "F32", {2, 32}, zeros}, {"bias", "F32", {64}, zeros}, guarded_weights("w", 1)});
  const outcome text = run({"verify", files / "z.safetensors"});
  CHECK(text.exit_code == 1);
  require_contains(text.out, {"a changed bit that still decodes is not seen", "(no_checksums)",
                              "problem: tensor 'matrix'", "note: tensor 'bias'", "(all_zeros)"});
  const json report = json::parse(run({"verify", files / "z.safetensors", "--json"}).out);
  CHECK(report.at("version") == 1);
  CHECK(report.at("format") == "safetensors");
  CHECK(report.at("ok") == false);
  CHECK(report.at("tensors") == 3);
  CHECK(report.at("problems") == 1);
  CHECK(report.at("notes") == 2);
  std::map<std::string, std::string> codes;
  for (const json& found : report.at("findings")) {
    codes[found.at("tensor").is_null() ? "" : found.at("tensor").get<std::string>()] = found.at("code");
  }
  CHECK(codes == std::map<std::string, std::string>{
                     {"", "no_checksums"}, {"matrix", "all_zeros"}, {"bias", "all_zeros"}});
  const auto exit_code = [&](const std::string& file, const words& causes) {
    words arguments{"verify", files / file};
    for (const std::string& cause : causes) arguments.insert(arguments.end(), {"--fail-on", cause});
    return run(arguments).exit_code;
  };
  CHECK(exit_code("z.safetensors", {"never"}) == 0);
  CHECK(exit_code("z.safetensors", {"note"}) == 1);
  // Problems count whatever else does.
  CHECK(exit_code("z.safetensors", {"wrong_checksum"}) == 1);
  CHECK(exit_code("z.safetensors", {"wrong_checksum", "all_zeros"}) == 1);
  CHECK(exit_code("z.safetensors", {"zeros"}) == 2);
  CHECK(exit_code("z.safetensors", {"never", "note"}) == 2);
  nibble_test::write_safetensors(files / "f.safetensors", {guarded_weights("w", 1)});
  require_success({"pack", files / "f.safetensors", "-o", files / "f.apr"});
  CHECK(exit_code("f.safetensors", {"no_checksums"}) == 1);
  CHECK(exit_code("f.apr", {"no_checksums"}) == 0);

  const outcome absent = run({"verify", files / "absent", "--json"});
  CHECK(absent.exit_code == 4);
  const json failed = json::parse(absent.out);
  CHECK(failed.at("version") == 1);
  CHECK(failed.at("ok") == false);
  CHECK(failed.at("error").at("code") == "file_not_found");
}

TEST_CASE("damage is not written anew with a checksum that calls it right", "[gates]") {
  const temporary_directory files;
  nibble_test::write_safetensors(files / "m.safetensors",
                                 {guarded_weights("w", 1), guarded_weights("v", 2)});
  const std::string damaged = files / "m.apr";
  require_success({"pack", files / "m.safetensors", "-o", damaged, "-e", "q4"});
  const json listing = json::parse(require_success({"inspect", damaged, "-j"}));
  std::vector<std::byte> bytes = nibble_test::read_file(damaged);
  const auto at = listing.at("tensors").at(1).at("offset").get<std::size_t>() + 9;
  bytes[at] ^= std::byte{4};
  nibble_test::write_file(damaged, bytes);
  const std::string name = listing.at("tensors").at(1).at("name").get<std::string>();
  const std::vector<words> writers = {
      {"convert", damaged, "-o", files / "x.apr"},
      {"convert", damaged, "-o", files / "x.gguf"},
      {"unpack", damaged, "-o", files / "x.safetensors"},
      {"split", damaged, "-o", files / "x.apr", "--shard-size", "3kB"},
      {"merge", damaged, "-o", files / "x.apr"},
      {"pack", damaged, "-o", files / "x.apr", "--requantize", "-e", "q8"},
  };
  for (words arguments : writers) {
    CAPTURE(arguments[0]);
    require_refusal(run(arguments), 1, {"m.apr", "'" + name + "'", "crc32", "--ignore-checksums"});
    CHECK_FALSE(std::filesystem::exists(files / "x.apr"));
    arguments.push_back("--ignore-checksums");
    CHECK(run(arguments).exit_code == 0);
    for (const char* const made : {"x.apr", "x.gguf", "x.safetensors"}) {
      std::filesystem::remove(files / made);
    }
  }
}

TEST_CASE("tensors alone are held against a list, of a set as of a file", "[gates]") {
  const temporary_directory files;
  nibble_test::write_safetensors(files / "m.safetensors",
                                 {guarded_weights("w", 1), guarded_weights("v", 2)});
  require_success({"pack", files / "m.safetensors", "-o", files / "m.apr"});
  require_success({"split", files / "m.apr", "-o", files / "s.apr", "--shard-size", "500"});
  const std::string list = require_success({"hash", files / "m.apr"});
  write_file(files / "list", std::as_bytes(std::span(list)));
  std::string shard;
  for (const auto& entry : std::filesystem::directory_iterator(files / ".")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("s-00001-of-")) shard = files / name;
  }
  REQUIRE_FALSE(shard.empty());
  CHECK(run({"hash", shard, "--check", files / "list"}).exit_code == 1);
  require_contains(require_success({"hash", shard, "--check", files / "list", "--tensors-only"}),
                   {": as listed"});
  const std::string tensors = require_success({"hash", files / "m.apr", "--tensors-only"});
  CHECK(tensors.find("file ") == std::string::npos);
  nibble_test::write_safetensors(files / "n.safetensors",
                                 {guarded_weights("w", 1), guarded_weights("v", 3)});
  require_success({"pack", files / "n.safetensors", "-o", files / "n.apr"});
  CHECK(run({"hash", files / "n.apr", "--check", files / "list", "--tensors-only"}).exit_code == 1);
}

TEST_CASE("hash --check knows the same bytes under another name", "[gates]") {
  const temporary_directory files;
  nibble_test::write_safetensors(files / "m.safetensors",
                                 {guarded_weights("w", 1), guarded_weights("v", 2)});
  const std::string list = require_success({"hash", files / "m.safetensors"});
  write_file(files / "list", std::as_bytes(std::span(list)));
  std::filesystem::rename(files / "m.safetensors", files / "n.safetensors");
  require_contains(
      require_success({"hash", files / "n.safetensors", "--check", files / "list"}),
      {"file n.safetensors: the same bytes as listed for file m.safetensors", "as listed"});
  const json report = json::parse(
      require_success({"hash", files / "n.safetensors", "--check", files / "list", "--json"}));
  CHECK(report.at("ok") == true);
  CHECK(report.at("hashes").size() == 3);
  CHECK(report.at("differences")[0].at("kind") == "renamed");
  nibble_test::write_safetensors(files / "n.safetensors",
                                 {guarded_weights("w", 1), guarded_weights("v", 3)});
  CHECK(run({"hash", files / "n.safetensors", "--check", files / "list"}).exit_code == 1);
#if !defined(_WIN32)
  const std::string from_pipe =
      fmt::format("'{}' hash '{}' | '{}' hash '{}' --check - > /dev/null", nibble_test::command_path(),
                  files / "n.safetensors", nibble_test::command_path(), files / "n.safetensors");
  CHECK(std::system(from_pipe.c_str()) == 0);
#endif
}

TEST_CASE("subcommands and faults end as the table of exit codes says", "[gates]") {
  const temporary_directory files;
  nibble_test::write_safetensors(files / "good.safetensors", {guarded_weights("w", 1)});
  nibble_test::write_safetensors(files / "type.safetensors",
                                 {{"w", "F6_E3M2", {2, 2}, std::vector<std::byte>(3)}});
  const std::string text = "no tensor file at all";
  write_file(files / "bad.safetensors", std::as_bytes(std::span(text)));
  nibble_test::write_safetensors(files / "set-00001-of-00002.safetensors", {guarded_weights("w", 1)});
  struct expected_ends {
    words more;        ///< arguments behind the file
    int of_type;       ///< where a tensor's dtype is not decoded
    int of_good_file;  ///< where nothing is wrong with the file
  };
  const std::string good = files / "good.safetensors";
  std::map<std::string, expected_ends> subcommands = {
      {"pack", {{"-o", files / "out.apr"}, 2, 0}},
      {"convert", {{"-o", files / "out.apr"}, 2, 0}},
      {"inspect", {{}, 0, 0}},
      {"show", {{"w"}, 2, 0}},
      {"verify", {{}, 0, 0}},
      {"unpack", {{"-o", files / "out.safetensors"}, 2, 0}},
      {"diff", {{good}, 1, 0}},
      {"report", {{good, "-o", files / "out.html"}, 2, 0}},
      {"hash", {{}, 0, 0}},
      {"meta", {{}, 0, 0}},
      {"split", {{"-o", files / "out.apr", "--shard-size", "1GB"}, 2, 0}},
      {"merge", {{"-o", files / "out.safetensors"}, 0, 0}},
      {"bench", {{}, 2, 0}}};
#if defined(NIBBLE_DEMO_MODEL)
  // No model is in any of these files.
  write_file(files / "text", std::as_bytes(std::span(text)));
  subcommands["run"] = {{"-p", "x"}, 3, 3};
  subcommands["perplexity"] = {{"--text", files / "text"}, 3, 3};
  subcommands["importance"] = {{"--text", files / "text", "-o", files / "out.gguf"}, 3, 3};
  subcommands["parity"] = {{good, good, "--oracle", NIBBLE_ENGINE_DATA "/demo_model.json"}, 3, 3};
#endif
  for (const auto& [name, ends] : subcommands) {
    const auto code = [&, &name = name, &more = ends.more](const std::string& file,
                                                           const words& others = {}) {
      words arguments{name, file == "-" ? file : files / file};
      arguments.insert(arguments.end(), more.begin(), more.end());
      arguments.insert(arguments.end(), others.begin(), others.end());
      const outcome result = run(arguments);
      INFO(name << ' ' << file << ": " << result.err);
      if (result.exit_code > 1) {
        CHECK(result.err.find("out.") == std::string::npos);  // the input is named
        CHECK(std::ranges::count(result.err, '\n') == 1);
      }
      return result.exit_code;
    };
    INFO(name);
    CHECK(code("absent.safetensors") == 4);
    CHECK(code("bad.safetensors") == 3);
    CHECK(code("set-00001-of-00002.safetensors") == 3);
    CHECK(code("good.safetensors", {"--frobnicate"}) == 2);
    CHECK(code("type.safetensors") == ends.of_type);
    CHECK(code("-") == 2);
    if (name == "bench") continue;  // it takes ten seconds, and others do it
    CHECK(code("good.safetensors") == ends.of_good_file);
  }
  for (const std::string name : {"diff", "report"}) {
    INFO(name);
    const auto second = [&](const std::string& file) {
      words arguments{name, good, file};
      if (name == "report") arguments.insert(arguments.end(), {"-o", files / "out.html"});
      return run(arguments).exit_code;
    };
    CHECK(second(files / "bad.safetensors") == 3);
    CHECK(second(files / "absent") == 4);
    CHECK(second("-") == 2);
  }
}
