#if defined(NIBBLE_WITH_CALIBRATION)

#include <engine/calibration.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <nibble/compute/thread_pool.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>

#include "random_model.hpp"

using namespace nibble_engine_test;
using nibble_engine::calibration_options;

namespace {

std::vector<token_ids> texts_for(const nibble_engine::model& model, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<token_ids> texts(12, token_ids(model.config().context));
  for (token_ids& text : texts) {
    for (std::uint32_t& token : text) {
      token = static_cast<std::uint32_t>(generator() % model.config().vocabulary);
    }
  }
  return texts;
}

/// Sum of the squares of what packing changes of the logits of texts.
double logit_error(nibble_engine::model& packed, nibble_engine::model& plain,
                   const std::vector<token_ids>& texts) {
  double error = 0.0;
  for (const token_ids& text : texts) {
    const std::vector<float> found = logits_of(packed, text, text.size());
    const std::vector<float> expected = logits_of(plain, text, text.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      const double off = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
      error += off * off;
    }
  }
  return error;
}

}  // namespace

TEST_CASE("a calibrated model's logits are nearer to the model's, and it runs on with them",
          "[engine]") {
  for (const std::string& name : random_model_names()) {
    CAPTURE(name);
    random_model golden(name);
    golden.widen_context(64);
    const stored_model stored(golden);
    nibble_engine::model plain = stored.open();
    const std::vector<token_ids> texts = texts_for(plain, 1);
    const auto error_with = [&](double damping, bool by_importance) {
      nibble_engine::model packed = stored.open();
      const auto made = nibble_engine::calibrate(
          packed, texts,
          {.encoding_of = [](const nibble_engine::weight&) { return nibble::encoding::q4; },
           .damping = damping,
           .by_importance = by_importance});
      CHECK(made.size() == plain.decoder().weights_of(0).size() * plain.config().layers +
                               (name == "gpt2" ? 0 : 3 * plain.config().layers) +
                               (plain.decoder().head().name == "token_embd.weight" ? 0 : 1));
      return logit_error(packed, plain, texts);
    };
    // So much damping that every column counts alike, and none has to do with another.
    const double uncalibrated = error_with(1e9, false);
    CHECK(error_with(0.01, false) < 0.8 * uncalibrated);
    CHECK(error_with(0.01, true) < 0.8 * uncalibrated);
  }
}

TEST_CASE("calibrated bytes do not depend on threads, and what is not asked for stays", "[engine]") {
  const random_model golden("qwen2");
  const stored_model stored(golden);
  nibble_engine::model one = stored.open();
  nibble_engine::model three = stored.open();
  const std::vector<token_ids> texts = texts_for(one, 2);
  calibration_options options;
  options.encoding_of = [](const nibble_engine::weight& weight) -> std::optional<nibble::encoding> {
    if (weight.name.find("ffn_down") == std::string::npos) return std::nullopt;
    return nibble::encoding::q8;
  };
  std::size_t calls = 0;
  options.progress = [&](std::size_t done, std::size_t all) {
    CHECK(done == ++calls);
    CHECK(all == one.config().layers + 1);
    return true;
  };
  const auto first = nibble_engine::calibrate(one, texts, options);
  CHECK(calls == one.config().layers + 1);
  CHECK(first.size() == one.config().layers);
  nibble::thread_pool pool(3);
  options.executor = &pool;
  options.progress = {};
  const auto second = nibble_engine::calibrate(three, texts, options);
  for (const auto& [name, weight] : first) {
    CHECK(weight.encoding == nibble::encoding::q8);
    CHECK(second.at(name).bytes == weight.bytes);
  }
}

TEST_CASE("text that a model cannot run, and none, are refused; a progress callback cancels",
          "[engine]") {
  const random_model golden("llama_halves");
  nibble_engine::model opened = stored_model(golden).open();
  const auto code_with = [&](const std::vector<token_ids>& texts, bool goes_on = true) {
    return nibble_test::code_of([&] {
      (void)nibble_engine::calibrate(
          opened, texts,
          {.encoding_of = [](const nibble_engine::weight&) { return nibble::encoding::q4; },
           .progress = [&](std::size_t, std::size_t) { return goes_on; }});
    });
  };
  CHECK(code_with({}) == nibble::error_code::invalid_argument);
  CHECK(code_with({token_ids{}}) == nibble::error_code::invalid_argument);
  CHECK(code_with({token_ids(opened.config().context + 1)}) == nibble::error_code::out_of_range);
  CHECK(code_with({token_ids{static_cast<std::uint32_t>(opened.config().vocabulary)}}) ==
        nibble::error_code::out_of_range);
  CHECK(code_with({golden.tokens}, false) == nibble::error_code::cancelled);
}

#endif
