#include <engine/sampler.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <support/catch.hpp>

using nibble_engine::sampler;
using nibble_engine::sampling_options;

namespace {

std::vector<float> logits_of_probabilities(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double each : probabilities) logits.push_back(static_cast<float>(std::log(each) + 3.0));
  return logits;
}

/// How often each token was chosen.
std::vector<double> shares(const std::vector<float>& logits, const sampling_options& options,
                           std::size_t count) {
  sampler choice(options);
  std::vector<double> found(logits.size());
  for (std::size_t i = 0; i < count; ++i)
    found[choice.choose(logits)] += 1.0 / static_cast<double>(count);
  return found;
}

/// Within five standard deviations of a binomial's share.
bool is_share(double found, double probability, std::size_t count) {
  const double deviation = std::sqrt(probability * (1.0 - probability) / static_cast<double>(count));
  return std::abs(found - probability) <= 5.0 * deviation + 1e-9;
}

}  // namespace

TEST_CASE("tokens come as often as their probabilities say", "[engine]") {
  constexpr std::size_t count = 20'000;
  const std::vector<double> probabilities{0.05, 0.4, 0.1, 0.25, 0.2};
  const std::vector<float> logits = logits_of_probabilities(probabilities);
  for (const std::uint64_t seed : {0U, 1U, 77U}) {
    const auto found = shares(logits, {.temperature = 1.0, .seed = seed}, count);
    for (std::size_t i = 0; i < 5; ++i) {
      CAPTURE(seed, i, found[i]);
      CHECK(is_share(found[i], probabilities[i], count));
    }
  }
  // A temperature of 2 takes square roots of probabilities, 1/2 squares them.
  for (const double temperature : {0.5, 2.0}) {
    double sum = 0.0;
    for (const double each : probabilities) sum += std::pow(each, 1.0 / temperature);
    const auto found = shares(logits, {.temperature = temperature, .seed = 5}, count);
    for (std::size_t i = 0; i < 5; ++i) {
      CAPTURE(temperature, i, found[i]);
      CHECK(is_share(found[i], std::pow(probabilities[i], 1.0 / temperature) / sum, count));
    }
  }
}

TEST_CASE("top-p keeps the likeliest tokens that reach it, and no others", "[engine]") {
  constexpr std::size_t count = 20'000;
  const std::vector<float> logits = logits_of_probabilities({0.05, 0.4, 0.1, 0.25, 0.2});
  struct cut {
    double top_p;
    std::vector<double> expected;
  };
  for (const cut& each : {cut{0.0, {0, 1, 0, 0, 0}}, cut{0.39, {0, 1, 0, 0, 0}},
                          cut{0.41, {0, 0.4 / 0.65, 0, 0.25 / 0.65, 0}},
                          cut{0.66, {0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85}},
                          cut{0.86, {0, 0.4 / 0.95, 0.1 / 0.95, 0.25 / 0.95, 0.2 / 0.95}},
                          cut{1.0, {0.05, 0.4, 0.1, 0.25, 0.2}}}) {
    const auto found = shares(logits, {.temperature = 1.0, .top_p = each.top_p, .seed = 9}, count);
    for (std::size_t i = 0; i < 5; ++i) {
      CAPTURE(each.top_p, i, found[i]);
      CHECK(is_share(found[i], each.expected[i], count));
    }
  }
}

TEST_CASE("a seed repeats its tokens and another one does not", "[engine]") {
  const std::vector<float> logits(50, 1.0F);
  const auto tokens = [&](std::uint64_t seed) {
    sampler choice({.temperature = 0.8, .top_p = 0.9, .seed = seed});
    std::vector<std::uint32_t> chosen(100);
    for (auto& each : chosen) each = choice.choose(logits);
    return chosen;
  };
  CHECK(tokens(3) == tokens(3));
  CHECK(tokens(3) != tokens(4));
  CHECK(tokens(std::numeric_limits<std::uint64_t>::max()) != tokens(4));
}

TEST_CASE("temperature 0 is the first of the likeliest, and next to nothing is the same", "[engine]") {
  const std::vector<float> logits{-1.0F, 5.0F, 2.0F, 5.0F, 4.999F};
  for (int i = 0; i < 10; ++i) CHECK(sampler({}).choose(logits) == 1);
  for (const double temperature : {1e-4, 1e-30, 1e-300, 5e-324}) {
    sampler choice({.temperature = temperature, .seed = 1});
    std::vector<std::size_t> counts(5);
    for (int i = 0; i < 200; ++i) ++counts[choice.choose(logits)];
    CAPTURE(temperature);
    CHECK(counts[1] + counts[3] == 200);
    CHECK(counts[1] > 50);
    CHECK(counts[3] > 50);
  }
  // Far above any logit's difference all tokens are alike.
  const auto found = shares({-50.0F, 50.0F}, {.temperature = 1e9, .seed = 2}, 4000);
  CHECK(is_share(found[0], 0.5, 4000));
}
