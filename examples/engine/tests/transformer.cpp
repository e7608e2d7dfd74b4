#include <engine/transformer.hpp>

#include <algorithm>
#include <bit>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <nibble/compute/thread_pool.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/memory_meter.hpp>

#include "random_model.hpp"
#include "says.hpp"

using namespace nibble_engine_test;
using nibble_engine::contract_error;
using nibble_engine::key_value_cache;
using nibble_engine::model;
using nibble_test::error_of;

namespace {

std::vector<double> joined(const std::vector<std::vector<double>>& rows) {
  std::vector<double> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

token_ids random_tokens(std::size_t count, std::uint32_t vocabulary, std::uint32_t seed) {
  std::mt19937 generator(seed);
  token_ids tokens(count);
  for (std::uint32_t& token : tokens) token = static_cast<std::uint32_t>(generator() % vocabulary);
  return tokens;
}

bool is_same_bits(std::span<const float> a, std::span<const float> b) {
  return std::ranges::equal(a, b, [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

const std::vector<storage>& ways_to_store() {
  using nibble::container;
  using nibble::encoding;
  static const std::vector<storage> ways{
      {container::safetensors, encoding::f32, false}, {container::safetensors, encoding::f16, true},
      {container::apr, encoding::f16, false},         {container::apr, encoding::f32, true},
      {container::gguf, encoding::f32, true},         {container::gguf, encoding::f16, true},
      {container::gguf, encoding::f32, false}};
  return ways;
}

}  // namespace

// Weights are exact in f16 and f32, so that all that differs is rounding within the pass. The bound is
// below what GELU by erf instead of tanh would change.
TEST_CASE("logits are those of a float64 forward pass, from any container under either names",
          "[engine]") {
  for (const std::string& name : random_model_names()) {
    const random_model golden(name);
    const std::vector<double> expected = joined(golden.logits);
    for (const storage& how : ways_to_store()) {
      CAPTURE(name, nibble::to_string(how.container), nibble::to_string(how.matrices),
              how.has_gguf_names);
      const stored_model stored(golden, how);
      for (const bool repack : {false, true}) {
        model opened = stored.open({.repack = repack});
        CHECK(relative_difference(logits_of(opened, golden.tokens, 12), expected) < 2e-5);
        CHECK(relative_difference(logits_of(opened, golden.tokens, 1), expected) < 2e-5);
      }
    }
  }
}

TEST_CASE("a prompt in one pass, in pieces and token by token give the same logits", "[engine]") {
  for (const std::string& name : random_model_names()) {
    random_model golden(name);
    golden.widen_context(640);
    const std::vector<double> expected = joined(golden.logits);
    const memory_model stored(golden);
    model opened = stored.open();
    const auto vocabulary = static_cast<std::uint32_t>(opened.decoder().vocabulary());
    token_ids tokens = golden.tokens;
    for (const std::uint32_t token : random_tokens(611, vocabulary, 7)) tokens.push_back(token);

    const std::vector<float> at_once = logits_of(opened, tokens, tokens.size());
    CAPTURE(name);
    CHECK(relative_difference(std::span(at_once).first(expected.size()), expected) < 2e-5);
    for (const std::size_t step : {1U, 97U, 257U}) {
      CAPTURE(step);
      CHECK(relative_difference(logits_of(opened, tokens, step), at_once) < 1e-5);
    }
    // Logits of the last positions alone are the same as among all.
    for (const std::size_t positions : {0U, 1U, 111U, 112U, 300U}) {
      CAPTURE(positions);
      key_value_cache cache(opened.config(), tokens.size());
      std::vector<float> last(positions * vocabulary);
      opened.decoder().run(tokens, cache, last);
      CHECK(cache.length() == tokens.size());
      if (positions == 0) continue;
      const auto skipped = static_cast<std::ptrdiff_t>(at_once.size() - last.size());
      CHECK(relative_difference(last, std::vector<float>(at_once.begin() + skipped, at_once.end())) <
            1e-5);
    }
    // A cache that was cleared remembers nothing.
    key_value_cache cache(opened.config(), 640);
    std::vector<float> last(vocabulary);
    opened.decoder().run(std::span(tokens).last(300), cache, {});
    cache.clear();
    opened.decoder().run(golden.tokens, cache, last);
    CHECK(relative_difference(last, golden.logits.back()) < 2e-5);
  }
}

TEST_CASE("any number of threads gives the same bits", "[engine]") {
  nibble::thread_pool three(3);
  nibble::thread_pool seven(7);
  for (const std::string& name : random_model_names()) {
    const random_model golden(name);
    for (const auto encoding : {nibble::encoding::f32, nibble::encoding::q8, nibble::encoding::q4}) {
      const stored_model stored(golden, {.matrices = encoding});
      for (const auto mode : {nibble::matmul_mode::exact, nibble::matmul_mode::int8}) {
        if (encoding == nibble::encoding::f32 && mode != nibble::matmul_mode::exact) continue;
        model alone = stored.open({.mode = mode});
        const std::vector<float> expected = logits_of(alone, golden.tokens, 11);
        for (nibble::thread_pool* const pool : {&three, &seven}) {
          CAPTURE(name, nibble::to_string(encoding), nibble::to_string(mode), pool == &three);
          model opened = stored.open({.mode = mode, .executor = pool});
          CHECK(is_same_bits(logits_of(opened, golden.tokens, 11), expected));
        }
      }
    }
  }
}

TEST_CASE("tokens, room and logits that cannot be are refused and leave the cache as it was",
          "[engine]") {
  const random_model golden("qwen2");  // 71 tokens, 32 positions
  const memory_model stored(golden);
  model opened = stored.open();
  const std::size_t vocabulary = opened.decoder().vocabulary();
  std::vector<float> last(vocabulary);
  key_value_cache cache(opened.config(), 1000);
  const auto run = [&](const token_ids& tokens, std::span<float> logits) {
    return error_of([&] { opened.decoder().run(tokens, cache, logits); });
  };
  REQUIRE_FALSE(run(golden.tokens, last));
  REQUIRE(cache.length() == 12);
  CHECK(says(run({0, 71}, last), nibble::error_code::out_of_range, "token", "71", "less than 71"));
  CHECK(says(run(token_ids(21, 5), last), nibble::error_code::out_of_range, "21 behind 12", "32"));
  std::vector<float> wrong(2 * vocabulary);
  CHECK(says(run({1}, wrong), nibble::error_code::out_of_range, "logits", "142", "71"));
  CHECK(says(run({1}, std::span(wrong).first(vocabulary - 1)), nibble::error_code::out_of_range,
             "logits", "70"));
  CHECK(cache.length() == 12);
  REQUIRE_FALSE(run(token_ids(20, 5), last));
  CHECK(cache.length() == 32);

  key_value_cache small(opened.config(), 3);
  const auto problem = error_of([&] { opened.decoder().run(token_ids{1, 2, 3, 4}, small, last); });
  CHECK(says(problem, nibble::error_code::out_of_range, "4 behind 0", "3"));
}

TEST_CASE("metadata may leave the vocabulary out: the embedding tells it", "[engine]") {
  for (const std::string& name : random_model_names()) {
    random_model golden(name);
    golden.metadata.erase("vocab_size");
    const memory_model stored(golden);
    model opened = stored.open();
    CHECK(opened.config().vocabulary == golden.logits.front().size());
    CHECK(relative_difference(logits_of(opened, golden.tokens, 12), joined(golden.logits)) < 2e-5);
  }
}

TEST_CASE("what metadata says of the context is not reserved before it is used", "[engine]") {
  if (nibble_test::is_sanitized) {
    WARN("passed by: memory is not counted under a sanitizer");
    return;
  }
  random_model golden("llama_halves");
  golden.metadata["max_position_embeddings"] = 1U << 30U;
  const memory_model stored(golden);
  const auto spent = nibble_test::expense_of([&] {
    model opened = stored.open();
    key_value_cache cache(opened.config(), opened.config().context);
    std::vector<float> last(opened.decoder().vocabulary());
    opened.decoder().run(golden.tokens, cache, last);
    CHECK(relative_difference(last, golden.logits.back()) < 2e-5);
  });
  CHECK(spent.peak_bytes < (std::uint64_t{64} << 20U));
}

TEST_CASE("divisors of a GGUF file stretch its angles", "[engine]") {
  random_model golden("llama_halves");
  golden.metadata["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 4.0}};
  const memory_model scaled(golden);
  model linear = scaled.open();
  const std::vector<float> expected = logits_of(linear, golden.tokens, 12);
  CHECK(relative_difference(expected, joined(golden.logits)) > 1e-2);

  golden.metadata.erase("rope_scaling");
  golden.tensors.push_back({"rope_freqs.weight", {5}, std::vector<float>(5, 4.0F)});
  const memory_model with_divisors(golden);
  model divided = with_divisors.open();
  CHECK(relative_difference(logits_of(divided, golden.tokens, 12), expected) < 1e-6);

  golden["rope_freqs.weight"].values[3] = 0.0F;
  const std::string message = broken_contract(contract_error::data_quality,
                                              [&] { static_cast<void>(memory_model(golden).open()); });
  CHECK(message.find("rope_freqs.weight") != std::string::npos);
}
