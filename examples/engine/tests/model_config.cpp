#include <engine/model_config.hpp>

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/errors.hpp>

#include "random_model.hpp"
#include "says.hpp"

using nibble::error_code;
using nibble_engine::model_config;
using nibble_engine::read_config;
using nibble_engine::rotary_pairs;
using nibble_engine_test::random_model;
using nibble_engine_test::says;
using nlohmann::json;

namespace {

json flat_of(const std::string& name) { return random_model(name).metadata; }
json gguf_of(const std::string& name) { return nibble_engine_test::gguf_metadata(random_model(name)); }

json with(json metadata, const json& patch) {
  metadata.update(patch);
  return metadata;
}

std::optional<nibble::error> refusal(const json& metadata) {
  return nibble_test::error_of([&] { static_cast<void>(read_config(metadata, "some.file")); });
}

}  // namespace

TEST_CASE("a model's shape is read from flat keys and from GGUF's", "[engine]") {
  for (const bool is_gguf : {false, true}) {
    const model_config halves =
        read_config(is_gguf ? gguf_of("llama_halves") : flat_of("llama_halves"), "f");
    CHECK(halves.architecture == nibble_engine::architecture::llama);
    CHECK(halves.layers == 3);
    CHECK(halves.hidden == 36);
    CHECK(halves.heads == 6);
    CHECK(halves.key_value_heads == 2);
    CHECK(halves.head_dim == 10);
    CHECK(halves.query_elements() == 60);
    CHECK(halves.key_value_elements() == 20);
    CHECK(halves.feed_forward == 49);
    CHECK(halves.vocabulary == (is_gguf ? 0 : 61));
    CHECK(halves.context == 32);
    CHECK(halves.norm_epsilon == 0.002);
    CHECK(halves.pairs == (is_gguf ? rotary_pairs::adjacent : rotary_pairs::halves));
    REQUIRE(halves.rotary_frequencies.size() == 5);
    CHECK(halves.rotary_frequencies[0] == 1.0);
    CHECK(std::abs(halves.rotary_frequencies[3] - std::pow(500.0, -0.6)) < 1e-15);

    const model_config qwen2 = read_config(is_gguf ? gguf_of("qwen2") : flat_of("qwen2"), "f");
    CHECK(qwen2.architecture == nibble_engine::architecture::qwen2);
    CHECK(qwen2.pairs == rotary_pairs::halves);
    CHECK(qwen2.head_dim == 14);
    CHECK(qwen2.key_value_heads == 1);

    const model_config gpt2 = read_config(is_gguf ? gguf_of("gpt2") : flat_of("gpt2"), "f");
    CHECK(gpt2.architecture == nibble_engine::architecture::gpt2);
    CHECK(gpt2.feed_forward == 101);
    CHECK(gpt2.rotary_frequencies.empty());
    CHECK(gpt2.norm_epsilon == 0.001);
  }
  CHECK(read_config(flat_of("llama_adjacent"), "f").pairs == rotary_pairs::adjacent);
  CHECK(read_config(flat_of("llama_adjacent"), "f").has_own_head);
  CHECK_FALSE(read_config(flat_of("llama_halves"), "f").has_own_head);
  CHECK_FALSE(read_config(gguf_of("llama_adjacent"), "f").has_own_head);
}

TEST_CASE("keys that may be missing have their defaults", "[engine]") {
  json flat = flat_of("llama_adjacent");
  for (const char* const key : {"num_kv_heads", "head_dim", "rope_theta", "rope_type", "vocab_size"}) {
    flat.erase(key);
  }
  const model_config config = read_config(flat, "f");
  CHECK(config.key_value_heads == 4);
  CHECK(config.head_dim == 10);
  CHECK(config.vocabulary == 0);
  CHECK(config.pairs == rotary_pairs::halves);
  CHECK(std::abs(config.rotary_frequencies[1] - std::pow(10'000.0, -0.2)) < 1e-15);
  json gpt2 = flat_of("gpt2");
  gpt2.erase("intermediate_size");
  gpt2["num_kv_heads"] = nullptr;
  CHECK(read_config(gpt2, "f").feed_forward == 4 * 39);
}

TEST_CASE("each key that is missing, out of range or of another type is named", "[engine]") {
  const json infinity = std::numeric_limits<double>::infinity();
  const json nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<json> no_counts{0,
                                    -1,
                                    2.5,
                                    "4",
                                    json::array({4}),
                                    true,
                                    (1U << 30U) + 1U,
                                    std::numeric_limits<std::uint64_t>::max(),
                                    infinity,
                                    nan,
                                    json::object()};
  const std::vector<json> no_numbers{0, -1e-5, "1e-5", json::array({1}), true, infinity, nan};
  for (const std::string& name : nibble_engine_test::random_model_names()) {
    for (const bool is_gguf : {false, true}) {
      const json whole = is_gguf ? gguf_of(name) : flat_of(name);
      REQUIRE_FALSE(refusal(whole));
      for (const auto& [key, value] : whole.items()) {
        if (key.ends_with("architecture") || key == "rope_type" || key == "tie_word_embeddings")
          continue;
        const bool is_count = value.is_number_integer();
        CAPTURE(name, key);
        const bool is_of_gpt2 = name == "gpt2";
        for (const json& wrong : is_count ? no_counts : no_numbers) {
          CAPTURE(wrong.dump());
          CHECK(says(refusal(with(whole, {{key, wrong}})), error_code::bad_metadata, "metadata." + key,
                     "some.file", is_count ? "a whole number from 1 to" : "a finite number above 0"));
        }
        json without = whole;
        without.erase(key);
        const bool may_miss =
            key.ends_with("kv_heads") || key.ends_with("head_count_kv") || key.ends_with("head_dim") ||
            key.ends_with("key_length") || key.ends_with("rope_theta") || key.ends_with("freq_base") ||
            key == "vocab_size" ||
            (is_of_gpt2 && (key == "intermediate_size" || key.ends_with("feed_forward_length")));
        if (!may_miss) {
          CHECK(says(refusal(without), error_code::bad_metadata, "metadata." + key, "found nothing"));
        }
      }
    }
  }
  for (const json& wrong : {json(nullptr), json::array(), json("text"), json::object(),
                            json{{"architecture", 3}}, json{{"architecture", nullptr}}}) {
    CHECK(says(refusal(wrong), error_code::bad_metadata, "architecture"));
  }
}

TEST_CASE("counts that contradict each other are refused", "[engine]") {
  const json llama = flat_of("llama_adjacent");
  const auto bad = error_code::bad_metadata;
  CHECK(says(refusal(with(llama, {{"num_kv_heads", 3}})), bad, "num_heads", "4", "a multiple of 3"));
  CHECK(says(refusal(with(llama, {{"num_kv_heads", 8}})), bad, "num_heads", "a multiple of 8"));
  CHECK(says(refusal(with(llama, {{"head_dim", 7}})), bad, "head_dim", "7", "even"));
  CHECK(says(refusal(with(llama, {{"num_heads", 64}})), bad, "head_dim", "0"));
  CHECK(says(refusal(with(llama, {{"head_dim", 1U << 30U}})), bad, "head_dim", "1073741824"));
  CHECK(says(refusal(with(llama, {{"hidden_size", 1U << 30U}, {"num_heads", 1}, {"num_kv_heads", 1}})),
             bad, "head_dim", "1073741824"));
  CHECK(says(refusal(with(llama, {{"rope_type", 1}})), bad, "rope_type", "0 or 2"));
  CHECK(says(refusal(with(llama, {{"rope_type", "2"}})), bad, "rope_type", "0 or 2"));

  // GPT-2's one matrix leaves no room for other widths.
  const json gpt2 = flat_of("gpt2");
  CHECK(says(refusal(with(gpt2, {{"num_kv_heads", 1}})), bad, "num_kv_heads", "1", "3"));
  CHECK(says(refusal(with(gpt2, {{"head_dim", 26}})), bad, "num_heads", "26", "39"));
  CHECK(says(refusal(with(gpt2, {{"num_heads", 2}, {"num_kv_heads", 2}})), bad, "num_heads", "39"));
}

TEST_CASE("what the engine does not do is refused, not left out", "[engine]") {
  const json llama = flat_of("llama_halves");
  const json gpt2 = flat_of("gpt2");
  const auto lacks = error_code::unsupported_feature;
  CHECK(says(refusal(with(llama, {{"architecture", "mamba"}})), lacks, "architecture", "mamba"));
  CHECK(says(refusal(with(llama, {{"use_sliding_window", true}})), lacks, "use_sliding_window"));
  CHECK(says(refusal(with(llama, {{"hidden_act", "gelu"}})), lacks, "hidden_act", "gelu"));
  CHECK(says(refusal(with(gpt2, {{"activation_function", "relu"}})), lacks, "activation_function"));
  CHECK(says(refusal(with(gpt2, {{"activation_function", "gelu"}})), lacks, "activation_function"));
  CHECK(says(refusal(with(gpt2, {{"scale_attn_weights", false}})), lacks, "scale_attn_weights"));
  CHECK(says(refusal(with(gpt2, {{"scale_attn_by_inverse_layer_idx", true}})), lacks, "inverse_layer"));
  CHECK(says(refusal(with(llama, {{"rotary_dim", 4}})), lacks, "rotary_dim", "4", "10"));
  for (const char* const kind : {"yarn", "dynamic", "longrope"}) {
    CHECK(says(refusal(with(llama, {{"rope_scaling", {{"rope_type", kind}, {"factor", 2.0}}}})), lacks,
               "rope_scaling", kind));
    CHECK(says(refusal(with(llama, {{"rope_scaling", {{"type", kind}, {"factor", 2.0}}}})), lacks,
               "rope_scaling", kind));
    CHECK(says(refusal(with(gguf_of("qwen2"), {{"qwen2.rope.scaling.type", kind}})), lacks, kind));
  }
  for (const json& fine :
       {json{{"use_sliding_window", false}}, json{{"hidden_act", "silu"}},
        json{{"rope_scaling", nullptr}}, json{{"rope_scaling", {{"rope_type", "default"}}}},
        json{{"rotary_dim", 10}}}) {
    CAPTURE(fine.dump());
    CHECK_FALSE(refusal(with(llama, fine)));
  }
  CHECK_FALSE(refusal(with(gpt2, {{"activation_function", "gelu_new"}, {"scale_attn_weights", true}})));
}

TEST_CASE("linear scaling divides all angles", "[engine]") {
  const json llama = flat_of("llama_halves");
  const std::vector<double> plain = read_config(llama, "f").rotary_frequencies;
  for (const json& patch : {json{{"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}}},
                            json{{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}}}) {
    const std::vector<double> scaled = read_config(with(llama, patch), "f").rotary_frequencies;
    for (std::size_t i = 0; i < plain.size(); ++i) CHECK(std::abs(scaled[i] * 4.0 - plain[i]) < 1e-15);
  }
  const model_config gguf =
      read_config(with(gguf_of("llama_halves"),
                       {{"llama.rope.scaling.type", "linear"}, {"llama.rope.scaling.factor", 4.0}}),
                  "f");
  CHECK(std::abs(gguf.rotary_frequencies[2] * 4.0 - plain[2]) < 1e-15);
}

// The values are Llama 3.1's reference code written out for wavelengths: those above context / low are
// divided, those below context / high are kept, those between are mixed.
TEST_CASE("Llama 3's scaling divides slow angles, keeps quick ones and mixes the others", "[engine]") {
  json metadata = flat_of("llama_halves");
  metadata.update({{"head_dim", 64}, {"rope_theta", 500000.0}});
  const std::vector<double> plain = read_config(metadata, "f").rotary_frequencies;
  metadata["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 32.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192}};
  const std::vector<double> scaled = read_config(metadata, "f").rotary_frequencies;
  REQUIRE(scaled.size() == 32);
  int kept = 0;
  int divided = 0;
  int mixed = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    const double wavelength = 2.0 * std::numbers::pi / plain[i];
    double expected = plain[i];
    if (wavelength > 8192.0 / 1.0) {
      expected = plain[i] / 32.0;
      ++divided;
    } else if (wavelength >= 8192.0 / 4.0) {
      const double smooth = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
      expected = (1.0 - smooth) * plain[i] / 32.0 + smooth * plain[i];
      ++mixed;
    } else {
      ++kept;
    }
    CAPTURE(i);
    CHECK(std::abs(scaled[i] - expected) <= 1e-14 * expected);
  }
  CHECK(kept > 5);
  CHECK(divided > 5);
  CHECK(mixed > 1);
}

TEST_CASE("scaling that divides by nothing or by what is no number is refused", "[engine]") {
  const json llama = flat_of("llama_halves");
  const auto scaled = [&](const json& record) {
    return refusal(with(llama, {{"rope_scaling", record}}));
  };
  const auto bad = error_code::bad_metadata;
  CHECK(says(scaled({{"rope_type", "linear"}, {"factor", 0}}), bad, "rope_scaling.factor"));
  CHECK(says(scaled({{"rope_type", "linear"}, {"factor", -2}}), bad, "rope_scaling.factor"));
  CHECK(says(scaled({{"rope_type", "linear"}, {"factor", "2"}}), bad, "rope_scaling.factor"));
  CHECK(says(scaled({{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4.0}}), bad,
             "high_freq_factor"));
  CHECK(says(scaled({{"rope_type", "llama3"}, {"original_max_position_embeddings", 0}}), bad,
             "original_max_position_embeddings"));
  CHECK(says(scaled("linear"), bad, "rope_scaling", "an object"));
  CHECK(says(scaled({{"rope_type", 3}}), error_code::unsupported_feature, "rope_scaling", "3"));
}

TEST_CASE("a safetensors file's values are what their text says", "[engine]") {
  const json parsed = nibble_engine::parsed_values({{"hidden_size", "64"},
                                                    {"architecture", "llama"},
                                                    {"list", "[1, 2]"},
                                                    {"kept", 5},
                                                    {"bad", "[1"}});
  CHECK(parsed == json{{"hidden_size", 64},
                       {"architecture", "llama"},
                       {"list", {1, 2}},
                       {"kept", 5},
                       {"bad", "[1"}});
}
