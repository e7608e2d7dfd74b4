#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <examples/engine/generate.hpp>
#include <examples/engine/utf8_stream.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "running_model.hpp"
#include "standard_streams.hpp"
#include "terminal.hpp"
#include "text_run.hpp"

namespace nibble_command {
namespace {

using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point start) {
  return std::chrono::duration<double>(clock::now() - start).count();
}

double rate(std::size_t tokens, double seconds) {
  return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0;
}

}  // namespace

exit_code run(const run_options& options) {
  if (const auto code = run_on_ranks(options)) return *code;
  const clock::time_point start = clock::now();
  running_model running = open_model(options.input, options.engine);
  static_cast<void>(
      running.model.text());  // without a tokenizer it is refused before anything is shown
  return go_on(options, running.model, seconds_since(start));
}

exit_code go_on(const run_options& options, nibble_engine::model& model, double load_seconds,
                const std::function<nlohmann::json()>& ended) {
  const std::vector<std::uint32_t> prompt = model.prompt_tokens(options.prompt);
  nibble_engine::utf8_stream whole_characters;
  std::string text;
  const auto show = [&](std::string_view bytes) {
    text += bytes;
    if (!options.json) print_out(bytes);
  };
  if (!options.json) print_out(options.prompt);
  const interruption ends_the_text;
  const nibble_engine::generation done = nibble_engine::generate(
      model, prompt, options.tokens,
      {.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed},
      [&](std::uint32_t token) {
        show(whole_characters.push(model.continuation(std::span(&token, 1))));
        return interruption::received() == 0;
      });
  show(whole_characters.finish());
  const nlohmann::json more = ended ? ended() : nlohmann::json::object();

  const std::size_t context = model.config().context;
  const bool is_context_full = prompt.size() + done.tokens.size() >= context;
  const std::string_view stopped_by = interruption::received() != 0          ? "signal"
                                      : done.tokens.size() >= options.tokens ? "tokens"
                                      : is_context_full                      ? "context"
                                                                             : "end_of_text";
  // The first token comes of the prompt's pass.
  const std::size_t later_tokens = done.tokens.empty() ? 0 : done.tokens.size() - 1;
  const double prompt_rate = rate(prompt.size(), done.prompt_seconds);
  const double token_rate = rate(later_tokens, done.token_seconds);
  if (options.json) {
    nlohmann::json document = {{"model", options.input},
                               {"prompt_tokens", prompt},
                               {"tokens", done.tokens},
                               {"text", text},
                               {"stopped_by", stopped_by},
                               {"load_seconds", load_seconds},
                               {"prompt_tokens_per_second", prompt_rate},
                               {"tokens_per_second", token_rate}};
    document.update(more);
    print_json(1, document);
  } else {
    print_out("\n");
    if (stopped_by == "context") {
      print_error(fmt::format("the model's context of {} tokens is full", context));
    }
    if (terminal::is_there()) {
      fmt::print(stderr, "{} tokens of prompt at {:.1f} a second, {} at {:.1f}; loaded in {:.2f} s\n",
                 prompt.size(), prompt_rate, done.tokens.size(), token_rate, load_seconds);
    }
  }
  return interruption::received() != 0 ? exit_code::interrupted : exit_code::fine;
}

}  // namespace nibble_command
