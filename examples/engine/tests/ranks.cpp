#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <engine/generate.hpp>
#include <engine/row_split.hpp>

#include <support/catch.hpp>
#include <support/errors.hpp>

#include "random_model.hpp"
#include "says.hpp"
#include "thread_group.hpp"

using namespace nibble_engine_test;
using nibble_engine::contract_error;
using nibble_engine::cut;
using nibble_engine::generate;
using nibble_engine::head_part;
using nibble_engine::model;
using nibble_engine::part;
using nibble_engine::product_options;
using nibble_engine::split_rows;
using nibble_test::error_of;

namespace {

/// Logits of a model that is spread over ranks, as rank 0 has them.
std::vector<float> spread_logits(const stored_model& stored, const product_options& options,
                                 const std::vector<std::uint64_t>& shares, const token_ids& tokens,
                                 std::size_t step) {
  std::vector<float> logits;
  on_ranks(shares.size(), [&](thread_group& group) {
    model opened(nibble::reader(stored.path()), options, {&group, shares});
    opened.decoder().check_zeros();
    if (group.rank() != 0) {
      opened.decoder().follow();
      return;
    }
    logits = logits_of(opened, tokens, step);
    opened.decoder().dismiss();
  });
  return logits;
}

/// Floats as bits, so that no difference is too small to be seen.
std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

}  // namespace

TEST_CASE("ranks share elements out as shares say, each to one", "[engine][ranks]") {
  for (const std::size_t count : {0U, 1U, 2U, 5U, 31U, 64U, 300U, 4096U, 11008U}) {
    for (const std::vector<std::uint64_t>& shares : std::vector<std::vector<std::uint64_t>>{
             {1}, {1, 1}, {3, 1}, {1, 1, 1}, {1, 2, 3, 4}, {1, 1'000'000}, {7, 0, 1}}) {
      const std::vector<part> parts = cut(count, shares);
      REQUIRE(parts.size() == shares.size());
      std::size_t next = 0;
      std::uint64_t total = 0;
      for (const std::uint64_t share : shares) total += share;
      for (std::size_t rank = 0; rank < parts.size(); ++rank) {
        CAPTURE(count, rank, parts.size());
        CHECK(parts[rank].first == next);
        next = parts[rank].end();
        const double fair =
            static_cast<double>(count) * static_cast<double>(shares[rank]) / static_cast<double>(total);
        CHECK(std::abs(static_cast<double>(parts[rank].count) - fair) <= (count < 256 ? 1.0 : 16.0));
      }
      CHECK(next == count);
    }
  }
}

TEST_CASE("heads stay with their keys and values, which ranks repeat where they are more",
          "[engine][ranks]") {
  nibble_engine::model_config config;
  config.heads = 8;
  config.key_value_heads = 2;
  config.head_dim = 10;
  const auto heads_of = [&](const std::vector<std::uint64_t>& shares) {
    std::vector<std::vector<std::size_t>> all;
    for (const head_part& each : split_rows(config, shares).heads) {
      all.push_back(
          {each.queries.first, each.queries.count, each.key_values.first, each.key_values.count});
    }
    return all;
  };
  using rows = std::vector<std::vector<std::size_t>>;
  CHECK(heads_of({1}) == rows{{0, 8, 0, 2}});
  CHECK(heads_of({1, 1}) == rows{{0, 4, 0, 1}, {4, 4, 1, 1}});
  CHECK(heads_of({1, 1, 1, 1}) == rows{{0, 2, 0, 1}, {2, 2, 0, 1}, {4, 2, 1, 1}, {6, 2, 1, 1}});
  CHECK(heads_of({1, 1, 1}) == rows{{0, 3, 0, 1}, {3, 2, 0, 2}, {5, 3, 1, 1}});
  const auto parts = split_rows(config, std::vector<std::uint64_t>{1, 1, 1}).attended;
  CHECK(parts[1] == part{30, 20});
}

TEST_CASE("any number of ranks gives the same bits as one", "[engine][ranks]") {
  for (const std::string& name : random_model_names()) {
    const random_model golden(name);
    for (const auto encoding : {nibble::encoding::f32, nibble::encoding::q8, nibble::encoding::q4,
                                nibble::encoding::apr_q8, nibble::encoding::apr_q4}) {
      const stored_model stored(golden, {.matrices = encoding});
      for (const auto mode : {nibble::matmul_mode::exact, nibble::matmul_mode::int8}) {
        for (const bool repack : {false, true}) {
          if (repack && mode == nibble::matmul_mode::exact) continue;
          const product_options options{.mode = mode, .repack = repack};
          model alone = stored.open(options);
          // Tokens one by one, and several together, whose parts are put in order.
          const std::vector<float> one_by_one = logits_of(alone, golden.tokens, 1);
          const std::vector<float> together = logits_of(alone, golden.tokens, 5);
          for (const std::vector<std::uint64_t>& shares : std::vector<std::vector<std::uint64_t>>{
                   {1, 1}, {1, 1, 1}, {3, 1}, {1, 9, 2, 2, 1, 1, 5}}) {
            CAPTURE(name, nibble::to_string(encoding), nibble::to_string(mode), repack, shares.size(),
                    shares[0]);
            const bool takes_one = shares.size() == 3;
            CHECK(bits_of(spread_logits(stored, options, shares, golden.tokens, takes_one ? 1 : 5)) ==
                  bits_of(takes_one ? one_by_one : together));
          }
        }
      }
    }
  }
}

TEST_CASE("a prompt longer than what runs together, and a second one, are the same on ranks",
          "[engine][ranks]") {
  for (const std::string& name : random_model_names()) {
    random_model golden(name);
    golden.widen_context(640);
    const stored_model stored(golden, {.matrices = nibble::encoding::q4});
    token_ids prompt;
    for (std::uint32_t i = 0; i < 300; ++i) prompt.push_back(i * 7 % 11);
    model alone = stored.open();
    const nibble_engine::sampling_options sampling{.temperature = 1.5, .top_p = 0.95, .seed = 5};
    const token_ids expected = generate(alone, prompt, 20, sampling).tokens;
    const token_ids second = generate(alone, golden.tokens, 8, {}).tokens;
    on_ranks(3, [&](thread_group& group) {
      model opened(nibble::reader(stored.path()), {}, {&group, {}});
      if (group.rank() != 0) return opened.decoder().follow();
      CHECK(generate(opened, prompt, 20, sampling).tokens == expected);
      CHECK(generate(opened, golden.tokens, 8, {}).tokens == second);
      opened.decoder().dismiss();
    });
  }
}

TEST_CASE("shares that do not fit the ranks are refused by all", "[engine][ranks]") {
  const random_model golden("qwen2");
  const stored_model stored(golden);
  on_ranks(2, [&](thread_group& group) {
    const auto problem = error_of([&] {
      static_cast<void>(model(nibble::reader(stored.path()), {}, {&group, {1, 1, 1}}));
    });
    if (group.rank() == 0) {
      CHECK(says(problem, nibble::error_code::invalid_argument, "shares", "3", "ranks, 2"));
    }
  });
  const auto alone = error_of([&] {
    static_cast<void>(model(nibble::reader(stored.path()), {}, {nullptr, {1}}));
  });
  CHECK(says(alone, nibble::error_code::invalid_argument, "shares"));
}

TEST_CASE("a weight's zeros are counted over all ranks", "[engine][ranks]") {
  // A half of zeros passes, though a rank has nothing else; a whole of nearly all does not.
  random_model golden("llama_halves");
  std::vector<float>& values = golden["model.layers.0.mlp.up_proj.weight"].values;
  std::fill_n(values.begin(), values.size() / 2, 0.0F);
  const auto refused = [&] {
    const stored_model stored(golden);
    std::vector<std::string> messages(2);
    on_ranks(2, [&](thread_group& group) {
      model opened(nibble::reader(stored.path()), {}, {&group, {}});
      messages[group.rank()] =
          broken_contract(contract_error::data_quality, [&] { opened.decoder().check_zeros(); });
    });
    CHECK(messages[0] == messages[1]);
    return messages[0];
  };
  CHECK(refused().empty());
  std::fill_n(values.begin(), values.size() - 5, 0.0F);
  CHECK(refused().find("up_proj") != std::string::npos);
}
