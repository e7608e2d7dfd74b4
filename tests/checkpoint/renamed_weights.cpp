#include <nibble/checkpoint/renamed_weights.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/interleaved_blocks.hpp>

#include <support/catch.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::naming;
using nibble::rename_weights;
using nibble::renamed_weight;
using nibble::renamed_weights;
using nibble_test::missing_in_error;
using nlohmann::json;

namespace {

/// Tensors in memory, by the order of add().
class model_in_memory {
 public:
  /// Random values as f32 or bf16; the same seed for the same name.
  void add(const std::string& name, const nibble::shape& dimensions, encoding which = encoding::f32) {
    std::uint32_t seed = 1;
    for (const char letter : name) seed = seed * 31 + static_cast<unsigned char>(letter);
    values_[name] = nibble_test::gaussian(static_cast<std::size_t>(dimensions.elements()), seed);
    std::vector<float>& values = values_[name];
    std::vector<std::byte>& bytes = bytes_[name];
    if (which == encoding::bf16) {
      for (float& value : values) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof(bits));
        bits &= 0xFFFF'0000U;
        std::memcpy(&value, &bits, sizeof(bits));
        bytes.push_back(static_cast<std::byte>(bits >> 16U & 0xFFU));
        bytes.push_back(static_cast<std::byte>(bits >> 24U));
      }
    } else {
      REQUIRE(which == encoding::f32);
      const auto stored = std::as_bytes(std::span(values));
      bytes.assign(stored.begin(), stored.end());
    }
    views_.emplace_back(bytes_.find(name)->first, which, dimensions, bytes);
  }
  /// Blocks of any bytes.
  void add_blocks(const std::string& name, const nibble::shape& dimensions, encoding which) {
    std::vector<std::byte>& bytes = bytes_[name];
    const auto size = nibble::stored_bytes(which, dimensions).value();
    for (std::uint64_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(i * 7 % 251));
    views_.emplace_back(bytes_.find(name)->first, which, dimensions, bytes);
  }

  [[nodiscard]] std::span<const nibble::tensor_view> tensors() const { return views_; }
  [[nodiscard]] const std::vector<float>& values(const std::string& name) const {
    return values_.at(name);
  }
  [[nodiscard]] const std::vector<std::byte>& bytes(const std::string& name) const {
    return bytes_.at(name);
  }

 private:
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, std::vector<std::byte>> bytes_;
  std::vector<nibble::tensor_view> views_;
};

const renamed_weight& weight_named(const renamed_weights& made, const std::string& name) {
  for (const renamed_weight& each : made.weights) {
    if (each.name == name) return each;
  }
  FAIL("no weight is named " << name);
  return made.weights.front();
}

/// All rows of a weight; asked for in two parts where there are several.
std::vector<float> values_of(const renamed_weight& weight) {
  const nibble::row_source rows = nibble::rows_of(weight);
  const auto cols = static_cast<std::size_t>(weight.shape.cols());
  const auto first = static_cast<std::size_t>(weight.shape.rows() / 2);
  std::vector<float> values(static_cast<std::size_t>(weight.shape.elements()));
  if (first != 0) rows(0, first, std::span(values).first(first * cols));
  rows(first, weight.shape.rows() - first, std::span(values).subspan(first * cols));
  return values;
}

/// All stored bytes of a weight that its blocks are moved into.
std::vector<std::byte> moved_bytes_of(const renamed_weight& weight) {
  const nibble::block_source blocks = nibble::moved_blocks_of(weight);
  REQUIRE(blocks);
  const auto size = nibble::stored_bytes(weight.parts.front().encoding(), weight.shape).value();
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  blocks(0, bytes);
  return bytes;
}

std::vector<std::byte> bytes_of_floats(const std::vector<float>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

/// numpy's w.reshape(heads, 2, rows / heads / 2, cols).swapaxes(1, 2).reshape(rows, cols).
template <class Element>
std::vector<Element> permuted_rows(const std::vector<Element>& from, std::size_t rows,
                                   std::size_t heads) {
  const std::size_t cols = from.size() / rows;
  const std::size_t half = rows / heads / 2;
  std::vector<Element> to;
  for (std::size_t head = 0; head < heads; ++head) {
    for (std::size_t i = 0; i < half; ++i) {
      for (std::size_t side = 0; side < 2; ++side) {
        const std::size_t row = (head * 2 + side) * half + i;
        to.insert(to.end(), from.begin() + static_cast<long>(row * cols),
                  from.begin() + static_cast<long>((row + 1) * cols));
      }
    }
  }
  return to;
}

std::vector<float> transpose_of(const std::vector<float>& from, std::size_t rows) {
  const std::size_t cols = from.size() / rows;
  std::vector<float> to;
  for (std::size_t col = 0; col < cols; ++col) {
    for (std::size_t row = 0; row < rows; ++row) to.push_back(from[row * cols + col]);
  }
  return to;
}

json facts(const char* architecture) {
  return {{"architecture", architecture}, {"num_heads", 4}, {"num_kv_heads", 2}, {"rope_type", 2}};
}

}  // namespace

TEST_CASE("a Llama's q and k are permuted, and nothing else", "[renamed_weights]") {
  model_in_memory model;
  const std::string layer = "model.layers.0.";
  model.add("model.embed_tokens.weight", {10, 16});
  model.add(layer + "self_attn.q_proj.weight", {32, 16});
  model.add(layer + "self_attn.k_proj.weight", {16, 16}, encoding::bf16);
  model.add(layer + "self_attn.v_proj.weight", {16, 16});
  model.add(layer + "self_attn.q_proj.bias", {32});
  model.add(layer + "input_layernorm.weight", {16}, encoding::bf16);
  const json metadata = facts("llama");
  const renamed_weights made = rename_weights(model.tensors(), metadata, naming::gguf);
  REQUIRE(made.weights.size() == 6);
  CHECK(made.left_out.empty());

  const renamed_weight& q = weight_named(made, "blk.0.attn_q.weight");
  const auto expected = permuted_rows(model.values(layer + "self_attn.q_proj.weight"), 32, 4);
  CHECK(values_of(q) == expected);
  CHECK(moved_bytes_of(q) == bytes_of_floats(expected));
  const renamed_weight& k = weight_named(made, "blk.0.attn_k.weight");
  CHECK(values_of(k) == permuted_rows(model.values(layer + "self_attn.k_proj.weight"), 16, 2));
  CHECK(moved_bytes_of(k) == permuted_rows(model.bytes(layer + "self_attn.k_proj.weight"), 16, 2));
  const renamed_weight& bias = weight_named(made, "blk.0.attn_q.bias");
  const auto expected_bias = permuted_rows(model.values(layer + "self_attn.q_proj.bias"), 32, 4);
  CHECK(values_of(bias) == expected_bias);
  CHECK(moved_bytes_of(bias) == bytes_of_floats(expected_bias));
  for (const char* const name :
       {"token_embd.weight", "blk.0.attn_v.weight", "blk.0.attn_norm.weight"}) {
    CAPTURE(name);
    CHECK(weight_named(made, name).is_as_stored());
  }
  CHECK(weight_named(made, "blk.0.attn_norm.weight").is_read_as_f32);
  CHECK(weight_named(made, "blk.0.attn_q.bias").is_read_as_f32);
  CHECK_FALSE(q.is_read_as_f32);

  SECTION("neighbours that turn together stay where they are") {
    json neighbours = metadata;
    neighbours["rope_type"] = 0;
    const renamed_weights kept = rename_weights(model.tensors(), neighbours, naming::gguf);
    for (const renamed_weight& each : kept.weights) CHECK(each.is_as_stored());
  }
  SECTION("other architectures keep them") {
    for (const char* const architecture : {"qwen2", "qwen3", "gemma2", "starcoder2"}) {
      CAPTURE(architecture);
      const renamed_weights kept = rename_weights(model.tensors(), facts(architecture), naming::gguf);
      CHECK(weight_named(kept, "blk.0.attn_q.weight").is_as_stored());
    }
    json neighbours = facts("qwen2");
    neighbours["rope_type"] = 0;
    CHECK(missing_in_error([&] { return rename_weights(model.tensors(), neighbours, naming::gguf); },
                           {"unsupported_feature", "rope_type"})
              .empty());
  }
  SECTION("heads that the rows are not made of") {
    json wrong = metadata;
    wrong["num_heads"] = 5;
    CHECK(missing_in_error([&] { return rename_weights(model.tensors(), wrong, naming::gguf); },
                           {"q_proj.weight", "bad_shape", "32x16", "5 heads"})
              .empty());
    wrong.erase("num_heads");
    CHECK(missing_in_error([&] { return rename_weights(model.tensors(), wrong, naming::gguf); },
                           {"bad_metadata", "num_heads"})
              .empty());
  }
}

TEST_CASE("rows of blocks are permuted bit for bit, and back", "[renamed_weights]") {
  for (const encoding which : {encoding::q4, encoding::q8_0, encoding::q4_k, encoding::apr_q4}) {
    CAPTURE(nibble::to_string(which));
    model_in_memory model;
    model.add_blocks("model.layers.1.self_attn.q_proj.weight", {16, 256}, which);
    const std::vector<std::byte>& stored = model.bytes("model.layers.1.self_attn.q_proj.weight");
    const renamed_weights made = rename_weights(model.tensors(), facts("llama"), naming::gguf);
    const std::vector<std::byte> moved = moved_bytes_of(weight_named(made, "blk.1.attn_q.weight"));
    CHECK(moved == permuted_rows(stored, 16, 4));

    const nibble::tensor_view there("blk.1.attn_q.weight", which, {16, 256}, moved);
    const renamed_weights back =
        rename_weights(std::span(&there, 1), facts("llama"), naming::hugging_face);
    CHECK(moved_bytes_of(weight_named(back, "model.layers.1.self_attn.q_proj.weight")) == stored);
  }
  // Rows that lie side by side are moved one by one, from group to group.
  for (const encoding which : {encoding::q4_r8, encoding::q8_r8}) {
    model_in_memory model;
    model.add_blocks("model.layers.1.self_attn.q_proj.weight", {16, 40}, which);
    const std::vector<std::byte>& stored = model.bytes("model.layers.1.self_attn.q_proj.weight");
    const renamed_weights made = rename_weights(model.tensors(), facts("llama"), naming::gguf);
    const std::vector<std::byte> moved = moved_bytes_of(weight_named(made, "blk.1.attn_q.weight"));
    const auto rows_in = [&](const std::vector<std::byte>& bytes) {
      const std::size_t unit = nibble::describe(which).block_bytes;
      const nibble::block_source blocks = [&](std::uint64_t first, std::span<std::byte> to) {
        const auto from = std::span(bytes).subspan(static_cast<std::size_t>(first) * unit, to.size());
        std::copy(from.begin(), from.end(), to.begin());
      };
      std::vector<std::byte> rows(bytes.size());
      nibble::separated_blocks(which, 40, blocks)(0, rows);
      return rows;
    };
    CHECK(rows_in(moved) == permuted_rows(rows_in(stored), 16, 4));
    const nibble::tensor_view there("blk.1.attn_q.weight", which, {16, 40}, moved);
    const renamed_weights back =
        rename_weights(std::span(&there, 1), facts("llama"), naming::hugging_face);
    CHECK(moved_bytes_of(weight_named(back, "model.layers.1.self_attn.q_proj.weight")) == stored);
  }
  // Blocks that hold elements of two rows cannot follow them.
  model_in_memory model;
  model.add_blocks("model.layers.1.self_attn.q_proj.weight", {16, 40}, encoding::apr_q4);
  const renamed_weights made = rename_weights(model.tensors(), facts("llama"), naming::gguf);
  CHECK_FALSE(nibble::moved_blocks_of(made.weights.front()));
}

TEST_CASE("GPT-2's matrices are transposed, its mask is left out", "[renamed_weights]") {
  model_in_memory model;
  for (const encoding which : {encoding::f32, encoding::bf16}) {
    const std::string layer = which == encoding::f32 ? "h.0." : "transformer.h.1.";
    model.add(layer + "attn.c_attn.weight", {8, 24}, which);
    model.add(layer + "attn.c_attn.bias", {24}, which);
    model.add(layer + "mlp.c_fc.weight", {8, 32}, which);
    model.add(layer + "mlp.c_proj.weight", {32, 8}, which);
    model.add(layer + "attn.bias", {1, 1, 4, 4});
    model.add(layer + "attn.masked_bias", {1});
  }
  model.add("wpe.weight", {4, 8});
  const renamed_weights made = rename_weights(model.tensors(), facts("gpt2"), naming::gguf);
  REQUIRE(made.left_out.size() == 4);
  CHECK(made.left_out[0].name == "h.0.attn.bias");
  CHECK(made.weights.size() == 9);
  CHECK(weight_named(made, "position_embd.weight").is_read_as_f32);
  CHECK(weight_named(made, "blk.0.attn_qkv.bias").is_as_stored());
  for (const auto& [name, source, rows] :
       {std::tuple<const char*, const char*, std::size_t>{"blk.0.attn_qkv.weight",
                                                          "h.0.attn.c_attn.weight", 8},
        {"blk.1.ffn_up.weight", "transformer.h.1.mlp.c_fc.weight", 8},
        {"blk.1.ffn_down.weight", "transformer.h.1.mlp.c_proj.weight", 32}}) {
    CAPTURE(name);
    const renamed_weight& weight = weight_named(made, name);
    const std::vector<float> expected = transpose_of(model.values(source), rows);
    CHECK(weight.shape == nibble::shape{expected.size() / rows, rows});
    CHECK(values_of(weight) == expected);
    if (weight.parts.front().encoding() == encoding::f32) {
      CHECK(moved_bytes_of(weight) == bytes_of_floats(expected));
    }
  }
  SECTION("blocks cannot be transposed") {
    model_in_memory packed;
    packed.add_blocks("h.0.attn.c_attn.weight", {32, 96}, encoding::q8_0);
    const renamed_weights other = rename_weights(packed.tensors(), facts("gpt2"), naming::gguf);
    CHECK_FALSE(nibble::moved_blocks_of(other.weights.front()));
    CHECK(missing_in_error([&] { static_cast<void>(nibble::rows_of(other.weights.front())); },
                           {"c_attn", "unsupported_encoding", "transposed"})
              .empty());
  }
  SECTION("what was transposed before is kept") {
    model_in_memory packed;
    packed.add_blocks("h.0.attn.c_attn.weight", {96, 32}, encoding::q8_0);
    packed.add_blocks("h.0.mlp.c_fc.weight", {128, 32}, encoding::q8_0);
    const renamed_weights other = rename_weights(packed.tensors(), facts("gpt2"), naming::gguf);
    for (const renamed_weight& each : other.weights) CHECK(each.is_as_stored());
  }
}

TEST_CASE("Gemma's gains are whole in GGUF", "[renamed_weights]") {
  model_in_memory model;
  model.add("model.norm.weight", {8}, encoding::bf16);
  model.add("model.layers.0.self_attn.q_norm.weight", {8}, encoding::bf16);
  model.add("model.layers.0.self_attn.q_proj.weight", {8, 8});
  const renamed_weights made = rename_weights(model.tensors(), facts("gemma3_text"), naming::gguf);
  std::vector<float> expected = model.values("model.norm.weight");
  for (float& value : expected) value += 1.0F;
  CHECK(values_of(weight_named(made, "output_norm.weight")) == expected);
  CHECK(weight_named(made, "blk.0.attn_q_norm.weight").added == 1.0F);
  CHECK(weight_named(made, "blk.0.attn_q.weight").is_as_stored());
  CHECK_FALSE(nibble::moved_blocks_of(weight_named(made, "output_norm.weight")));

  const nibble::tensor_view there("output_norm.weight", encoding::f32, {8},
                                  std::as_bytes(std::span(expected)));
  const renamed_weights back =
      rename_weights(std::span(&there, 1), facts("gemma3_text"), naming::hugging_face);
  const std::vector<float> values = values_of(weight_named(back, "model.norm.weight"));
  for (std::size_t i = 0; i < values.size(); ++i) CHECK(values[i] == expected[i] - 1.0F);
}

TEST_CASE("experts become one tensor, and single ones again", "[renamed_weights]") {
  model_in_memory model;
  const std::string layer = "model.layers.2.block_sparse_moe.";
  // In the order of names, in which 10 comes before 2.
  for (const char* const number : {"0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"}) {
    model.add(layer + "experts." + number + ".w1.weight", {4, 6});
  }
  model.add(layer + "gate.weight", {11, 6}, encoding::bf16);
  const renamed_weights made = rename_weights(model.tensors(), facts("mixtral"), naming::gguf);
  REQUIRE(made.weights.size() == 2);
  CHECK(weight_named(made, "blk.2.ffn_gate_inp.weight").is_read_as_f32);
  const renamed_weight& stacked = weight_named(made, "blk.2.ffn_gate_exps.weight");
  CHECK(stacked.shape == nibble::shape{11, 4, 6});
  std::vector<float> expected;
  for (int i = 0; i < 11; ++i) {
    const auto& one = model.values(layer + "experts." + std::to_string(i) + ".w1.weight");
    expected.insert(expected.end(), one.begin(), one.end());
  }
  CHECK(values_of(stacked) == expected);
  CHECK(moved_bytes_of(stacked) == bytes_of_floats(expected));

  const nibble::tensor_view there("blk.2.ffn_gate_exps.weight", encoding::f32, {11, 4, 6},
                                  std::as_bytes(std::span(expected)));
  const renamed_weights back =
      rename_weights(std::span(&there, 1), facts("mixtral"), naming::hugging_face);
  REQUIRE(back.weights.size() == 11);
  for (int i = 0; i < 11; ++i) {
    const std::string name = layer + "experts." + std::to_string(i) + ".w1.weight";
    CAPTURE(name);
    const renamed_weight& one = weight_named(back, name);
    CHECK(one.shape == nibble::shape{4, 6});
    CHECK(one.is_as_stored());
    CHECK(values_of(one) == model.values(name));
  }

  SECTION("one is missing") {
    std::vector<nibble::tensor_view> fewer;
    for (const nibble::tensor_view& each : model.tensors()) {
      if (each.name() != layer + "experts.7.w1.weight") fewer.push_back(each);
    }
    CHECK(missing_in_error(
              [&] {
                return rename_weights(std::span<const nibble::tensor_view>(fewer), facts("mixtral"),
                                      naming::gguf);
              },
              {layer + "experts.7.w1.weight", "no_such_tensor"})
              .empty());
  }
  SECTION("one is of another shape, or stored otherwise") {
    model.add(layer + "experts.11.w1.weight", {4, 7});
    CHECK(missing_in_error(
              [&] { return rename_weights(model.tensors(), facts("mixtral"), naming::gguf); },
              {"experts.11.w1", "bad_shape", "4x7", "4x6"})
              .empty());
    model_in_memory mixed;
    mixed.add(layer + "experts.0.w1.weight", {4, 6});
    mixed.add(layer + "experts.1.w1.weight", {4, 6}, encoding::bf16);
    CHECK(missing_in_error(
              [&] { return rename_weights(mixed.tensors(), facts("mixtral"), naming::gguf); },
              {"experts.1.w1", "unsupported_encoding", "bf16", "f32"})
              .empty());
  }
  SECTION("Qwen's") {
    model_in_memory qwen;
    qwen.add("model.layers.0.mlp.experts.0.up_proj.weight", {4, 6});
    qwen.add("model.layers.0.mlp.experts.1.up_proj.weight", {4, 6});
    qwen.add("model.layers.0.mlp.shared_expert.up_proj.weight", {4, 6});
    qwen.add("model.layers.0.mlp.shared_expert_gate.weight", {1, 6});
    const renamed_weights named = rename_weights(qwen.tensors(), facts("qwen2_moe"), naming::gguf);
    CHECK(weight_named(named, "blk.0.ffn_up_exps.weight").parts.size() == 2);
    CHECK(weight_named(named, "blk.0.ffn_up_shexp.weight").is_as_stored());
    CHECK(weight_named(named, "blk.0.ffn_gate_inp_shexp.weight").is_read_as_f32);
  }
}

TEST_CASE("Falcon's groups are taken apart", "[renamed_weights]") {
  // Two groups of two heads of q, one of k and one of v, each of three rows.
  model_in_memory model;
  model.add("transformer.h.0.self_attention.query_key_value.weight", {24, 5});
  const renamed_weights made = rename_weights(model.tensors(), facts("falcon"), naming::gguf);
  const std::vector<float>& stored =
      model.values("transformer.h.0.self_attention.query_key_value.weight");
  std::vector<float> expected;
  for (const std::size_t head : {0U, 1U, 4U, 5U, 2U, 6U, 3U, 7U}) {
    expected.insert(expected.end(), stored.begin() + static_cast<long>(head * 15),
                    stored.begin() + static_cast<long>(head * 15 + 15));
  }
  CHECK(values_of(made.weights.front()) == expected);
  CHECK(moved_bytes_of(made.weights.front()) == bytes_of_floats(expected));
  const nibble::tensor_view there("blk.0.attn_qkv.weight", encoding::f32, {24, 5},
                                  std::as_bytes(std::span(expected)));
  const renamed_weights back =
      rename_weights(std::span(&there, 1), facts("falcon"), naming::hugging_face);
  CHECK(values_of(back.weights.front()) == stored);
}

TEST_CASE("a head that is the embedding once more is left out", "[renamed_weights]") {
  std::vector<float> values = nibble_test::gaussian(40, 3);
  std::vector<float> others = nibble_test::gaussian(40, 4);
  std::vector<nibble::tensor_view> tensors = {
      {"lm_head.weight", encoding::f32, {10, 4}, std::as_bytes(std::span(values))},
      {"model.embed_tokens.weight", encoding::f32, {10, 4}, std::as_bytes(std::span(values))}};
  json metadata = facts("gemma");
  const auto heads = [&] {
    std::size_t count = 0;
    for (const renamed_weight& each :
         rename_weights(std::span<const nibble::tensor_view>(tensors), metadata, naming::gguf)
             .weights) {
      count += each.name == "output.weight" ? 1U : 0U;
    }
    return count;
  };
  CHECK(heads() == 1);
  metadata["tie_word_embeddings"] = true;
  CHECK(heads() == 0);
  tensors[0] = {"lm_head.weight", encoding::f32, {10, 4}, std::as_bytes(std::span(others))};
  CHECK(heads() == 1);
}

TEST_CASE("stretched angles are a tensor on one side", "[renamed_weights]") {
  model_in_memory model;
  model.add("model.norm.weight", {8});
  json metadata = facts("llama");
  metadata["head_dim"] = 8;
  metadata["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}};
  const renamed_weights made = rename_weights(model.tensors(), metadata, naming::gguf);
  const renamed_weight& divisors = weight_named(made, "rope_freqs.weight");
  CHECK(divisors.shape == nibble::shape{4});
  CHECK(values_of(divisors) == divisors.computed);
  CHECK(divisors.computed.front() == 1.0F);
  CHECK_FALSE(nibble::moved_blocks_of(divisors));

  const nibble::tensor_view there("rope_freqs.weight", encoding::f32, {4},
                                  std::as_bytes(std::span(divisors.computed)));
  CHECK(rename_weights(std::span(&there, 1), metadata, naming::hugging_face).left_out.size() == 1);
  CHECK(missing_in_error(
            [&] { return rename_weights(std::span(&there, 1), facts("llama"), naming::hugging_face); },
            {"rope_freqs.weight", "bad_name"})
            .empty());
}

TEST_CASE("a tensor without another name is refused by its own", "[renamed_weights]") {
  model_in_memory model;
  model.add("model.norm.weight", {8});
  model.add("model.layers.0.mlp.something.weight", {8, 8});
  CHECK(missing_in_error([&] { return rename_weights(model.tensors(), facts("llama"), naming::gguf); },
                         {"model.layers.0.mlp.something.weight", "bad_name", "GGUF", "llama"})
            .empty());
  CHECK(nibble::has_hugging_face_names(model.tensors(), facts("llama")));
  CHECK_FALSE(nibble::has_hugging_face_names(model.tensors(), facts("nobody's")));
  model_in_memory other;
  other.add("output_norm.weight", {8});
  CHECK_FALSE(nibble::has_hugging_face_names(other.tensors(), facts("llama")));
}
