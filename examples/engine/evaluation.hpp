#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "model.hpp"

namespace nibble_engine {

/// How well a model foresees sequences of tokens: each token but a sequence's first is scored, given
/// those before it.
struct score {
  std::size_t scored_tokens = 0;
  double mean_negative_log_likelihood = 0.0;  ///< in nats
  double perplexity = 0.0;                    ///< e to that power
};

/// How far a model's distributions are from another's, over the same scored tokens.
struct divergence {
  double mean = 0.0;  ///< Kullback-Leibler divergence from the other's distribution, in nats
  double percentile_99 = 0.0;
  double max = 0.0;
  double first_choice_agreement = 0.0;  ///< share of tokens where both have the same likeliest one
};

/// A model's score, and beside another one both scores and the divergence.
struct comparison {
  score of_model{};
  score of_other{};
  nibble_engine::divergence divergence{};
};

/// A sequence starts from nothing. Throws nibble::error: out_of_range (a sequence is longer than the
/// context, or a token beyond the vocabulary; fewer than two tokens in all).
[[nodiscard]] score evaluate(model& by, std::span<const std::vector<std::uint32_t>> sequences);

/// Evaluates both; the divergence is sum over tokens of p * ln(p / q), p the other's probability and q
/// the model's. Throws as evaluate() does, and where the vocabularies differ.
[[nodiscard]] comparison compare(model& by, model& other,
                                 std::span<const std::vector<std::uint32_t>> sequences);

/// Sequences from a JSON document: a list of lists of ids, or an object that has one as "sequences", or
/// has either under the name `part`. Throws nibble::error (bad_metadata), naming `file`.
[[nodiscard]] std::vector<std::vector<std::uint32_t>> read_sequences(const nlohmann::json& document,
                                                                     std::string_view file,
                                                                     const char* part = "evaluation");

/// A text as sequences that fit the model's context, each behind the token for the beginning of a text
/// where the model wants one.
[[nodiscard]] std::vector<std::vector<std::uint32_t>> sequences_of_text(model& by,
                                                                        std::string_view text);

}  // namespace nibble_engine
