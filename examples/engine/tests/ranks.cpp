#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include <engine/generate.hpp>
#include <engine/rank_sums.hpp>
#include <engine/row_split.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/source_reader.hpp>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/noted_source.hpp>
#include <support/random_values.hpp>

#include "random_model.hpp"
#include "says.hpp"
#include "thread_group.hpp"

using namespace nibble_engine_test;
using nibble_engine::contract_error;
using nibble_engine::cut;
using nibble_engine::final_cut;
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
                                 std::size_t step, final_cut how = final_cut::rows) {
  std::vector<float> logits;
  on_ranks(shares.size(), [&](thread_group& group) {
    model opened(nibble::reader(stored.path()), options, {&group, shares, how});
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

/// A Qwen2 whose heads and inner activations are whole blocks of 32, seven of them inside, and a GPT-2.
random_model wide_model(const std::string& architecture) {
  random_model made(architecture);
  made.tensors.clear();
  constexpr std::uint64_t hidden = 128;
  constexpr std::uint64_t inner = 224;
  const std::uint64_t vocabulary = made.metadata.at("vocab_size");
  made.metadata["hidden_size"] = hidden;
  made.metadata["intermediate_size"] = inner;
  made.metadata["num_heads"] = 4;
  const auto add = [&](const std::string& name, const std::vector<std::uint64_t>& shape) {
    const bool is_gain = name.find("norm.weight") != std::string::npos ||
                         (name.find("ln_") != std::string::npos && name.ends_with("weight"));
    made.add(name, shape, is_gain ? 1.0 : 0.0, 1.0 / 2048);
  };
  const auto add_with_bias = [&](const std::string& name, const std::vector<std::uint64_t>& shape,
                                 std::uint64_t outputs) {
    add(name + ".weight", shape);
    add(name + ".bias", {outputs});
  };
  if (architecture == "gpt2") {
    made.metadata["num_kv_heads"] = 4;
    const std::uint64_t context = made.metadata.at("max_position_embeddings");
    add("wte.weight", {vocabulary, hidden});
    add("wpe.weight", {context, hidden});
    add_with_bias("ln_f", {hidden}, hidden);
    for (const std::string layer : {"h.0.", "h.1."}) {
      add_with_bias(layer + "ln_1", {hidden}, hidden);
      add_with_bias(layer + "ln_2", {hidden}, hidden);
      add_with_bias(layer + "attn.c_attn", {hidden, 3 * hidden}, 3 * hidden);
      add_with_bias(layer + "attn.c_proj", {hidden, hidden}, hidden);
      add_with_bias(layer + "mlp.c_fc", {hidden, inner}, inner);
      add_with_bias(layer + "mlp.c_proj", {inner, hidden}, hidden);
    }
    return made;
  }
  made.metadata["num_kv_heads"] = 2;
  constexpr std::uint64_t key_values = 64;
  add("model.embed_tokens.weight", {vocabulary, hidden});
  add("lm_head.weight", {vocabulary, hidden});
  add("model.norm.weight", {hidden});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    add(layer + "input_layernorm.weight", {hidden});
    add(layer + "post_attention_layernorm.weight", {hidden});
    add_with_bias(layer + "self_attn.q_proj", {hidden, hidden}, hidden);
    add_with_bias(layer + "self_attn.k_proj", {key_values, hidden}, key_values);
    add_with_bias(layer + "self_attn.v_proj", {key_values, hidden}, key_values);
    add(layer + "self_attn.o_proj.weight", {hidden, hidden});
    add(layer + "mlp.gate_proj.weight", {inner, hidden});
    add(layer + "mlp.up_proj.weight", {inner, hidden});
    add(layer + "mlp.down_proj.weight", {hidden, inner});
  }
  return made;
}

/// What ranks did in a run of some tokens.
struct spread_account {
  std::vector<std::uint64_t> messages{};
  std::uint64_t bytes = 0;         ///< that all ranks sent
  std::uint64_t weight_bytes = 0;  ///< of all ranks
};
spread_account account_of(const stored_model& stored, std::size_t ranks, const token_ids& tokens,
                          final_cut how) {
  spread_account account{std::vector<std::uint64_t>(ranks)};
  std::mutex together;
  on_ranks(ranks, [&](thread_group& group) {
    model opened(nibble::reader(stored.path()), {}, {&group, {}, how});
    if (group.rank() == 0) {
      static_cast<void>(logits_of(opened, tokens, 1));
      opened.decoder().dismiss();
    } else {
      opened.decoder().follow();
    }
    const std::lock_guard lock(together);
    account.messages[group.rank()] = group.traffic().messages;
    account.bytes += group.traffic().bytes;
    account.weight_bytes += opened.decoder().weight_bytes();
  });
  return account;
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

TEST_CASE("inputs that are cut by columns are cut between blocks", "[engine][ranks]") {
  nibble_engine::model_config config;
  config.heads = 8;
  config.key_value_heads = 2;
  config.head_dim = 16;
  config.feed_forward = 1000;
  const auto parts_of = [&](const std::vector<std::uint64_t>& shares, std::size_t attended,
                            std::size_t feed_forward) {
    const auto split = split_rows(config, shares, {attended, feed_forward});
    CHECK(split.attended.back().end() == 128);
    CHECK(split.feed_forward.back().end() == 1000);
    return std::pair(split.attended, split.feed_forward);
  };
  using parts = std::vector<part>;
  CHECK(parts_of({1, 1}, 32, 32) == std::pair(parts{{0, 64}, {64, 64}}, parts{{0, 512}, {512, 488}}));
  // More ranks than heads of keys and values: a rank's heads are whole blocks, where all have some.
  CHECK(parts_of({1, 1, 1}, 32, 256) ==
        std::pair(parts{{0, 32}, {32, 64}, {96, 32}}, parts{{0, 256}, {256, 256}, {512, 488}}));
  CHECK(parts_of({1, 1, 1}, 1, 1) ==
        std::pair(parts{{0, 48}, {48, 32}, {80, 48}}, parts{{0, 333}, {333, 334}, {667, 333}}));
  // Blocks too few for all ranks leave it at rows.
  CHECK(parts_of({1, 1, 1, 1}, 64, 256).second == parts{{0, 250}, {250, 250}, {500, 250}, {750, 250}});
  CHECK(parts_of({1, 1, 1, 1}, 64, 256).first == parts{{0, 32}, {32, 32}, {64, 32}, {96, 32}});
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

TEST_CASE("sums over ranks are added in the order of ranks, whatever is sent how", "[engine][ranks]") {
  for (const std::size_t ranks : {1U, 2U, 3U, 7U}) {
    // Few values go to all, many in parts.
    for (const std::size_t count : {0U, 1U, 5U, 300U, 40'001U}) {
      std::vector<std::vector<float>> values;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        // Of magnitudes so far apart that another order is another sum.
        values.push_back(nibble_test::gaussian(count, static_cast<std::uint32_t>(rank + 1), 1.0F));
        for (std::size_t i = 0; i < count; ++i) {
          values.back()[i] = std::ldexp(values.back()[i], static_cast<int>((i + rank * 5) % 24));
        }
      }
      std::vector<float> expected = values[0];
      for (std::size_t rank = 1; rank < ranks; ++rank) {
        for (std::size_t i = 0; i < count; ++i) expected[i] += values[rank][i];
      }
      std::vector<std::uint64_t> messages(ranks);
      std::vector<std::vector<float>> sums = values;
      on_ranks(ranks, [&](thread_group& group) {
        nibble_engine::rank_sums adds;
        adds.add(group, sums[group.rank()]);
        messages[group.rank()] = group.traffic().messages;
      });
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        CAPTURE(ranks, count, rank);
        CHECK(bits_of(sums[rank]) == bits_of(expected));
        const bool is_in_parts = ranks > 2 && count == 40'001U;
        CHECK(messages[rank] == (ranks == 1 || count == 0 ? 0U : is_in_parts ? 2U : 1U));
      }
    }
  }
}

TEST_CASE("a cut by columns differs from one rank by rounding, and repeats bit for bit",
          "[engine][ranks]") {
  using nibble::encoding;
  using nibble::matmul_mode;
  const auto check_model = [](const random_model& golden, const nibble_engine_test::storage& how,
                              bool is_always_cut) {
    const stored_model stored(golden, how);
    model exact_model = stored.open({});
    const std::vector<float> exact = logits_of(exact_model, golden.tokens, 5);
    std::size_t changed = 0;
    for (const auto mode : {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8}) {
      for (const bool repack : {false, true}) {
        if (repack && mode == matmul_mode::exact) continue;
        const product_options options{.mode = mode, .repack = repack};
        model alone = stored.open(options);
        const std::vector<float> expected = logits_of(alone, golden.tokens, 5);
        // Rounding, and beyond it no more than what quantized activations cost: where a sum rounds
        // otherwise, a code of what follows may be the next.
        const double bound = 1e-5 + relative_difference(std::span(expected), exact);
        for (const std::vector<std::uint64_t>& shares : std::vector<std::vector<std::uint64_t>>{
                 {1, 1}, {1, 1, 1}, {3, 1}, {1, 9, 2, 2, 1, 1, 5}}) {
          CAPTURE(nibble::to_string(how.matrices), nibble::to_string(mode), repack, shares.size());
          const auto found =
              spread_logits(stored, options, shares, golden.tokens, 5, final_cut::columns);
          CHECK(relative_difference(std::span(found), expected) <= bound);
          CHECK(bits_of(found) ==
                bits_of(spread_logits(stored, options, shares, golden.tokens, 5, final_cut::columns)));
          changed += bits_of(found) == bits_of(expected) ? 0U : 1U;
        }
      }
    }
    CAPTURE(nibble::to_string(how.matrices));
    CHECK((changed != 0) == is_always_cut);
  };
  for (const std::string& name : random_model_names()) check_model(random_model(name), {}, true);
  for (const auto each : {encoding::f32, encoding::q4, encoding::q8, encoding::q8_0, encoding::q4_0,
                          encoding::bf16, encoding::apr_q4}) {
    check_model(wide_model("qwen2"), {.matrices = each}, true);
  }
  // What has no columns of its own is cut by rows.
  check_model(wide_model("qwen2"), {.matrices = encoding::apr_q8}, false);
  check_model(wide_model("gpt2"), {}, true);
  check_model(wide_model("gpt2"), {.matrices = encoding::q8, .has_gguf_names = true}, true);
}

TEST_CASE("a cut by columns takes two messages a block less, and the same weights", "[engine][ranks]") {
  const random_model golden = wide_model("qwen2");
  const stored_model stored(golden, {.matrices = nibble::encoding::q4});
  const std::uint64_t layers = golden.metadata.at("num_layers");
  const std::uint64_t whole = stored.open().decoder().weight_bytes();
  for (const std::size_t ranks : {2U, 4U}) {
    const spread_account rows = account_of(stored, ranks, golden.tokens, final_cut::rows);
    const spread_account columns = account_of(stored, ranks, golden.tokens, final_cut::columns);
    const std::uint64_t runs = golden.tokens.size();
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      CAPTURE(ranks, rank);
      CHECK(rows.messages[rank] == runs * (4 * layers + 4) + 1);
      CHECK(columns.messages[rank] == runs * (2 * layers + 4) + 1);
    }
    // With four ranks keys and values are on two each.
    if (ranks == 2) {
      CHECK(rows.weight_bytes == whole);
      CHECK(columns.weight_bytes == whole);
    }
    CHECK(rows.weight_bytes == columns.weight_bytes);
    // Of a block's four activations, 128, 128, 224 and 128 long, ranks send each part of theirs to the
    // others; of its two sums all 128 of each.
    CHECK(rows.bytes - columns.bytes == 4 * runs * layers * (ranks - 1) * (608 - 2 * 128 * ranks));
  }
}

TEST_CASE("a long prompt's sums, in parts, stay near one rank's", "[engine][ranks]") {
  random_model golden = wide_model("qwen2");
  golden.widen_context(400);
  const stored_model stored(golden, {.matrices = nibble::encoding::q8});
  token_ids prompt;
  for (std::uint32_t i = 0; i < 300; ++i) prompt.push_back(i * 7 % 61);
  model alone = stored.open();
  const std::vector<float> expected = logits_of(alone, prompt, 300);
  const std::vector<std::uint64_t> shares(4, 1);
  const auto found = spread_logits(stored, {}, shares, prompt, 300, final_cut::columns);
  CHECK(relative_difference(std::span(found), expected) <= 1e-5);
  CHECK(bits_of(found) == bits_of(spread_logits(stored, {}, shares, prompt, 300, final_cut::columns)));
}

TEST_CASE("a weight's zeros are counted over all columns", "[engine][ranks]") {
  random_model golden = wide_model("qwen2");
  std::vector<float>& values = golden["model.layers.1.mlp.down_proj.weight"].values;
  // The first rank has nothing but zeros, and all together half of them: that passes.
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % 224 < 112) values[i] = 0.0F;
  }
  const auto refused = [&] {
    const stored_model stored(golden, {.matrices = nibble::encoding::f32});
    std::vector<std::string> messages(2);
    on_ranks(2, [&](thread_group& group) {
      model opened(nibble::reader(stored.path()), {}, {&group, {}, final_cut::columns});
      messages[group.rank()] =
          broken_contract(contract_error::data_quality, [&] { opened.decoder().check_zeros(); });
    });
    CHECK(messages[0] == messages[1]);
    return messages[0];
  };
  CHECK(refused().empty());
  std::fill_n(values.begin(), values.size() - 5, 0.0F);
  CHECK(refused().find("down_proj") != std::string::npos);
}

TEST_CASE("ranks that read ranges of a source load no byte of others' rows", "[engine][ranks]") {
  const random_model golden = wide_model("qwen2");
  const nibble_engine::model_config config = [&] {
    const stored_model stored(golden);
    return stored.open().config();
  }();
  for (const auto encoding : {nibble::encoding::f32, nibble::encoding::q4, nibble::encoding::q8_0}) {
    const stored_model stored(golden, {.matrices = encoding});
    const nibble_test::noted_source source(nibble_test::read_file(stored.path()));
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    const nibble::source_reader whole(source);
    const nibble::loaded_tensor all = whole.load(name);
    constexpr std::size_t rows = 3;
    const auto x = nibble_test::gaussian(rows * config.hidden, 11, 1.0F);
    std::vector<float> expected(rows * config.feed_forward);
    nibble::matmul(all.view(), x, expected);

    const std::vector<std::uint64_t> shares{3, 1, 2};
    const nibble_engine::row_split split = split_rows(config, shares);
    std::uint64_t read_by_all = 0;
    for (const part& own : split.feed_forward) {
      // A rank opens the source for itself, and reads no tensor for that.
      static_cast<void>(source.take_count());
      const nibble::source_reader opened(source);
      CHECK(source.take_count() < all.view().file_offset_bytes());
      const nibble::loaded_tensor loaded = opened.load_rows(name, own.first, own.count);
      const std::uint64_t read = source.take_count();
      CHECK(read == own.count * all.view().row_stride_bytes());
      read_by_all += read;
      std::vector<float> y(rows * own.count);
      nibble::matmul(loaded.view(), x, y);
      for (std::size_t row = 0; row < rows; ++row) {
        const std::span<const float> found(&y[row * own.count], own.count);
        const std::span<const float> wanted(&expected[row * config.feed_forward + own.first],
                                            own.count);
        CHECK(bits_of({found.begin(), found.end()}) == bits_of({wanted.begin(), wanted.end()}));
      }
    }
    CHECK(read_by_all == all.view().size_bytes());
  }
}
