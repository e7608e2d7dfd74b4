#include "generate.hpp"

#include <algorithm>
#include <chrono>

#include <nibble/core/error.hpp>

namespace nibble_engine {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

generation generate(model& by, std::span<const std::uint32_t> prompt, std::size_t count,
                    const sampling_options& sampling, const std::function<bool(std::uint32_t)>& show) {
  if (prompt.empty()) {
    throw nibble::error(nibble::error_code::out_of_range,
                        {.field = "prompt", .found = "no token", .expected = "at least one"});
  }
  transformer& decoder = by.decoder();
  const std::size_t context = by.config().context;
  const bool has_room = context - std::min(context, prompt.size()) > count;
  key_value_cache cache = decoder.make_cache(has_room ? prompt.size() + count : context);
  sampler choice(sampling);
  std::vector<float> logits(decoder.vocabulary());
  generation done;

  auto start = std::chrono::steady_clock::now();
  decoder.run(prompt, cache, logits);
  while (done.tokens.size() < count) {
    const std::uint32_t token = choice.choose(logits);
    if (done.prompt_seconds == 0.0) {
      done.prompt_seconds = seconds_since(start);
      start = std::chrono::steady_clock::now();
    }
    if (by.ends_text(token)) break;
    done.tokens.push_back(token);
    if (show && !show(token)) break;
    if (done.tokens.size() == count || cache.length() == cache.capacity()) break;
    decoder.run(std::span(&token, 1), cache, logits);
  }
  done.token_seconds = seconds_since(start);
  return done;
}

}  // namespace nibble_engine
