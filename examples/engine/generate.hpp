#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "key_value_cache.hpp"
#include "model.hpp"
#include "sampler.hpp"

namespace nibble_engine {

/// What a run of a model took.
struct generation {
  std::vector<std::uint32_t> tokens{};  ///< those that were chosen, without the prompt's
  double prompt_seconds = 0.0;          ///< until the first token was chosen
  double token_seconds = 0.0;           ///< for the others
};

/// Runs the prompt in one pass, then a token at a time: until `count` tokens are chosen, the model ends
/// the text (the last token is not the end's), or its context is full. `show` is called with each token
/// as it comes, and stops the run by returning false.
///
/// An empty prompt is an error of the caller: out_of_range.
[[nodiscard]] generation generate(model& by, std::span<const std::uint32_t> prompt, std::size_t count,
                                  const sampling_options& sampling,
                                  const std::function<bool(std::uint32_t)>& show = {});

}  // namespace nibble_engine
