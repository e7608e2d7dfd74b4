#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/compute/dequantize.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/verify.hpp>

#include <examples/engine/evaluation.hpp>
#include <examples/engine/generate.hpp>
#include <examples/engine/key_value_cache.hpp>
#include <examples/engine/sampler.hpp>

#include "command.hpp"
#include "running_model.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "text_file.hpp"

namespace nibble_command {
namespace {

using token_list = std::vector<std::uint32_t>;

/// What an independent engine gave for one prompt.
struct oracle_run {
  std::string prompt{};
  token_list prompt_tokens{};
  token_list tokens{};
  std::string text{};
};

/// One check of the suite.
struct check {
  std::string name;
  std::string model;
  std::string figure;
  std::string bound;
  bool is_met;
};

/// One of the three models, and what it is called in the table.
struct candidate {
  std::string label;
  std::string path;
  running_model running;
};

[[noreturn]] void refuse_oracle(const std::string& file, std::string_view field, std::string found) {
  throw nibble::error(nibble::error_code::bad_metadata,
                      {.file = file,
                       .field = std::string(field),
                       .found = std::move(found),
                       .expected = "what an independent engine gave"});
}

std::vector<oracle_run> read_runs(const nlohmann::json& oracle, const std::string& file) {
  std::vector<oracle_run> runs;
  try {
    for (const nlohmann::json& each : oracle.at("greedy")) {
      runs.push_back({each.at("prompt").get<std::string>(), each.at("prompt_tokens").get<token_list>(),
                      each.at("tokens").get<token_list>(), each.at("text").get<std::string>()});
    }
  } catch (const nlohmann::json::exception&) {
    refuse_oracle(file, "greedy", "no list of prompt, prompt_tokens, tokens and text");
  }
  if (runs.empty()) refuse_oracle(file, "greedy", "an empty list");
  return runs;
}

nibble_engine::generation run_greedily(nibble_engine::model& model, const oracle_run& from) {
  return nibble_engine::generate(model, from.prompt_tokens, from.tokens.size(), {});
}

/// Positions of the oracle's continuation at which the model would go on with another token, given the
/// oracle's own tokens before it.
std::size_t count_mismatches(nibble_engine::model& model, const oracle_run& from) {
  token_list tokens = from.prompt_tokens;
  tokens.insert(tokens.end(), from.tokens.begin(), from.tokens.end() - 1);
  nibble_engine::key_value_cache cache(model.config(), tokens.size());
  const std::size_t vocabulary = model.decoder().vocabulary();
  std::vector<float> logits(from.tokens.size() * vocabulary);
  model.decoder().run(tokens, cache, logits);
  std::size_t mismatches = 0;
  for (std::size_t i = 0; i < from.tokens.size(); ++i) {
    const auto choice = nibble_engine::likeliest(std::span(logits).subspan(i * vocabulary, vocabulary));
    if (choice != from.tokens[i]) ++mismatches;
  }
  return mismatches;
}

/// The most mismatches of any prompt.
std::size_t worst_mismatches(nibble_engine::model& model, const std::vector<oracle_run>& runs) {
  std::size_t worst = 0;
  for (const oracle_run& each : runs) worst = std::max(worst, count_mismatches(model, each));
  return worst;
}

/// Names of tensors whose values are all one, zero or another.
std::vector<std::string_view> constant_tensors(const nibble::reader& in) {
  constexpr std::uint64_t piece_elements = 1U << 16U;
  std::vector<std::string_view> names;
  std::vector<float> values;
  for (const nibble::tensor_view& tensor : in) {
    if (tensor.elements() < 2) continue;
    const std::uint64_t most_rows = std::max<std::uint64_t>(1, piece_elements / tensor.cols());
    std::optional<float> first;
    bool is_constant = true;
    for (std::uint64_t row = 0; row < tensor.rows() && is_constant; row += most_rows) {
      const std::uint64_t rows = std::min(most_rows, tensor.rows() - row);
      values.resize(static_cast<std::size_t>(rows * tensor.cols()));
      nibble::dequantize_rows(tensor, row, rows, std::span(values));
      if (!first) first = values.front();
      is_constant = std::all_of(values.begin(), values.end(), [&](float v) { return v == *first; });
    }
    if (is_constant) names.push_back(tensor.name());
  }
  return names;
}

/// A folder under the system's for temporary files that goes when this does.
class temporary_folder {
 public:
  temporary_folder() {
    std::random_device random;
    path_ = std::filesystem::temp_directory_path() / fmt::format("nibble-parity-{:08x}", random());
    std::filesystem::create_directories(path_);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// The suite: each function adds its checks.
class parity_suite {
 public:
  explicit parity_suite(const parity_options& options)
      : options_(options),
        oracle_(read_json_object(options.oracle)),
        runs_(read_runs(oracle_, options.oracle)),
        f32_{"f32", options.f32, open_model(options.f32, options.engine)},
        int8_{"int8", options.int8, open_model(options.int8, options.engine)},
        int4_{"int4", options.int4, open_model(options.int4, options.engine)} {}

  std::vector<check> run() {
    check_text();
    check_tokens();
    check_round_trips();
    check_perplexity();
    check_files();
    return std::move(checks_);
  }

 private:
  static constexpr std::size_t most_mismatches_int8 = 3;
  static constexpr std::size_t most_mismatches_int4 = 5;
  static constexpr double most_perplexity_apart = 0.5;

  void add(std::string name, const candidate& of, std::string figure, std::string bound, bool is_met) {
    checks_.push_back({std::move(name), of.label, std::move(figure), std::move(bound), is_met});
  }

  void check_text() {
    for (candidate* const each : {&f32_, &int8_}) {
      nibble_engine::model& model = each->running.model;
      std::size_t equal = 0;
      for (const oracle_run& from : runs_) {
        const bool has_tokens = model.prompt_tokens(from.prompt) == from.prompt_tokens;
        const std::string text = model.continuation(run_greedily(model, from).tokens);
        if (has_tokens && text == from.text) ++equal;
      }
      add("canary: text as the oracle's", *each, fmt::format("{} of {}", equal, runs_.size()),
          fmt::format("{} of {}", runs_.size(), runs_.size()), equal == runs_.size());
    }
  }

  void check_tokens() {
    const std::size_t count = runs_.front().tokens.size();
    const std::size_t int8 = worst_mismatches(int8_.running.model, runs_);
    const std::size_t int4 = worst_mismatches(int4_.running.model, runs_);
    const auto add_tokens = [&](const candidate& of, std::size_t found, std::size_t most) {
      add("token: other choices", of, fmt::format("{} of {}", found, count), fmt::format("<= {}", most),
          found <= most);
    };
    add_tokens(int8_, int8, most_mismatches_int8);
    add_tokens(int4_, int4, most_mismatches_int4);
    add("drift: other choices", int8_, fmt::format("{} beside {}", int8, int4), "<= int4 + 1",
        int8 <= int4 + 1);
  }

  void check_round_trips() {
    const temporary_folder folder;
    for (candidate* const each : {&int8_, &int4_}) {
      const std::string gguf = folder.file(each->label + ".gguf");
      const std::string apr = folder.file(each->label + ".apr");
      convert({.input = each->path,
               .output = gguf,
               .names = output_names::keep,
               .requantize = true,
               .is_silent = true});
      convert({.input = gguf, .output = apr, .is_silent = true});
      running_model back = open_model(apr, options_.engine);
      std::size_t equal = 0;
      for (const oracle_run& from : runs_) {
        if (run_greedily(back.model, from).tokens == run_greedily(each->running.model, from).tokens) {
          ++equal;
        }
      }
      add("round trip: .apr, GGUF, .apr, same tokens", *each,
          fmt::format("{} of {}", equal, runs_.size()),
          fmt::format("{} of {}", runs_.size(), runs_.size()), equal == runs_.size());
    }
  }

  void check_perplexity() {
    if (!oracle_.contains("evaluation")) return;
    const auto sequences = nibble_engine::read_sequences(oracle_, options_.oracle);
    const double f32 = nibble_engine::evaluate(f32_.running.model, sequences).perplexity;
    const double int8 = nibble_engine::evaluate(int8_.running.model, sequences).perplexity;
    const double int4 = nibble_engine::evaluate(int4_.running.model, sequences).perplexity;
    const auto add_pair = [&](const candidate& of, double found, double other, std::string_view name) {
      add(fmt::format("perplexity beside {}'s", name), of,
          fmt::format("{:.4f} beside {:.4f}", found, other),
          fmt::format("within {}", most_perplexity_apart),
          std::abs(found - other) <= most_perplexity_apart);
    };
    add_pair(int8_, int8, f32, "f32");
    add_pair(int4_, int4, f32, "f32");
    add_pair(int4_, int4, int8, "int8");
  }

  void check_files() {
    for (candidate* const each : {&f32_, &int8_, &int4_}) {
      nibble_engine::model& model = each->running.model;
      const nibble::reader& file = model.file();
      const auto undecodable = std::count_if(
          file.begin(), file.end(), [](const auto& tensor) { return !nibble::is_decodable(tensor); });
      add("inspect: tensors that cannot be decoded", *each, std::to_string(undecodable), "0",
          undecodable == 0);
      const auto findings = nibble::examine(file, {.executor = each->running.threads.get()});
      const auto wrong = std::count_if(findings.begin(), findings.end(), [](const auto& found) {
        return found.severity == nibble::finding::kind::problem;
      });
      add("validate: what verify finds wrong", *each, std::to_string(wrong), "0", wrong == 0);
      add("tensors and layers", *each, fmt::format("{} and {}", file.size(), model.config().layers),
          fmt::format("{} and {}", f32_.running.model.file().size(),
                      f32_.running.model.config().layers),
          file.size() == f32_.running.model.file().size() &&
              model.config().layers == f32_.running.model.config().layers);
      const auto constant = constant_tensors(file);
      add("density: tensors of one value", *each,
          constant.empty()
              ? "0"
              : fmt::format("{}: '{}'", constant.size(), nibble::escape_text(constant.front())),
          "0", constant.empty());
      const nibble_engine::generation timed = run_greedily(model, runs_.front());
      const double rate = timed.token_seconds > 0.0 && timed.tokens.size() > 1
                              ? static_cast<double>(timed.tokens.size() - 1) / timed.token_seconds
                              : 0.0;
      add("speed: tokens a second", *each, fmt::format("{:.0f}", rate), "> 0", rate > 0.0);
    }
  }

  const parity_options& options_;
  nlohmann::json oracle_;
  std::vector<oracle_run> runs_;
  candidate f32_;
  candidate int8_;
  candidate int4_;
  std::vector<check> checks_;
};

}  // namespace

exit_code parity(const parity_options& options) {
  const std::vector<check> checks = parity_suite(options).run();
  const auto failed =
      std::count_if(checks.begin(), checks.end(), [](const check& each) { return !each.is_met; });
  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const check& each : checks) {
      list.push_back({{"name", each.name},
                      {"model", each.model},
                      {"figure", each.figure},
                      {"bound", each.bound},
                      {"ok", each.is_met}});
    }
    print_json(1, {{"models", {{"f32", options.f32}, {"int8", options.int8}, {"int4", options.int4}}},
                   {"ok", failed == 0},
                   {"checks", std::move(list)}});
  } else {
    using side = table::side;
    table lines({{"check", side::left},
                 {"model", side::left},
                 {"figure", side::right},
                 {"bound", side::right},
                 {"", side::left}});
    for (const check& each : checks) {
      lines.add_row(
          {each.name, each.model, each.figure, each.bound, each.is_met ? "passed" : "FAILED"});
    }
    print_out(lines.to_string() + fmt::format("{} passed, {} failed\n",
                                              checks.size() - static_cast<std::size_t>(failed),
                                              failed));
  }
  return failed == 0 ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
