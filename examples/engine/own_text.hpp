#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model.hpp"

namespace nibble_engine {

/// What a model says by itself, for statistics of the inputs of its weights where no text is at hand (after
/// Williams et al. 2024, arXiv:2410.17170): sequences that have `tokens` tokens together. Each starts with
/// the model's opening_token(), or with a token taken at random where it has none, and goes on as the model's
/// probabilities say (temperature 1), until the model ends its text or there are `sequence_tokens` of them,
/// at most its context; 0: its context; with 1 the model says nothing. The same model and products give the
/// same, run after run; with another instruction set, see sampler.
///
/// Throws what transformer::run() throws.
[[nodiscard]] std::vector<std::vector<std::uint32_t>> say_sequences(model& by, std::size_t tokens,
                                                                    std::size_t sequence_tokens = 0);

}  // namespace nibble_engine
