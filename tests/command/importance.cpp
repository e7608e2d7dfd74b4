/// Importance of columns: gathered, read back, packed by; and packing that a text calibrates.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/importance.hpp>

#include "../support/bytes.hpp"
#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

namespace {

using nibble_test::append_number;
using nibble_test::require_contains;
using nibble_test::require_ended;
using nibble_test::require_refusal;
using nibble_test::run;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

/// Writes importance in the older form, number by number.
void write_importance(const std::string& path,
                      const std::map<std::string, std::vector<float>>& entries) {
  std::vector<std::byte> file;
  append_number(file, static_cast<std::int32_t>(entries.size()));
  for (const auto& [name, values] : entries) {
    append_number(file, static_cast<std::int32_t>(name.size()));
    for (const char letter : name) file.push_back(static_cast<std::byte>(letter));
    append_number(file, std::int32_t{1});
    append_number(file, static_cast<std::int32_t>(values.size()));
    const auto bytes = nibble_test::bytes_of(values);
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  nibble_test::write_file(path, file);
}

constexpr std::size_t matrix_cols = 64;

/// Two matrices, of which the first one's last 32 columns are coarse beside the first 32.
std::string write_matrices(const temporary_directory& files) {
  std::vector<float> values(16 * matrix_cols);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = 0.001F * static_cast<float>(static_cast<int>(i * 7919 % 1009) - 504);
  }
  const std::string path = files / "m.safetensors";
  nibble_test::write_safetensors(
      path, {{"blk.0.attn_q.weight", "F32", {16, matrix_cols}, nibble_test::bytes_of(values)},
             {"blk.0.attn_k.weight", "F32", {16, matrix_cols}, nibble_test::bytes_of(values)},
             {"norm.weight", "F32", {4}, nibble_test::bytes_of(std::vector<float>(4))}});
  return path;
}

std::vector<float> floats_in(const std::string& path) {
  return nibble_test::numbers_of<float>(
      nibble_test::read_safetensors(path)["blk.0.attn_q.weight"].bytes);
}

std::vector<float> decoded_q(const temporary_directory& files, const std::string& packed) {
  const std::string floats = files / "floats.safetensors";
  require_ended({"unpack", packed, "-o", floats}, 0);
  return floats_in(floats);
}

}  // namespace

TEST_CASE("pack weights errors by columns that count, and says which tensors have none", "[command]") {
  const temporary_directory files;
  const std::string input = write_matrices(files);
  std::vector<float> one_column(matrix_cols);
  one_column[5] = 3.0F;
  write_importance(files / "i.dat", {{"blk.0.attn_q.weight", one_column}});
  const std::string packed = files / "p.apr";
  const std::string told = nibble_test::told(
      {"pack", input, "-o", packed, "-e", "q4", "--search", "best", "--importance", files / "i.dat"});
  require_contains(told, {"importance of columns: 1 tensor by ",
                          "without importance: 1 tensor ('blk.0.attn_k.weight')"});
  const std::vector<float> before = floats_in(input);
  const std::vector<float> weighted = decoded_q(files, packed);
  require_ended({"pack", input, "-o", packed, "-e", "q4"}, 0);
  const std::vector<float> plain = decoded_q(files, packed);
  double weighted_error = 0.0;
  double plain_error = 0.0;
  for (std::size_t at = 5; at < before.size(); at += matrix_cols) {
    weighted_error += std::pow(static_cast<double>(weighted[at] - before[at]), 2.0);
    plain_error += std::pow(static_cast<double>(plain[at] - before[at]), 2.0);
  }
  CHECK(weighted_error < 0.1 * plain_error);

  const json written = json::parse(
      require_ended({"pack", input, "-o", packed, "-e", "q4", "--importance", files / "i.dat", "-j"}, 0)
          .out);
  CHECK(written.at("importance") == json{{"file", files / "i.dat"},
                                         {"weighted", 1},
                                         {"without", json::array({"blk.0.attn_k.weight"})}});
}

TEST_CASE("importance of another model, and importance that is none, are refused", "[command]") {
  const temporary_directory files;
  const std::string input = write_matrices(files);
  const auto refused = [&](const std::map<std::string, std::vector<float>>& entries,
                           const words& parts) {
    write_importance(files / "i.dat", entries);
    words all{"i.dat"};
    all.insert(all.end(), parts.begin(), parts.end());
    require_refusal(
        run({"pack", input, "-o", files / "p.apr", "-e", "q4", "--importance", files / "i.dat"}), 3,
        all);
  };
  refused({{"blk.0.attn_q.weight", std::vector<float>(32, 1.0F)}},
          {"'blk.0.attn_q.weight'", "bad_importance", "32 columns", "64 columns"});
  refused({{"blk.7.attn_q.weight", std::vector<float>(matrix_cols, 1.0F)}},
          {"bad_importance", "1 weight of another model, 'blk.7.attn_q.weight' first", "'blk.0.attn_"});
  refused({{"blk.0.attn_q.weight", {1.0F, -1.0F}}}, {"'blk.0.attn_q.weight'", "value 1", "-1"});
  refused({{"blk.0.attn_q.weight", {std::numeric_limits<float>::quiet_NaN()}}}, {"value 0", "nan"});
  refused({{"blk.0.attn_q.weight", {std::numeric_limits<float>::infinity()}}}, {"value 0", "inf"});
  require_refusal(
      run({"pack", input, "-o", files / "p.apr", "-e", "q4", "--importance", files / "absent"}), 4,
      {"absent", "file_not_found"});
  require_refusal(run({"pack", input, "-o", files / "p.apr", "-e", "q4", "--importance", input}), 3,
                  {"unknown_container", "importance matrix"});
}

TEST_CASE("options of how to look for scales that do not go together are refused", "[command]") {
  const temporary_directory files;
  const std::string input = write_matrices(files);
  const auto refused = [&](const words& more, const words& parts) {
    words arguments{"pack", input, "-o", files / "p.apr"};
    if (more.front() != "-e") arguments.insert(arguments.end(), {"-e", "q4"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    require_refusal(run(arguments), 2, parts);
  };
  refused({"--search", "worst"}, {"--search worst", "fast, best or calibrated"});
  refused({"-e", "apr_q4", "--packing-rule", "reference", "--search", "best"},
          {"--packing-rule reference"});
  refused({"--search", "calibrated"}, {"--search calibrated"});
#if defined(NIBBLE_WITH_CALIBRATION)
  refused({"--text", input}, {"--search calibrated"});
  refused({"--own-text", "9"}, {"--search calibrated"});
  refused({"--search", "calibrated", "--text", input, "--own-text", "9"}, {"one of them"});
  refused({"--search", "calibrated", "--text", input, "--tokens", input}, {"one of them"});
  refused({"--search", "calibrated", "--text", input, "--damping", "-1"}, {"--damping -1"});
  refused({"--search", "calibrated", "--text", input, "--order", "up"}, {"--order up"});
#endif
}

#if defined(NIBBLE_DEMO_MODEL)

namespace {

const std::string demo = NIBBLE_DEMO_MODEL;
const std::string demo_oracle = NIBBLE_ENGINE_DATA "/demo_model.json";

/// Text to gather from, which is not that of the evaluation.
std::string write_text(const temporary_directory& files) {
  const std::string path = files / "text.txt";
  std::ofstream text(path);
  for (int seed = 1; seed <= 8; ++seed) {
    text << json::parse(require_ended({"run", demo, "-p", "And it came to pass", "-n", "200",
                                       "--temperature", "1", "--seed", std::to_string(seed), "-j"},
                                      0)
                            .out)
                .at("text")
                .get<std::string>()
         << '\n';
  }
  return path;
}

double divergence_of(const std::string& path) {
  const json found = json::parse(
      require_ended({"perplexity", path, "--tokens", demo_oracle, "--against", demo, "-j"}, 0).out);
  return found.at("against").at("divergence").at("mean").get<double>();
}

}  // namespace

TEST_CASE("importance is gathered for every matrix, and packing by it is nearer to the model",
          "[command]") {
  const temporary_directory files;
  const std::string text = write_text(files);
  const std::string gathered = files / "importance.gguf";
  const json said = json::parse(
      require_ended({"importance", demo, "--text", text, "--chunk", "128", "-o", gathered, "-j"}, 0)
          .out);
  CHECK(said.at("weights") == 3 * 7 + 1);
  CHECK(said.at("tokens").get<std::size_t>() == 128 * said.at("sequences").get<std::size_t>());
  const nibble::importance in(gathered);
  CHECK(in.entries().size() == 22);
  CHECK(in.chunk_tokens() == 128);
  CHECK(in.datasets()[0] == text);
  // Query, key and value see the same inputs.
  CHECK(in.find("blk.1.attn_q.weight")->mean_squares == in.find("blk.1.attn_v.weight")->mean_squares);
  CHECK(in.of("llama", "model.layers.2.mlp.down_proj.weight", {64, 96}).size() == 96);

  require_ended({"pack", demo, "-o", files / "plain.apr", "-e", "q4_0"}, 0);
  require_ended({"pack", demo, "-o", files / "weighted.apr", "-e", "q4_0", "--search", "best",
                 "--importance", gathered},
                0);
  CHECK(divergence_of(files / "weighted.apr") < divergence_of(files / "plain.apr"));
  require_refusal(run({"importance", demo, "--text", text, "-o", files / "i.dat"}), 2, {"i.dat"});
  require_refusal(run({"importance", demo, "-o", gathered}), 2, {"--text, --tokens or --own-text"});
}

TEST_CASE("text of the model's own serves importance and calibration as other text does", "[command]") {
  const temporary_directory files;
  const std::string gathered = files / "i.gguf";
  const json said = json::parse(
      require_ended({"importance", demo, "--own-text", "1000", "--chunk", "100", "-o", gathered, "-j"},
                    0)
          .out);
  CHECK(said.at("tokens") == 1000);
  const nibble::importance in(gathered);
  CHECK(in.chunk_count() == said.at("sequences").get<std::size_t>());
  CHECK(in.chunk_tokens() <= 100);
  CHECK(in.datasets()[0] == "the model's own text");
  // As what a text says that this model wrote, token by token.
  const std::string by_text = files / "t.gguf";
  require_ended({"importance", demo, "--text", write_text(files), "-o", by_text}, 0);
  require_ended({"importance", demo, "--own-text", "3000", "-o", gathered}, 0);
  const nibble::importance expected(by_text);
  const nibble::importance longer(gathered);
  for (const nibble::weight_importance& found : longer.entries()) {
    CAPTURE(found.name);
    const auto& squares = expected.find(found.name)->mean_squares;
    REQUIRE(found.mean_squares.size() == squares.size());
    double difference = 0.0;
    double sum = 0.0;
    for (std::size_t i = 0; i < squares.size(); ++i) {
      difference += std::fabs(static_cast<double>(found.mean_squares[i] - squares[i]));
      sum += static_cast<double>(squares[i]);
    }
    CHECK(difference <= 0.25 * sum);  // tokens at random are off by 0.307 and more
  }
  for (const char* const wrong : {"0", "-1", "x", "1048577"}) {
    require_refusal(run({"importance", demo, "--own-text", wrong, "-o", gathered}), 2,
                    {"--own-text " + std::string(wrong)});
  }
  require_refusal(run({"importance", demo, "--own-text", "9", "--chunk", "1", "-o", gathered}), 2,
                  {"--chunk 1", "at least 2 tokens"});
#if defined(NIBBLE_WITH_CALIBRATION)
  const json packed = json::parse(require_ended({"pack", demo, "-o", files / "c.apr", "-e", "q4_0",
                                                 "--search", "calibrated", "--own-text", "1000", "-j"},
                                                0)
                                      .out);
  CHECK(packed.at("calibration").at("calibrated") == 22);
  CHECK(packed.at("calibration").at("tokens") == 1000);
  require_ended({"pack", demo, "-o", files / "plain.apr", "-e", "q4_0"}, 0);
  CHECK(divergence_of(files / "c.apr") < 0.85 * divergence_of(files / "plain.apr"));
#endif
}

#if defined(NIBBLE_WITH_CALIBRATION)
TEST_CASE("what a text calibrates is nearer to the model, in as many bytes, under either names",
          "[command]") {
  const temporary_directory files;
  const std::string text = write_text(files);
  require_ended({"pack", demo, "-o", files / "plain.apr", "-e", "q4_0"}, 0);
  const json said = json::parse(require_ended({"pack", demo, "-o", files / "c.apr", "-e", "q4_0",
                                               "--search", "calibrated", "--text", text, "-j"},
                                              0)
                                    .out);
  // The embedding among them, which is the head.
  CHECK(said.at("calibration").at("calibrated") == 22);
  CHECK(said.at("calibration").at("without") == json::array());
  CHECK(divergence_of(files / "c.apr") < 0.85 * divergence_of(files / "plain.apr"));

  // In GGUF rows of q and k have another order; the values are the same.
  require_ended(
      {"pack", demo, "-o", files / "c.gguf", "-e", "q4_0", "--search", "calibrated", "--text", text},
      0);
  CHECK(std::fabs(divergence_of(files / "c.gguf") - divergence_of(files / "c.apr")) < 1e-5);
  require_ended({"pack", demo, "-o", files / "one.apr", "-e", "q4_0", "--search", "calibrated",
                 "--text", text, "--threads", "1"},
                0);
  CHECK(require_ended({"hash", files / "one.apr"}, 0).out.substr(0, 64) ==
        require_ended({"hash", files / "c.apr"}, 0).out.substr(0, 64));
  require_contains(nibble_test::told({"pack", demo, "-o", files / "f.apr", "-e", "apr_q8", "--tensor",
                                      "*down_proj*=q4", "--search", "calibrated", "--text", text}),
                   {"calibrated: 3 tensors with ", "not calibrated: 19 tensors ('"});
}
#endif
#endif
