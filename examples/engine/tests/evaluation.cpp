#include <engine/evaluation.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint.hpp>
#include <nibble/core/error.hpp>
#include <nibble/nibble.hpp>

#include <engine/key_value_cache.hpp>
#include <engine/model.hpp>

#include <support/catch.hpp>
#include <support/files.hpp>

namespace {

using sequences_t = std::vector<std::vector<std::uint32_t>>;

nibble_engine::model evaluated_model() { return {nibble::checkpoint(NIBBLE_DEMO_MODEL), {}}; }

/// The same with its matrices in 4 bits.
nibble_engine::model coarser_model(const nibble_test::temporary_directory& files) {
  const nibble::checkpoint from(NIBBLE_DEMO_MODEL);
  nibble::writer out;
  out.metadata() = from.metadata();
  for (const nibble::tensor_view& tensor : from) {
    const bool is_matrix = tensor.shape().rank() == 2;
    out.add(is_matrix ? nibble::encoding::q4 : nibble::encoding::f32, std::string(tensor.name()),
            tensor.shape(), nibble::rows_of(tensor));
  }
  out.write(files / "coarser.apr");
  return {nibble::reader(files / "coarser.apr"), {}};
}

sequences_t random_sequences(const nibble_engine::model& of) {
  std::mt19937 generator(11);
  sequences_t sequences;
  for (const std::size_t length : {std::size_t{2}, std::size_t{1}, std::size_t{40}, std::size_t{7}}) {
    auto& added = sequences.emplace_back();
    for (std::size_t i = 0; i < length; ++i) {
      added.push_back(static_cast<std::uint32_t>(generator() % of.config().vocabulary));
    }
  }
  return sequences;
}

/// The probabilities of every token behind each one of a sequence, one token at a time and in f64.
std::vector<std::vector<double>> probabilities_of(nibble_engine::model& by,
                                                  const std::vector<std::uint32_t>& sequence) {
  nibble_engine::key_value_cache cache(by.config(), by.config().context);
  std::vector<std::vector<double>> all;
  for (const std::uint32_t token : sequence) {
    std::vector<float> logits(by.decoder().vocabulary());
    by.decoder().run(std::span(&token, 1), cache, logits);
    std::vector<double>& each = all.emplace_back();
    double sum = 0.0;
    for (const float logit : logits) sum += each.emplace_back(std::exp(static_cast<double>(logit)));
    for (double& probability : each) probability /= sum;
  }
  return all;
}

bool is_near(double a, double b) { return std::fabs(a - b) <= 1e-5 * std::max(1.0, std::fabs(b)); }

}  // namespace

TEST_CASE("a score is the mean of -ln p over all tokens but the first of a sequence", "[evaluation]") {
  nibble_engine::model model = evaluated_model();
  const sequences_t sequences = random_sequences(model);
  double sum = 0.0;
  std::size_t count = 0;
  for (const auto& sequence : sequences) {
    const auto probabilities = probabilities_of(model, sequence);
    for (std::size_t i = 0; i + 1 < sequence.size(); ++i, ++count) {
      sum -= std::log(probabilities[i][sequence[i + 1]]);
    }
  }
  const nibble_engine::score found = nibble_engine::evaluate(model, sequences);
  CHECK(found.scored_tokens == count);
  CHECK(is_near(found.mean_negative_log_likelihood, sum / static_cast<double>(count)));
  CHECK(is_near(found.perplexity, std::exp(sum / static_cast<double>(count))));
}

TEST_CASE("the divergence from another model is sum p ln(p / q), p the other's", "[evaluation]") {
  const nibble_test::temporary_directory files;
  nibble_engine::model model = coarser_model(files);
  nibble_engine::model other = evaluated_model();
  const sequences_t sequences = random_sequences(model);
  std::vector<double> each;
  std::size_t agreements = 0;
  for (const auto& sequence : sequences) {
    const auto q = probabilities_of(model, sequence);
    const auto p = probabilities_of(other, sequence);
    for (std::size_t i = 0; i + 1 < sequence.size(); ++i) {
      double sum = 0.0;
      for (std::size_t k = 0; k < p[i].size(); ++k) sum += p[i][k] * std::log(p[i][k] / q[i][k]);
      each.push_back(sum);
      const auto first_of = [](const std::vector<double>& from) {
        return std::max_element(from.begin(), from.end()) - from.begin();
      };
      agreements += first_of(p[i]) == first_of(q[i]) ? 1U : 0U;
    }
  }
  double mean = 0.0;
  for (const double value : each) mean += value / static_cast<double>(each.size());
  std::sort(each.begin(), each.end());
  const auto found = nibble_engine::compare(model, other, sequences);
  CHECK(found.divergence.mean > 0.0);
  CHECK(is_near(found.divergence.mean, mean));
  CHECK(is_near(found.divergence.max, each.back()));
  CHECK(found.divergence.percentile_99 <= found.divergence.max);
  CHECK(is_near(found.divergence.percentile_99, each[each.size() - 1]));
  CHECK(is_near(found.divergence.first_choice_agreement,
                static_cast<double>(agreements) / static_cast<double>(each.size())));
  CHECK(found.of_other.mean_negative_log_likelihood ==
        nibble_engine::evaluate(other, sequences).mean_negative_log_likelihood);

  const auto itself = nibble_engine::compare(other, other, sequences);
  CHECK(itself.divergence.max == 0.0);
  CHECK(itself.divergence.first_choice_agreement == 1.0);
}

TEST_CASE("what cannot be scored is refused", "[evaluation]") {
  nibble_engine::model model = evaluated_model();
  const auto code_of = [&](const sequences_t& sequences) {
    try {
      static_cast<void>(nibble_engine::evaluate(model, sequences));
    } catch (const nibble::error& problem) {
      return std::string(to_string(problem.code()));
    }
    return std::string("taken");
  };
  CHECK(code_of({}) == "out_of_range");
  CHECK(code_of({{1}, {}}) == "out_of_range");
  const auto beyond = static_cast<std::uint32_t>(model.config().vocabulary);
  CHECK(code_of({{1, beyond}}) == "out_of_range");
  CHECK(code_of({std::vector<std::uint32_t>(model.config().context + 2, 1)}) == "out_of_range");
  CHECK(code_of({{1, 2}}) == "taken");
}

TEST_CASE("sequences are read from the forms that documents have", "[evaluation]") {
  using nlohmann::json;
  const sequences_t expected{{1, 2}, {3}};
  for (const char* const text :
       {"[[1,2],[3]]", R"({"sequences":[[1,2],[3]]})", R"({"evaluation":{"sequences":[[1,2],[3]]}})",
        R"({"evaluation":[[1,2],[3]]})"}) {
    CAPTURE(text);
    CHECK(nibble_engine::read_sequences(json::parse(text), "f.json") == expected);
  }
  for (const char* const text :
       {"3", "[1,2]", R"([["a"]])", "[[-1]]", "[[1.5]]", R"({"other":[]})", "[[4294967296]]"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(nibble_engine::read_sequences(json::parse(text), "f.json"), nibble::error);
  }
}

TEST_CASE("a text becomes sequences that fit the context and lose no token", "[evaluation]") {
  nibble_engine::model model = evaluated_model();
  std::string text;
  while (text.size() < 3000) text += "And God said, Let there be light: and there was light. ";
  const auto tokens = model.text().encode(text);
  std::vector<std::uint32_t> joined;
  for (const auto& sequence : nibble_engine::sequences_of_text(model, text)) {
    CHECK(sequence.size() <= model.config().context);
    joined.insert(joined.end(), sequence.begin(), sequence.end());
  }
  CHECK(joined.size() >= tokens.size());
  // Without what stands before each sequence, the tokens are the text's.
  if (joined.size() == tokens.size()) CHECK(joined == tokens);
}
