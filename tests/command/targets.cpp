/// Encodings that are chosen tensor by tensor for a size.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

namespace {

using nibble_test::metadata_of;
using nibble_test::require_contains;
using nibble_test::require_ended;
using nibble_test::require_refusal;
using nibble_test::run;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

/// Matrices of unlike sizes and rows, a vector, and whole numbers.
std::string write_unlike_matrices(const temporary_directory& files) {
  std::mt19937 generator(21);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<nibble_test::stored_tensor> tensors;
  const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& shape, int heavy) {
    std::size_t count = 1;
    for (const std::uint64_t each : shape) count *= static_cast<std::size_t>(each);
    std::vector<float> values(count);
    for (float& value : values) {
      value = normal(generator);
      if (heavy != 0 && generator() % 64U == 0U) value *= static_cast<float>(heavy);
    }
    tensors.push_back({name, "F32", shape, nibble_test::bytes_of(values)});
  };
  add("a.weight", {48, 256}, 0);
  add("b.weight", {40, 256}, 12);
  add("c.weight", {64, 172}, 0);
  add("d.weight", {24, 96}, 30);
  for (int i = 0; i < 6; ++i) add("small." + std::to_string(i) + ".weight", {8, 64}, i);
  add("norm.weight", {256}, 0);
  tensors.push_back({"ids", "I32", {2, 64}, nibble_test::bytes_of(std::vector<std::int32_t>(128, 7))});
  const std::string path = files / "m.safetensors";
  nibble_test::write_safetensors(path, tensors);
  return path;
}

json packed(words arguments) {
  arguments.insert(arguments.begin(), "pack");
  arguments.emplace_back("-j");
  return json::parse(require_ended(arguments, 0).out);
}

/// The cost of a file that is packed in one encoding, from what diff says of each matrix: without a text a
/// relative error of 1 counts as the square root of the elements.
double cost_of_single(const std::string& before, const std::string& after) {
  double cost = 0.0;
  const json compared = json::parse(require_ended({"diff", before, after, "-j"}, 0).out);
  for (const json& each : compared.at("tensors")) {
    if (each.at("shape").size() < 2 || each.at("name") == "ids") continue;
    const double error = each.at("relative_rmse").get<double>();
    std::uint64_t elements = 1;
    for (const json& dimension : each.at("shape")) elements *= dimension.get<std::uint64_t>();
    cost += std::sqrt(static_cast<double>(elements)) * error * error;
  }
  return cost;
}

}  // namespace

TEST_CASE("encodings chosen for bits a weight keep to them, and lose less than any single one",
          "[command]") {
  const temporary_directory files;
  const std::string input = write_unlike_matrices(files);
  const auto cost_within = [&](const std::string& bits, const std::string& output) {
    const json said = packed({input, "-o", output, "--target-bits", bits});
    CHECK(said.at("bits_per_weight").get<double>() <= std::stod(bits));
    const json& target = said.at("target");
    double sum = 0.0;
    std::uint64_t bytes = 0;
    std::map<std::string, std::string> chosen;
    for (const json& each : target.at("tensors")) {
      sum += each.at("cost").get<double>();
      bytes += each.at("bytes").get<std::uint64_t>();
      chosen[each.at("name")] = each.at("encoding");
    }
    CHECK(chosen.size() == 10);
    CHECK(target.at("measured_tokens") == 0);
    CHECK(bytes == target.at("tensor_bytes"));
    CHECK(std::fabs(sum - target.at("cost").get<double>()) <= 1e-9 * sum);
    const json stored = json::parse(require_ended({"inspect", output, "-j"}, 0).out);
    for (const json& each : stored.at("tensors")) {
      const auto found = chosen.find(each.at("name"));
      if (found != chosen.end()) CHECK(each.at("encoding") == found->second);
    }
    // What it says that it costs is what diff finds.
    CHECK(std::fabs(cost_of_single(input, output) - sum) <= 1e-4 * sum);
    return sum;
  };
  double last = INFINITY;
  for (const char* const bits : {"4.2", "4.8", "5.5", "7", "9.5", "17"}) {
    const double cost = cost_within(bits, files / "p.apr");
    CHECK(cost < last);
    last = cost;
    // In GGUF rows of 172 take 16 bits.
    if (std::stod(bits) >= 7.0) (void)cost_within(bits, files / "p.gguf");
  }
  for (const char* const encoding : {"apr_q4", "q4", "q5_0", "q5_1", "apr_q8", "q8", "f16"}) {
    CAPTURE(encoding);
    const json single = packed({input, "-o", files / "s.apr", "-e", encoding});
    const double bits = single.at("bits_per_weight").get<double>();
    CHECK(cost_within(std::to_string(bits + 1e-6), files / "p.apr") <=
          cost_of_single(input, files / "s.apr") * (1 + 1e-6));
  }
}

TEST_CASE("a file of a target size is at most one per cent smaller, header and all", "[command]") {
  const temporary_directory files;
  const std::string input = write_unlike_matrices(files);
  for (const char* const output : {"p.apr", "p.gguf"}) {
    for (const std::uint64_t size : {30000U, 41234U, 60000U, 90000U}) {
      CAPTURE(output, size);
      const json said = packed({input, "-o", files / output, "--target-size", std::to_string(size)});
      const std::uint64_t made = std::filesystem::file_size(files / output);
      CHECK(made == said.at("output_bytes"));
      CHECK(made <= size);
      CHECK(static_cast<double>(made) >= 0.99 * static_cast<double>(size));
    }
  }
}

TEST_CASE("a plan is printed, recorded, and repeated from its record to the byte", "[command]") {
  const temporary_directory files;
  const std::string input = write_unlike_matrices(files);
  for (const std::string suffix : {".apr", ".gguf"}) {
    const std::string first = files / ("first" + suffix);
    const std::string again = files / ("again" + suffix);
    const std::string told = nibble_test::told(
        {"pack", input, "-o", first, "--target-bits", "7", "--tensor", "d.weight=q8_0"});
    require_contains(told, {"relative RMSE", "c.weight", "planned: 9 tensors in "});
    const json dry =
        packed({input, "-o", first, "--target-bits", "7", "--tensor", "d.weight=q8_0", "--dry-run"});
    const json record = metadata_of(first).at("nibble.plan.tensors");
    CHECK(record.size() == 10);
    CHECK(metadata_of(first).at("nibble.plan.target") == "7 bits a weight");
    words by_hand{"pack", input, "-o", again};
    for (const json& each : record) {
      const auto line = each.get<std::string>();
      by_hand.insert(by_hand.end(), {"--tensor", line});
      for (const json& tensor : dry.at("tensors")) {
        if (line.starts_with(tensor.at("name").get<std::string>() + "=")) {
          CHECK(line.ends_with("=" + tensor.at("to").get<std::string>()));
        }
      }
    }
    // All tensors, though the file lacks the record then.
    require_ended(by_hand, 0);
    const auto hash_of = [](const std::string& path) {
      return require_ended({"hash", path, "--tensors-only"}, 0).out;
    };
    CHECK(hash_of(again) == hash_of(first));
    require_ended({"pack", input, "-o", again, "--plan", first}, 0);
    CHECK(nibble_test::read_file(again) == nibble_test::read_file(first));
    // A file that is packed otherwise has no plan.
    require_ended({"pack", first, "-o", again, "-e", "q8_0", "--requantize"}, 0);
    CHECK_FALSE(metadata_of(again).contains("nibble.plan.tensors"));
  }
}

TEST_CASE("targets that cannot be met or meant are refused", "[command]") {
  const temporary_directory files;
  const std::string input = write_unlike_matrices(files);
  const auto refused = [&](const words& more, const words& parts, const std::string& output = "p.apr") {
    words arguments{"pack", input, "-o", files / output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    require_refusal(run(arguments), 2, parts);
    CHECK_FALSE(std::filesystem::exists(files / output));
  };
  refused({"--target-bits", "4.8", "--target-size", "90MB"},
          {"--target-bits and --target-size exclude"});
  refused({"--target-bits", "4.8", "-e", "q4"}, {"--target-bits and --encoding exclude each other"});
  refused({"--target-size", "90kB", "--mix", "q4_k_m"}, {"--target-size and --mix exclude each other"});
  refused({"--target-size", "90kB", "--shard-size", "10kB"}, {"--target-size and --shard-size"});
  refused({"--target-size", "90kB", "--keep-shards"}, {"--target-size and --keep-shards"});
  refused({"--target-bits", "4.8", "--packing-rule", "reference"}, {"--packing-rule reference"});
  refused({"--target-bits", "4.8", "--plan", input}, {"--target-bits and --plan exclude each other"});
  refused({"--target-bits", "4.8"}, {"--target-bits", ".apr and .gguf"}, "p.safetensors");
  refused({"--target-bits", "0.1"},
          {"m.safetensors", "--target-bits 0.1: ", " bits a weight is the least"});
  refused({"--target-size", "5000"}, {"--target-size 5,000: ", " bytes is the least"});
  refused({"--target-bits", "-1"}, {"--target-bits -1: a number from 0 on"});
  refused({"--target-size", "90 apples"}, {"--target-size 90 apples"});
  refused({"--plan", input}, {"--plan ", "nibble.plan.tensors"});
  refused({"--plan", input, "--mix", "q4_k_m"}, {"--plan and --mix exclude each other"});
#if defined(NIBBLE_DEMO_MODEL)
  refused({"--measure", input}, {"--measure: goes with --target-bits or --target-size"});
#endif
}

#if defined(NIBBLE_DEMO_MODEL)
TEST_CASE("what a text says of errors makes a plan that is nearer to the model", "[command]") {
  const temporary_directory files;
  const std::string model = NIBBLE_DEMO_MODEL;
  const std::string oracle = NIBBLE_ENGINE_DATA "/demo_model.json";
  std::ifstream file(oracle);
  const json sequences = json::parse(file).at("evaluation");
  const std::string tokens = files / "tokens.json";
  std::ofstream(tokens) << sequences.dump();

  const json said = packed({model, "-o", files / "m.apr", "--target-bits", "4.8", "--measure", tokens});
  const json& target = said.at("target");
  CHECK(target.at("measured_tokens").get<std::size_t>() > 0);
  CHECK(said.at("bits_per_weight").get<double>() <= 4.8);
  const auto divergence_of = [&](const std::string& path) {
    const json found = json::parse(
        require_ended({"perplexity", path, "--tokens", tokens, "--against", model, "-j"}, 0).out);
    return found.at("against").at("divergence").at("mean").get<double>();
  };
  const double reached = divergence_of(files / "m.apr");
  // Errors of matrices add up to what is expected, nearly.
  CHECK(reached < 2.0 * target.at("cost").get<double>());
  CHECK(reached > 0.5 * target.at("cost").get<double>());
  require_ended({"pack", model, "-o", files / "q.apr", "-e", "apr_q4"}, 0);
  CHECK(reached < divergence_of(files / "q.apr"));
}
#endif
