#include "importance_gathering.hpp"

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/writer.hpp>

#include "key_value_cache.hpp"

namespace nibble_engine {
namespace {

/// Ends the observation of a decoder, whatever happens.
class observation {
 public:
  observation(transformer& decoder, input_observer observer) : decoder_(decoder) {
    decoder_.observe(std::move(observer));
  }
  ~observation() { decoder_.observe({}); }
  observation(const observation&) = delete;
  observation& operator=(const observation&) = delete;

 private:
  transformer& decoder_;
};

void add_squares(std::span<const float> x, square_sums& to) {
  const std::size_t columns = to.of_columns.size();
  for (std::size_t row = 0; row < x.size(); row += columns) {
    for (std::size_t column = 0; column < columns; ++column) {
      const auto value = static_cast<double>(x[row + column]);
      to.of_columns[column] += value * value;
    }
  }
  to.inputs += x.size() / columns;
}

}  // namespace

std::map<std::string, square_sums> gather_importance(
    model& by, std::span<const std::vector<std::uint32_t>> sequences) {
  std::map<std::string, square_sums> gathered;
  transformer& decoder = by.decoder();
  const observation watching(
      decoder, [&](std::span<const weight* const> weights, std::span<const float> x) {
        square_sums& sums = gathered[weights.front()->name];
        sums.of_columns.resize(static_cast<std::size_t>(weights.front()->stored.cols()));
        add_squares(x, sums);
        for (const weight* const other : weights.subspan(1)) gathered[other->name] = sums;
      });
  key_value_cache cache(by.config(), by.config().context);
  std::vector<float> logits;
  for (const std::vector<std::uint32_t>& sequence : sequences) {
    cache.clear();
    // A few positions at a time: their logits are not looked at, and would take a gigabyte.
    constexpr std::size_t most_tokens = 256;
    for (std::size_t first = 0; first < sequence.size(); first += most_tokens) {
      const auto tokens =
          std::span(sequence).subspan(first, std::min(most_tokens, sequence.size() - first));
      logits.resize(tokens.size() * decoder.vocabulary());
      decoder.run(tokens, cache, logits);
    }
  }
  return gathered;
}

void write_importance(const std::string& path, const std::map<std::string, square_sums>& gathered,
                      const importance_source& source) {
  nibble::writer out;
  out.metadata() = {{"general.type", "imatrix"},
                    {"imatrix.datasets", nlohmann::json::array({source.dataset})},
                    {"imatrix.chunk_count", source.chunk_count},
                    {"imatrix.chunk_size", source.chunk_tokens}};
  std::vector<std::vector<float>> values;
  values.reserve(2 * gathered.size());
  for (const auto& [name, sums] : gathered) {
    const auto& squares = values.emplace_back(sums.of_columns.begin(), sums.of_columns.end());
    out.add(nibble::encoding::f32, name + ".in_sum2", {1, squares.size()}, std::span(squares));
    const auto& counts = values.emplace_back(1, static_cast<float>(sums.inputs));
    out.add(nibble::encoding::f32, name + ".counts", {1, 1}, std::span(counts));
  }
  out.write(path, {.container = nibble::container::gguf});
}

std::vector<std::vector<std::uint32_t>> chunks_of_text(model& by, std::string_view text,
                                                       std::size_t chunk_tokens) {
  std::vector<std::uint32_t> tokens = by.text().encode(text);
  const auto begin = by.text().adds_begin() ? by.text().begin_token() : std::nullopt;
  if (begin) tokens.insert(tokens.begin(), *begin);
  const std::size_t context = by.config().context;
  const std::size_t step = chunk_tokens == 0 ? context : std::min(chunk_tokens, context);
  std::vector<std::vector<std::uint32_t>> chunks;
  for (std::size_t first = 0; first + step <= tokens.size(); first += step) {
    const auto from = tokens.begin() + static_cast<std::ptrdiff_t>(first);
    chunks.emplace_back(from, from + static_cast<std::ptrdiff_t>(step));
    if (begin) chunks.back().front() = *begin;
  }
  if (chunks.empty() && !tokens.empty()) chunks.push_back(std::move(tokens));
  return chunks;
}

}  // namespace nibble_engine
