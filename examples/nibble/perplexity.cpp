#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

#include <examples/engine/evaluation.hpp>

#include "command.hpp"
#include "running_model.hpp"
#include "standard_streams.hpp"
#include "text_file.hpp"

namespace nibble_command {
namespace {

using token_sequences = std::vector<std::vector<std::uint32_t>>;

token_sequences sequences_of(const perplexity_options& options, nibble_engine::model& model) {
  if (options.text_file) {
    return nibble_engine::sequences_of_text(model, read_text(*options.text_file));
  }
  const std::string& file = *options.tokens_file;
  const nlohmann::json document = nlohmann::json::parse(read_text(file), nullptr, false);
  if (document.is_discarded()) {
    throw nibble::error(nibble::error_code::bad_metadata,
                        {.file = file, .found = "no JSON", .expected = "lists of token ids"});
  }
  return nibble_engine::read_sequences(document, file);
}

nlohmann::json to_json(const nibble_engine::score& score) {
  return {{"scored_tokens", score.scored_tokens},
          {"mean_negative_log_likelihood", score.mean_negative_log_likelihood},
          {"perplexity", score.perplexity}};
}

std::string line_of(const std::string& path, const nibble_engine::score& score) {
  return fmt::format("{}: perplexity {:.6f} over {} tokens ({:.6f} nats a token)\n",
                     nibble::escape_text(path), score.perplexity, score.scored_tokens,
                     score.mean_negative_log_likelihood);
}

}  // namespace

exit_code perplexity(const perplexity_options& options) {
  if (options.text_file.has_value() == options.tokens_file.has_value()) {
    throw usage_error("perplexity takes --tokens or --text, one of them");
  }
  running_model running = open_model(options.input, options.engine);
  const token_sequences sequences = sequences_of(options, running.model);
  nlohmann::json document{{"model", options.input}, {"sequences", sequences.size()}};
  std::string text;
  if (options.against) {
    running_model other = open_model(*options.against, options.engine);
    const nibble_engine::comparison found =
        nibble_engine::compare(running.model, other.model, sequences);
    const nibble_engine::divergence& far = found.divergence;
    document.update(to_json(found.of_model));
    document["against"] = to_json(found.of_other);
    document["against"].update(
        {{"model", *options.against},
         {"divergence", {{"mean", far.mean}, {"percentile_99", far.percentile_99}, {"max", far.max}}},
         {"first_choice_agreement", far.first_choice_agreement}});
    text = line_of(options.input, found.of_model) + line_of(*options.against, found.of_other) +
           fmt::format(
               "Kullback-Leibler divergence in nats: mean {:.6f}, 99th percentile {:.6f}, "
               "maximum {:.6f}; the first choice agrees in {:.2f} %\n",
               far.mean, far.percentile_99, far.max, 100.0 * far.first_choice_agreement);
  } else {
    const nibble_engine::score score = nibble_engine::evaluate(running.model, sequences);
    document.update(to_json(score));
    text = line_of(options.input, score);
  }
  if (options.json) {
    print_json(1, document);
  } else {
    print_out(text);
  }
  return exit_code::fine;
}

}  // namespace nibble_command
