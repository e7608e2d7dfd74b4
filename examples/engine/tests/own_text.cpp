#include <engine/own_text.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include <nibble/checkpoint.hpp>

#include <engine/key_value_cache.hpp>

#include <support/catch.hpp>

#include "random_model.hpp"

using namespace nibble_engine_test;
using nibble_engine::say_sequences;

namespace {

nibble_engine::model model_of_demo() { return {nibble::checkpoint(NIBBLE_DEMO_MODEL), {}}; }

std::size_t tokens_of(const std::vector<token_ids>& sequences) {
  std::size_t count = 0;
  for (const token_ids& each : sequences) count += each.size();
  return count;
}

/// Logits behind each token of a sequence, [tokens][vocabulary].
std::vector<float> logits_behind(nibble_engine::model& by, const token_ids& sequence) {
  nibble_engine::transformer& decoder = by.decoder();
  nibble_engine::key_value_cache cache = decoder.make_cache(sequence.size());
  std::vector<float> logits(sequence.size() * decoder.vocabulary());
  decoder.run(sequence, cache, logits);
  return logits;
}

}  // namespace

TEST_CASE("a model says as many tokens as are asked for, from where its texts begin", "[engine]") {
  nibble_engine::model model = model_of_demo();
  REQUIRE(model.opening_token());
  const auto sequences = say_sequences(model, 301, 40);
  CHECK(tokens_of(sequences) == 301);
  std::set<token_ids> different;
  for (const token_ids& each : sequences) {
    CHECK(each.size() <= 40);
    CHECK(each.front() == *model.opening_token());
    for (const std::uint32_t token : std::span(each).subspan(1)) CHECK_FALSE(model.ends_text(token));
    different.insert(each);
  }
  CHECK(different.size() > 1);
  CHECK(say_sequences(model, 301, 40) == sequences);
  for (const token_ids& each : say_sequences(model, model.config().context + 5)) {
    CHECK(each.size() <= model.config().context);
  }
  CHECK(say_sequences(model, 1) == std::vector<token_ids>{{*model.opening_token()}});
  CHECK(say_sequences(model, 0).empty());
  CHECK(say_sequences(model, 5, 1) == std::vector<token_ids>(5, {*model.opening_token()}));
}

TEST_CASE("without a token for the beginning texts begin with any", "[engine]") {
  const random_model golden("llama_halves");
  nibble_engine::model model = stored_model(golden).open();
  REQUIRE_FALSE(model.opening_token());
  const auto sequences = say_sequences(model, 60, 3);
  CHECK(tokens_of(sequences) == 60);
  std::set<std::uint32_t> first;
  for (const token_ids& each : sequences) {
    for (const std::uint32_t token : each) CHECK(token < model.decoder().vocabulary());
    first.insert(each.front());
  }
  CHECK(first.size() > 5);
}

TEST_CASE("the beginning is the file's, else the end, else none; an id beyond the vocabulary is none",
          "[engine]") {
  random_model golden("llama_halves");
  const auto begin_with = [&](const char* begin, std::uint64_t begin_id, const char* end,
                              std::uint64_t end_id) {
    random_model other = golden;
    other.metadata[begin] = begin_id;
    other.metadata[end] = end_id;
    return stored_model(other).open().opening_token();
  };
  CHECK(begin_with("bos_token_id", 3, "eos_token_id", 4) == 3U);
  CHECK(begin_with("tokenizer.bos_token_id", 5, "eos_token_id", 4) == 5U);
  CHECK(begin_with("tokenizer.ggml.bos_token_id", 6, "tokenizer.ggml.eos_token_id", 4) == 6U);
  CHECK(begin_with("other", 6, "tokenizer.ggml.eos_token_id", 4) == 4U);
  CHECK(begin_with("bos_token_id", 1U << 30U, "tokenizer.eos_token_id", 4) == 4U);
  CHECK_FALSE(begin_with("bos_token_id", 1U << 30U, "eos_token_id", 0xffff'ffff'fULL));
}

TEST_CASE("tokens are as likely as the model says", "[engine]") {
  nibble_engine::model model = model_of_demo();
  const std::size_t vocabulary = model.decoder().vocabulary();
  double difference = 0.0;
  double variance = 0.0;
  for (const token_ids& sequence : say_sequences(model, 1500)) {
    const std::vector<float> logits = logits_behind(model, sequence);
    for (std::size_t i = 0; i + 1 < sequence.size(); ++i) {
      const std::span<const float> here = std::span(logits).subspan(i * vocabulary, vocabulary);
      double sum = 0.0;
      for (const float logit : here) sum += std::exp(static_cast<double>(logit));
      double entropy = 0.0;
      double square = 0.0;
      for (const float logit : here) {
        const double surprise = std::log(sum) - static_cast<double>(logit);
        entropy += std::exp(-surprise) * surprise;
        square += std::exp(-surprise) * surprise * surprise;
      }
      // What a token drawn so says is on average the entropy. Draws that end a text, one a sequence at most,
      // are not there.
      difference += std::log(sum) - static_cast<double>(here[sequence[i + 1]]) - entropy;
      variance += square - entropy * entropy;
    }
  }
  CHECK(std::fabs(difference) <= 4.0 * std::sqrt(variance));
}
