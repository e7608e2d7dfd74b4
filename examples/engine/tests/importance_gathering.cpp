#include <engine/importance_gathering.hpp>

#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <nibble/checkpoint/importance.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>

#include "random_model.hpp"

using namespace nibble_engine_test;
using nibble_engine::square_sums;

TEST_CASE("sums of squares are those of what the first layer's inputs must be", "[engine]") {
  random_model golden("llama_halves");
  nibble_engine::model opened = stored_model(golden).open();
  const std::vector<token_ids> sequences{golden.tokens, {golden.tokens[0], golden.tokens[1]}};
  const auto gathered = nibble_engine::gather_importance(opened, sequences);

  const std::size_t hidden = opened.config().hidden;
  const std::vector<float>& embedding = golden["model.embed_tokens.weight"].values;
  const std::vector<float>& gain = golden["model.layers.0.input_layernorm.weight"].values;
  std::vector<double> expected(hidden);
  std::size_t inputs = 0;
  for (const token_ids& sequence : sequences) {
    for (const std::uint32_t token : sequence) {
      const float* const x = &embedding[token * hidden];
      double square = 0.0;
      for (std::size_t i = 0; i < hidden; ++i) square += static_cast<double>(x[i]) * x[i];
      for (std::size_t i = 0; i < hidden; ++i) {
        expected[i] +=
            std::pow(static_cast<double>(x[i]) * gain[i], 2.0) /
            (square / static_cast<double>(hidden) + static_cast<double>(opened.config().norm_epsilon));
      }
      ++inputs;
    }
  }
  for (const char* const name : {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
    const square_sums& sums = gathered.at(name);
    CHECK(sums.inputs == inputs);
    REQUIRE(sums.of_columns.size() == hidden);
    for (std::size_t i = 0; i < hidden; ++i) {
      CHECK(std::fabs(sums.of_columns[i] - expected[i]) <= 1e-5 * expected[i] + 1e-12);
    }
  }
}

TEST_CASE("every matrix of every architecture is gathered, and the file holds what was", "[engine]") {
  const std::map<std::string, std::size_t> matrices_of_layer{
      {"llama_adjacent", 7}, {"llama_halves", 7}, {"qwen2", 7}, {"gpt2", 4}};
  for (const auto& [name, matrices] : matrices_of_layer) {
    CAPTURE(name);
    const random_model golden(name);
    nibble_engine::model opened = stored_model(golden).open();
    const std::vector<token_ids> sequences{golden.tokens};
    const auto gathered = nibble_engine::gather_importance(opened, sequences);
    CHECK(gathered.size() == matrices * opened.config().layers + 1);
    const nibble_test::temporary_directory files;
    nibble_engine::write_importance(
        files / "i.gguf", gathered,
        {.dataset = "some text", .chunk_count = 3, .chunk_tokens = golden.tokens.size()});
    const nibble::importance in(files / "i.gguf");
    CHECK(in.chunk_count() == 3);
    CHECK(in.chunk_tokens() == golden.tokens.size());
    CHECK(in.datasets()[0] == "some text");
    REQUIRE(in.entries().size() == gathered.size());
    for (const auto& [weight, sums] : gathered) {
      const nibble::weight_importance* const found = in.find(weight);
      REQUIRE(found != nullptr);
      CHECK(sums.inputs == golden.tokens.size());
      REQUIRE(found->mean_squares.size() == sums.of_columns.size());
      for (std::size_t i = 0; i < sums.of_columns.size(); ++i) {
        const double mean = sums.of_columns[i] / static_cast<double>(sums.inputs);
        CHECK(std::fabs(static_cast<double>(found->mean_squares[i]) - mean) <= 1e-6 * mean);
      }
    }
  }
}
