#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model.hpp"

namespace nibble_engine {

/// The sums of the squares of a weight's inputs.
struct square_sums {
  std::vector<double> of_columns{};
  std::uint64_t inputs = 0;  ///< that were added, each a vector
};

/// The squares of what each matrix of a model is multiplied by, added up column by column over
/// sequences, under the weights' names in GGUF. A sequence starts from nothing; the head sees every
/// position. Throws nibble::error: out_of_range (a sequence is longer than the context, or a token beyond
/// the vocabulary).
[[nodiscard]] std::map<std::string, square_sums> gather_importance(
    model& by, std::span<const std::vector<std::uint32_t>> sequences);

/// Where importance comes from, for the file that holds it.
struct importance_source {
  std::string dataset{};           ///< the text's name
  std::uint64_t chunk_count = 0;   ///< sequences
  std::uint64_t chunk_tokens = 0;  ///< of the longest
};

/// Writes what was gathered as llama-imatrix does, in GGUF; what it holds nibble::importance has. Throws
/// what nibble::writer throws.
void write_importance(const std::string& path, const std::map<std::string, square_sums>& gathered,
                      const importance_source& source);

/// A text as sequences of exactly the model's context or `chunk_tokens`, as llama-imatrix cuts it: all
/// tokens one after the other, the first of each piece replaced by the token for the beginning of a text
/// where the model wants one; what is left at the end is left out. Where the text has less than one
/// piece, it is one. 0: the context.
[[nodiscard]] std::vector<std::vector<std::uint32_t>> chunks_of_text(model& by, std::string_view text,
                                                                     std::size_t chunk_tokens = 0);

}  // namespace nibble_engine
