#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/text.hpp>

#include <examples/engine/evaluation.hpp>

#include "command.hpp"
#include "running_model.hpp"
#include "scored_sequences.hpp"
#include "standard_streams.hpp"

namespace nibble_command {
namespace {

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
  const token_sequences sequences =
      scored_sequences(running.model, options.tokens_file, options.text_file);
  nlohmann::json document{{"model", options.input}, {"sequences", sequences.size()}};
  std::string text;
  if (options.against) {
    running_model other = open_model(*options.against, options.engine);
    const nibble_engine::comparison found =
        nibble_engine::compare(running.model, other.model, sequences);
    const nibble_engine::divergence& far = found.divergence;
    document.update(score_fields(found.of_model));
    document["against"] = score_fields(found.of_other);
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
    document.update(score_fields(score));
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
