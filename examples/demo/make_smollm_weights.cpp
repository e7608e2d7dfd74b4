// Writes a safetensors file with the shapes of SmolLM-135M's first layer and of its embedding, filled
// with seeded bell-shaped values in bf16: usage: make_smollm_weights OUT.safetensors
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

#include <fmt/format.h>

#include <nibble/nibble.hpp>

namespace {

/// The sum of four uniform numbers in -1..1, which depends on seed and place alone, so that rows can be
/// had in any order.
float bell_shaped(std::uint64_t seed, std::uint64_t element) {
  float sum = 0.0F;
  for (std::uint64_t part = 0; part < 4; ++part) {
    std::uint64_t mixed = seed + 0x9E3779B97F4A7C15U * (4 * element + part + 1);  // splitmix64
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    sum += static_cast<float>(static_cast<std::int32_t>(mixed >> 32U)) * 0x1p-31F;
  }
  return sum;
}

nibble::row_source weights_of(std::uint64_t seed, std::uint64_t cols) {
  // Networks start near 1 / sqrt(inputs), and training keeps them there.
  const float deviation = 1.0F / std::sqrt(static_cast<float>(cols));
  return [=](std::uint64_t first_row, std::uint64_t, std::span<float> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = deviation * bell_shaped(seed, first_row * cols + i);
    }
  };
}

void write_weights(const std::string& path) {
  constexpr std::uint64_t hidden = 576;
  constexpr std::uint64_t key_value = 192;
  constexpr std::uint64_t intermediate = 1536;
  constexpr std::uint64_t vocabulary = 49152;
  nibble::writer out;
  out.metadata() = {{"architecture", "llama"}, {"name", "SmolLM-135M, shapes of one layer"}};
  std::uint64_t seed = 135;
  const auto add = [&](std::string name, std::uint64_t rows, std::uint64_t cols) {
    out.add<nibble::bf16>(std::move(name), {rows, cols}, weights_of(++seed, cols));
  };
  const auto add_norm = [&](std::string name) {
    out.add<nibble::bf16>(std::move(name), {hidden}, weights_of(++seed, hidden));
  };
  const std::string layer = "model.layers.0.";
  add("model.embed_tokens.weight", vocabulary, hidden);
  add_norm(layer + "input_layernorm.weight");
  add(layer + "self_attn.q_proj.weight", hidden, hidden);
  add(layer + "self_attn.k_proj.weight", key_value, hidden);
  add(layer + "self_attn.v_proj.weight", key_value, hidden);
  add(layer + "self_attn.o_proj.weight", hidden, hidden);
  add_norm(layer + "post_attention_layernorm.weight");
  add(layer + "mlp.gate_proj.weight", intermediate, hidden);
  add(layer + "mlp.up_proj.weight", intermediate, hidden);
  add(layer + "mlp.down_proj.weight", hidden, intermediate);
  add_norm("model.norm.weight");
  out.write(path, {.container = nibble::container::safetensors});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: make_smollm_weights OUT.safetensors\n");
    return 2;
  }
  try {
    write_weights(argv[1]);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "make_smollm_weights: {}\n", problem.what());
    return 4;
  }
}
