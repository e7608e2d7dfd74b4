#include <nibble/checkpoint/rotary_divisors.hpp>

#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>
#include <support/outcome.hpp>

using nibble::rotary_divisors_of;
using nibble_test::missing_in_error;
using nlohmann::json;

TEST_CASE("Llama 3's stretched angles are the divisors that llama.cpp's converter writes",
          "[rotary_divisors]") {
  const json metadata = {{"head_dim", 64},
                         {"rope_theta", 500000.0},
                         {"rope_scaling",
                          {{"rope_type", "llama3"},
                           {"factor", 32.0},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 8192}}}};
  const auto made = rotary_divisors_of(metadata);
  REQUIRE(made.size() == 1);
  CHECK(made[0].name == "rope_freqs.weight");
  // By generate_extra_tensors of conversion/llama.py, in float64.
  const std::vector<double> expected = {
      1,         1,          1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1.65132925,
      3.2922621, 9.66672898, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32};
  REQUIRE(made[0].values.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(double{made[0].values[i]} == Approx(expected[i]).epsilon(1e-6));
  }
}

TEST_CASE("longrope's lists are two tensors", "[rotary_divisors]") {
  json metadata = {
      {"head_dim", 8},
      {"rope_scaling",
       {{"type", "longrope"}, {"long_factor", {1, 2.5, 3, 40}}, {"short_factor", {1, 1, 1.5, 2}}}}};
  const auto made = rotary_divisors_of(metadata);
  REQUIRE(made.size() == 2);
  CHECK(made[0].name == "rope_factors_long.weight");
  CHECK(made[0].values == std::vector<float>{1.0F, 2.5F, 3.0F, 40.0F});
  CHECK(made[1].name == "rope_factors_short.weight");
  CHECK(made[1].values == std::vector<float>{1.0F, 1.0F, 1.5F, 2.0F});

  metadata["rope_scaling"]["long_factor"].push_back(1);
  CHECK(missing_in_error([&] { return rotary_divisors_of(metadata); },
                         {"bad_metadata", "rope_scaling.long_factor", "4 numbers"})
            .empty());
}

TEST_CASE("other scalings have no tensors", "[rotary_divisors]") {
  CHECK(rotary_divisors_of(json{{"head_dim", 8}}).empty());
  CHECK(rotary_divisors_of(json{{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}).empty());
  CHECK(rotary_divisors_of(json{{"rope_scaling", {{"rope_type", "default"}}}}).empty());
  CHECK(missing_in_error(
            [] {
              return rotary_divisors_of(json{{"head_dim", 7}, {"rope_scaling", {{"type", "llama3"}}}});
            },
            {"bad_metadata", "head_dim", "7"})
            .empty());
  CHECK(missing_in_error(
            [] {
              return rotary_divisors_of(json{
                  {"head_dim", 8}, {"rope_scaling", {{"type", "llama3"}, {"low_freq_factor", 4.0}}}});
            },
            {"bad_metadata", "high_freq_factor"})
            .empty());
}
