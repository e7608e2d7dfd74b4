#include <engine/weight_divergence.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>

#include <engine/evaluation.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>

#include "random_model.hpp"

using namespace nibble_engine_test;

namespace {

std::vector<token_ids> scored_texts(const nibble_engine::model& model) {
  std::mt19937 generator(3);
  std::vector<token_ids> texts(3, token_ids(12));
  for (token_ids& text : texts) {
    for (std::uint32_t& token : text) {
      token = static_cast<std::uint32_t>(generator() % model.config().vocabulary);
    }
  }
  return texts;
}

double divergence_between(nibble_engine::model& changed, nibble_engine::model& original) {
  return nibble_engine::compare(changed, original, scored_texts(original)).divergence.mean;
}

}  // namespace

TEST_CASE("every matrix is rounded alone, for all of its uses, and the model is as it was after",
          "[engine]") {
  for (const std::string& name : random_model_names()) {
    CAPTURE(name);
    random_model golden(name);
    golden.widen_context(64);
    const stored_model stored(golden);
    nibble_engine::model changed = stored.open();
    nibble_engine::model original = stored.open();
    const auto measured = nibble_engine::measure_divergences(changed, original, scored_texts(original));
    CHECK(divergence_between(changed, original) == 0.0);

    std::set<std::string> named;
    for (const auto& each : measured) {
      named.insert(each.tensor);
      CHECK(each.divergence > 0.0);
      CHECK(each.relative_error > 0.0);
      CHECK(each.relative_error < 0.05);
      CHECK(each.sensitivity() == each.divergence / each.relative_error);
    }
    CHECK(named.size() == measured.size());
    for (const nibble::tensor_view& tensor : original.file()) {
      if (tensor.shape().rank() == 2) CHECK(named.count(std::string(tensor.name())) == 1);
    }

    // By hand: the table of tokens, which may be the head, and the last product of a block.
    const auto round_by_hand = [&](const std::vector<nibble::tensor_view*>& views) {
      const nibble::tensor_view before = *views.front();
      std::vector<float> values(static_cast<std::size_t>(before.elements()));
      nibble::dequantize(before, values);
      std::vector<std::byte> bytes(
          static_cast<std::size_t>(*nibble::stored_bytes(nibble::encoding::q4, before.shape())));
      nibble::quantize(nibble::encoding::q4, before.shape(), values, bytes);
      for (nibble::tensor_view* const view : views) {
        *view = {before.name(), nibble::encoding::q4, before.shape(), bytes};
      }
      const double found = divergence_between(changed, original);
      for (nibble::tensor_view* const view : views) *view = before;
      for (const auto& each : measured) {
        if (each.tensor == before.name()) return std::fabs(found - each.divergence) <= 1e-12;
      }
      return false;
    };
    std::vector<nibble::tensor_view*> tokens{changed.decoder().tables().front()};
    if (changed.decoder().head().stored.name() == tokens.front()->name()) {
      tokens.push_back(&changed.decoder().head().stored);
    }
    CHECK(round_by_hand(tokens));
    CHECK(round_by_hand({&changed.decoder().weights_of(0).back().back()->stored}));
  }
}

TEST_CASE("measuring that is cancelled leaves the model as it was", "[engine]") {
  random_model golden("qwen2");
  golden.widen_context(64);
  const stored_model stored(golden);
  nibble_engine::model changed = stored.open();
  nibble_engine::model original = stored.open();
  std::size_t calls = 0;
  const auto measure = [&] {
    (void)nibble_engine::measure_divergences(
        changed, original, scored_texts(original),
        {.progress = [&](std::size_t, std::size_t) { return ++calls < 2; }});
  };
  CHECK(nibble_test::code_of(measure) == nibble::error_code::cancelled);
  CHECK(calls == 2);
  CHECK(divergence_between(changed, original) == 0.0);
}
