#include "own_text.hpp"

#include <algorithm>
#include <random>

#include "generate.hpp"

namespace nibble_engine {

std::vector<std::vector<std::uint32_t>> say_sequences(model& by, std::size_t tokens,
                                                      std::size_t sequence_tokens) {
  const std::size_t context = by.config().context;
  const std::size_t most = sequence_tokens == 0 ? context : std::min(sequence_tokens, context);
  const auto begin = by.opening_token();
  std::mt19937_64 random;
  std::vector<std::vector<std::uint32_t>> sequences;
  for (std::size_t said = 0; said < tokens; said += sequences.back().size()) {
    const std::uint64_t seed = random();
    const auto first = begin.value_or(static_cast<std::uint32_t>(seed % by.decoder().vocabulary()));
    std::vector<std::uint32_t>& sequence = sequences.emplace_back(1, first);
    const std::size_t more = std::min(most, tokens - said) - 1;
    if (more == 0) continue;
    const generation next = generate(by, sequence, more, {.temperature = 1.0, .seed = seed});
    sequence.insert(sequence.end(), next.tokens.begin(), next.tokens.end());
  }
  return sequences;
}

}  // namespace nibble_engine
