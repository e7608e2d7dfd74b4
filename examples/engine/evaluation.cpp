#include "evaluation.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <nibble/core/error.hpp>

#include "key_value_cache.hpp"
#include "sampler.hpp"

namespace nibble_engine {
namespace {

using sequence_list = std::span<const std::vector<std::uint32_t>>;

/// ln of the sum of e^logit, from the largest on so that nothing overflows.
double log_sum_exp(std::span<const float> logits) {
  const auto most = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum);
}

/// Goes through sequences a few positions at a time: logits of all positions would take a gigabyte.
class scorer {
 public:
  explicit scorer(model& by) : model_(by), cache_(by.config(), by.config().context) {}

  void begin() { cache_.clear(); }
  /// Logits of these tokens' positions, [tokens, vocabulary].
  std::span<const float> run(std::span<const std::uint32_t> tokens) {
    logits_.resize(tokens.size() * vocabulary());
    model_.decoder().run(tokens, cache_, logits_);
    return logits_;
  }
  /// Adds what position `row` of the last run said of the token behind it.
  void add(std::size_t row, std::uint32_t next) {
    const std::span<const float> logits = row_of(row);
    sum_ += log_sum_exp(logits) - static_cast<double>(logits[next]);
    ++scored_;
  }
  [[nodiscard]] std::span<const float> row_of(std::size_t row) const {
    return std::span(logits_).subspan(row * vocabulary(), vocabulary());
  }
  [[nodiscard]] std::size_t vocabulary() const { return model_.decoder().vocabulary(); }
  [[nodiscard]] score total() const {
    if (scored_ == 0) {
      throw nibble::error(nibble::error_code::out_of_range,
                          {.file = model_.file().name(),
                           .field = "sequences",
                           .found = "no token behind another one",
                           .expected = "a sequence of at least two tokens"});
    }
    const double mean = sum_ / static_cast<double>(scored_);
    return {scored_, mean, std::exp(mean)};
  }

 private:
  model& model_;
  key_value_cache cache_;
  std::vector<float> logits_;
  double sum_ = 0.0;
  std::size_t scored_ = 0;
};

/// Calls visit(first, count) for pieces of a sequence of which each position has a token behind it.
template <class Visit>
void for_each_piece(const std::vector<std::uint32_t>& sequence, std::size_t vocabulary, Visit visit) {
  constexpr std::size_t most_logits = 1U << 22U;
  const std::size_t most = std::clamp<std::size_t>(most_logits / vocabulary, 1, 256);
  if (sequence.empty()) return;
  for (std::size_t first = 0; first + 1 < sequence.size(); first += most) {
    visit(first, std::min(most, sequence.size() - 1 - first));
  }
}

/// sum of p ln(p / q) over the vocabulary, p and q from logits
double divergence_of(std::span<const float> p, std::span<const float> q) {
  const double p_sum = log_sum_exp(p);
  const double q_sum = log_sum_exp(q);
  double sum = 0.0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double log_p = static_cast<double>(p[i]) - p_sum;
    sum += std::exp(log_p) * (log_p - (static_cast<double>(q[i]) - q_sum));
  }
  return std::max(sum, 0.0);
}

divergence summary_of(std::vector<double> each, std::size_t agreements) {
  divergence summary;
  std::sort(each.begin(), each.end());
  for (const double value : each) summary.mean += value;
  const auto count = static_cast<double>(each.size());
  summary.mean /= count;
  summary.percentile_99 = each[static_cast<std::size_t>(std::ceil(0.99 * count)) - 1];
  summary.max = each.back();
  summary.first_choice_agreement = static_cast<double>(agreements) / count;
  return summary;
}

void check_tokens(const model& by, sequence_list sequences) {
  for (const auto& sequence : sequences) {
    for (const std::uint32_t token : sequence) {
      if (token < by.config().vocabulary) continue;
      throw nibble::error(nibble::error_code::out_of_range,
                          {.file = by.file().name(),
                           .field = "token",
                           .found = std::to_string(token),
                           .expected = fmt::format("less than {}", by.config().vocabulary)});
    }
  }
}

}  // namespace

score evaluate(model& by, sequence_list sequences) {
  check_tokens(by, sequences);
  scorer scoring(by);
  for (const auto& sequence : sequences) {
    scoring.begin();
    for_each_piece(sequence, scoring.vocabulary(), [&](std::size_t first, std::size_t count) {
      scoring.run(std::span(sequence).subspan(first, count));
      for (std::size_t i = 0; i < count; ++i) scoring.add(i, sequence[first + i + 1]);
    });
  }
  return scoring.total();
}

comparison compare(model& by, model& other, sequence_list sequences) {
  if (by.config().vocabulary != other.config().vocabulary) {
    throw nibble::error(
        nibble::error_code::invalid_argument,
        {.file = by.file().name(),
         .field = "vocabulary",
         .found = std::to_string(by.config().vocabulary),
         .expected = fmt::format("{}, as {} has", other.config().vocabulary, other.file().name())});
  }
  check_tokens(by, sequences);
  scorer ours(by);
  scorer theirs(other);
  std::vector<double> each;
  std::size_t agreements = 0;
  for (const auto& sequence : sequences) {
    ours.begin();
    theirs.begin();
    for_each_piece(sequence, ours.vocabulary(), [&](std::size_t first, std::size_t count) {
      const auto tokens = std::span(sequence).subspan(first, count);
      ours.run(tokens);
      theirs.run(tokens);
      for (std::size_t i = 0; i < count; ++i) {
        ours.add(i, sequence[first + i + 1]);
        theirs.add(i, sequence[first + i + 1]);
        each.push_back(divergence_of(theirs.row_of(i), ours.row_of(i)));
        if (likeliest(theirs.row_of(i)) == likeliest(ours.row_of(i))) ++agreements;
      }
    });
  }
  comparison result{ours.total(), theirs.total(), {}};
  result.divergence = summary_of(std::move(each), agreements);
  return result;
}

std::vector<std::vector<std::uint32_t>> read_sequences(const nlohmann::json& document,
                                                       std::string_view file, const char* part) {
  const nlohmann::json* list = &document;
  for (const char* const name : {part, "sequences"}) {
    if (list->is_object() && list->contains(name)) list = &list->at(name);
  }
  const auto refuse = [&](std::string found) {
    throw nibble::error(nibble::error_code::bad_metadata, {.file = std::string(file),
                                                           .field = "sequences",
                                                           .found = std::move(found),
                                                           .expected = "a list of lists of token ids"});
  };
  if (!list->is_array()) refuse(list->type_name());
  std::vector<std::vector<std::uint32_t>> sequences;
  for (const nlohmann::json& each : *list) {
    if (!each.is_array()) refuse(fmt::format("a list that holds {}", each.type_name()));
    std::vector<std::uint32_t>& sequence = sequences.emplace_back();
    for (const nlohmann::json& token : each) {
      if (!token.is_number_unsigned() || token.get<std::uint64_t>() > 0xffff'ffffU)
        refuse(token.dump());
      sequence.push_back(token.get<std::uint32_t>());
    }
  }
  return sequences;
}

std::vector<std::vector<std::uint32_t>> sequences_of_text(model& by, std::string_view text) {
  const std::vector<std::uint32_t> tokens = by.text().encode(text, false);
  std::vector<std::uint32_t> opening;
  if (const auto begin = by.text().begin_token(); begin && by.text().adds_begin()) opening = {*begin};
  if (by.config().context <= opening.size()) {
    throw nibble::error(nibble::error_code::out_of_range,
                        {.file = by.file().name(),
                         .field = "context",
                         .found = std::to_string(by.config().context),
                         .expected = "room for more than the beginning of a text"});
  }
  const std::size_t step = by.config().context - opening.size();
  std::vector<std::vector<std::uint32_t>> sequences;
  for (std::size_t first = 0; first < tokens.size(); first += step) {
    std::vector<std::uint32_t>& sequence = sequences.emplace_back(opening);
    const auto from = tokens.begin() + static_cast<std::ptrdiff_t>(first);
    sequence.insert(sequence.end(), from,
                    from + static_cast<std::ptrdiff_t>(std::min(step, tokens.size() - first)));
  }
  return sequences;
}

}  // namespace nibble_engine
