#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <thread>
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

using nibble_test::metadata_of;
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

void write_model(const std::string& path) {
  nibble_test::write_safetensors(
      path, {{"w", "F32", {8, 64}, nibble_test::bytes_of(nibble_test::gaussian(512, 1))},
             {"norm", "F32", {64}, nibble_test::bytes_of(nibble_test::gaussian(64, 2))}});
}

#if !defined(_WIN32)
/// What a line gives to a shell, and its output.
std::pair<int, std::string> in_shell(const std::string& line) {
  const temporary_directory files;
  const std::string out = files / "out";
  const int status = std::system(fmt::format("{{ {}\n}} > '{}' 2>&1", line, out).c_str());
  const auto bytes = read_file(out);
  return {WEXITSTATUS(status), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
}
#endif

}  // namespace

TEST_CASE("words of other programs are led to the right ones", "[first_minute]") {
  const temporary_directory files;
  nibble_test::write_safetensors(
      files / "m.safetensors",
      {{"model.layers.0.v_proj.weight", "F32", {2, 32}, std::vector<std::byte>(256)},
       {"norm", "F32", {600}, std::vector<std::byte>(2400)}});
  const std::string file = files / "m.safetensors";
  require_refusal(run({"quantize", file}), 2, {"'pack' is"});
  require_refusal(run({"compare", file, file}), 2, {"'diff' is"});
  require_refusal(run({"pack", file, "-e", "Q4_K_M"}), 2, {"--mix q4_k_m"});
  require_refusal(run({"pack", file, "--tensor", "v_proj=q8"}), 2, {"'*v_proj*' matches 1"});
  require_refusal(run({"inspect", file, "--only", "v_proj"}), 2, {"'*v_proj*' matches 1"});
  require_refusal(run({"show", file, "v_proj"}), 2, {"'model.layers.0.v_proj.weight'"});
  require_refusal(run({"show", file, "x", "--rows", "5"}), 2, {"FROM:TO is expected"});
  require_success({"pack", file, "-e", "Q4", "-o", files / "m.apr"});
  require_success({"split", files / "m.apr", "-o", files / "s.apr", "--shard-size", "2kB"});
  require_refusal(run({"merge", files / "s.apr", "-o", files / "x.apr"}), 4, {"s-00001-of-"});
  require_success({"convert", file, "-o", files / "m.gguf", "--names", "keep"});
  CHECK(require_success({"inspect", file, "--names"}) == "model.layers.0.v_proj.weight\nnorm\n");
#if defined(NIBBLE_DEMO_MODEL)
  require_refusal(run({"run", file, "In the beginning"}), 2, {"--prompt"});
#endif
}

#if !defined(_WIN32)
TEST_CASE("an error that nobody hears has its exit code all the same", "[first_minute]") {
  const temporary_directory files;
  CHECK(run({"verify", files / "absent"}, {.standard_error = "/dev/full"}).exit_code == 4);
  CHECK(run({"frobnicate"}, {.standard_error = "/dev/full"}).exit_code == 2);
}
#endif

TEST_CASE("pack without -o writes beside its input, and replaces nothing unasked", "[first_minute]") {
  const temporary_directory files;
  write_model(files / "model.safetensors");
  require_contains(require_success({"pack", files / "model.safetensors", "-e", "q4"}),
                   {files / "model-q4.apr"});
  const auto before = read_file(files / "model-q4.apr");
  require_refusal(run({"pack", files / "model.safetensors", "-e", "q4"}), 2,
                  {"model-q4.apr: is there already", "--force"});
  require_success({"pack", files / "model.safetensors", "-e", "q4", "--force"});
  CHECK((read_file(files / "model-q4.apr") == before));
  write_model(files / "v1.5-00001-of-00001.safetensors");
  require_success({"pack", files / "v1.5-00001-of-00001.safetensors"});
  CHECK(std::filesystem::exists(files / "v1.5-q8.apr"));
}

TEST_CASE("the suffix of an output chooses the container, and others are refused", "[first_minute]") {
  const temporary_directory files;
  write_model(files / "m.safetensors");
  const std::string in = files / "m.safetensors";
  require_success({"pack", in, "-o", files / "A.APR"});
  require_success({"convert", in, "-o", files / "b.GGUF"});
  require_contains(require_success({"inspect", files / "b.GGUF"}), {"gguf"});
  for (const std::string name : {"out", "out.bin", "out.apr.tmp", ".apr2"}) {
    INFO(name);
    require_refusal(run({"pack", in, "-o", files / name}), 2, {"no known suffix", ".apr"});
    require_refusal(run({"convert", in, "-o", files / name}), 2, {".apr, .gguf or .safetensors"});
    require_refusal(run({"unpack", in, "-o", files / name}), 2, {".safetensors"});
    require_refusal(run({"merge", in, "-o", files / name}), 2, {".safetensors"});
    require_refusal(run({"split", in, "-o", files / name, "--shard-size", "1MB"}), 2, {".apr"});
    require_refusal(run({"meta", in, "--set", "a=1", "-o", files / name}), 2, {".safetensors"});
    CHECK_FALSE(std::filesystem::exists(files / name));
  }
  for (const std::string subcommand : {"pack", "convert", "unpack", "merge"}) {
    require_refusal(run({subcommand, in, "-o", "-"}), 2, {"-o -", "name a file"});
  }
}

TEST_CASE("short forms and requests that leave nothing", "[first_minute]") {
  const temporary_directory files;
  write_model(files / "m.safetensors");
  const std::string in = files / "m.safetensors";
  require_success({"pack", in, "-eq4", "-o" + (files / "a.apr")});
  CHECK(json::parse(require_success({"inspect", "-j", files / "a.apr"}))
            .at("tensors")[1]
            .at("encoding") == "q4");
  const json report = json::parse(require_success({"pack", in, "-jo", files / "a.apr"}));
  CHECK(report.at("version") == 1);
  CHECK(report.at("encodings") == json{{"f32", 1}, {"q8", 1}});
  require_refusal(run({"pack", in, "-o", files / "b.apr", "--drop", "*"}), 2,
                  {"--drop leaves no tensor"});
  for (const std::string option : {"--drop", "--keep", "--only", "--transpose"}) {
    require_refusal(run({"pack", in, "-o", files / "b.apr", option, "nothing*"}), 2,
                    {option + " 'nothing*' matches no"});
  }
  CHECK_FALSE(std::filesystem::exists(files / "b.apr"));
}

#if !defined(_WIN32)
TEST_CASE("a reader that leaves ends the command in silence, and pipes are refused", "[first_minute]") {
  const temporary_directory files;
  std::vector<stored_tensor> tensors;
  for (int i = 0; i < 5000; ++i) tensors.push_back({fmt::format("tensor.{}", i), "U8", {0}, {}});
  nibble_test::write_safetensors(files / "big.safetensors", tensors);
  const std::string nibble = "'" + nibble_test::command_path() + "'";
  const std::string big = "'" + (files / "big.safetensors") + "'";
  const auto [ended, said] =
      in_shell(fmt::format("{{ {} inspect {}; echo $? >&2; }} | true", nibble, big));
  CHECK(said == "141\n");
  CHECK(ended == 0);

  const auto [code, text] = in_shell(fmt::format("cat {} | {} inspect /dev/stdin", big, nibble));
  CHECK(code == 2);
  require_contains(text, {"/dev/stdin: is no file", "write it to a file first"});
  CHECK(in_shell(fmt::format("{} inspect - < {}", nibble, big)).first == 2);
  CHECK(in_shell(fmt::format("{} verify /dev/stdin < {}", nibble, big)).first == 0);
  write_model(files / "m.safetensors");
  CHECK(in_shell(fmt::format("echo '{{\"a\": 7}}' | {} pack '{}' -o '{}' --metadata -", nibble,
                             files / "m.safetensors", files / "m.apr"))
            .first == 0);
  CHECK(metadata_of(files / "m.apr").at("a") == 7);
}

TEST_CASE("a file that is shortened while it is read is an error, and nothing is left",
          "[first_minute]") {
  const temporary_directory files;
  const std::string in = files / "m.safetensors";
  const std::size_t rows = 20000;
  nibble_test::write_safetensors(
      in, {{"w", "F32", {rows, 512}, nibble_test::bytes_of(nibble_test::gaussian(rows * 512, 1))}});
  for (const words& arguments : std::vector<words>{
           {"pack", in, "-o", files / "out.apr", "-e", "q4", "--threads", "1"},
           {"verify", in, "--threads", "1"},
           {"unpack", in, "-o", files / "out.safetensors", "--dtype", "f16", "--threads", "1"}}) {
    INFO(arguments[0]);
    const std::string copy = files / "copy.safetensors";
    bool was_shortened = false;
    for (int attempt = 0; attempt < 100 && !was_shortened; ++attempt) {
      std::filesystem::copy_file(in, copy, std::filesystem::copy_options::overwrite_existing);
      words with_copy = arguments;
      with_copy[1] = copy;
      nibble_test::process running(with_copy);
      // Each fifth of the attempts searches the moment in longer steps, for machines differ.
      std::this_thread::sleep_for(std::chrono::milliseconds((attempt % 20 + 1) * (attempt / 20 + 1)));
      std::filesystem::resize_file(copy, 70000);
      const int code = running.wait();
      if (code == 3 || code == 0) continue;  // it came too early or too late
      CHECK(code == 4);
      require_contains(running.err(), {copy, "shortened while it was read"});
      CHECK(running.out().empty());
      was_shortened = true;
    }
    CHECK(was_shortened);
    for (const auto& entry : std::filesystem::directory_iterator(files.path())) {
      CHECK(entry.path().filename().string().find("partial") == std::string::npos);
    }
  }
}

TEST_CASE("completions and manual pages say what the parser knows", "[first_minute]") {
  const temporary_directory files;
  const words names = {"pack", "convert", "inspect", "verify", "unpack", "diff",        "hash",
                       "meta", "split",   "merge",   "bench",  "help",   "completions", "man"};
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const std::string script = require_success({"completions", shell});
    require_contains(script, names);
    require_contains(script, {"shard-size", "fail-on", "q8 q4 apr_q8"});
    write_file(files / shell, std::as_bytes(std::span(script)));
    if (std::system(fmt::format("command -v {} > /dev/null", shell).c_str()) != 0) continue;
    CHECK(in_shell(fmt::format("{} -n '{}'", shell, files / shell)) ==
          std::pair<int, std::string>(0, ""));
  }
  require_refusal(run({"completions", "tcsh"}), 2, {"bash, zsh or fish"});
  const auto completed = [&](const std::string& typed, int at) {
    const std::string script = fmt::format(
        "source '{}'; COMP_WORDS=(nibble {}); COMP_CWORD={}; _nibble; echo ${{COMPREPLY[@]}}",
        files / "bash", typed, at);
    write_file(files / "script", std::as_bytes(std::span(script)));
    return in_shell(fmt::format("bash '{}'", files / "script")).second;
  };
  CHECK(completed("me", 1) == "meta merge\n");
  CHECK(completed("pack --enc", 2) == "--encoding\n");
  CHECK(completed("pack --encoding apr", 3) == "apr_q8 apr_q4\n");
  CHECK(completed("pack -e b", 3) == "bf16\n");
  CHECK(completed("help un", 2) == "unpack\n");

  for (const std::string& name : names) {
    const std::string page = require_success({"man", name});
    require_contains(page,
                     {".TH nibble\\-" + name + " 1", ".SH NAME", ".SH OPTIONS", ".SH EXIT STATUS"});
  }
  require_contains(require_success({"man"}), {".TH nibble 1", ".SH SUBCOMMANDS", "completions"});
  require_contains(require_success({"man", "verify"}), {"\\fB\\-\\-fail\\-on\\fR \\fIWHAT\\fR"});
}
#endif
