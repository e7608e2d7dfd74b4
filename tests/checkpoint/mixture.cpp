#include <nibble/checkpoint/mixture.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/file/crc32.hpp>

#include <support/catch.hpp>

using nibble::encoding;
using nibble::mixture_model;
using nibble::mixture_tensor;

namespace {

/// The tensors of a model of GGUF's names, its rows of 256 elements.
struct named_tensors {
  std::vector<std::string> names;
  std::vector<std::size_t> ranks;

  void add(const std::string& name, std::size_t rank) {
    names.push_back(name + ".weight");
    ranks.push_back(rank);
  }
  [[nodiscard]] std::vector<mixture_tensor> all() const {
    std::vector<mixture_tensor> tensors;
    for (std::size_t i = 0; i < names.size(); ++i) tensors.push_back({names[i], ranks[i], 256});
    return tensors;
  }
};

named_tensors tensors_of(const mixture_model& model, bool is_tied) {
  named_tensors made;
  made.add("token_embd", 2);
  made.add("output_norm", 1);
  if (!is_tied) made.add("output", 2);
  if (model.architecture == "gpt2") made.add("position_embd", 2);
  const bool is_fused = model.architecture == "gpt2" || model.architecture == "falcon";
  std::vector<std::string> matrices = {"attn_q", "attn_k", "attn_v", "attn_output"};
  if (is_fused) matrices = {"attn_qkv", "attn_output", "ffn_up", "ffn_down"};
  if (model.experts != 0) {
    matrices.emplace_back("ffn_gate_inp");
  } else if (!is_fused) {
    matrices.insert(matrices.end(), {"ffn_gate", "ffn_up", "ffn_down"});
  }
  for (std::uint64_t layer = 0; layer < model.layers; ++layer) {
    made.add(fmt::format("blk.{}.attn_norm", layer), 1);
    for (const std::string& each : matrices) made.add(fmt::format("blk.{}.{}", layer, each), 2);
    if (model.experts == 0) continue;
    for (const char* const each : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}) {
      made.add(fmt::format("blk.{}.{}", layer, each), 3);
    }
  }
  return made;
}

std::map<std::string, std::string> chosen_for(std::string_view mix, const mixture_model& model,
                                              const std::vector<mixture_tensor>& tensors) {
  const auto chosen = nibble::mixture_encodings(*nibble::find_mixture(mix), model, tensors);
  std::map<std::string, std::string> named;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    named[std::string(tensors[i].name)] = chosen[i] ? nibble::to_string(*chosen[i]) : "f32";
  }
  return named;
}

/// A model, and for each mixture the CRC-32 of lines "NAME=TYPE", one a matrix, as llama-quantize typed a file of f32
/// with these tensors.
struct quantized_model {
  mixture_model model;
  bool is_tied;
  std::array<std::uint32_t, nibble::mixtures.size()> crc32;
};
const std::vector<quantized_model> quantized_models = {
    {{"llama", 22, 32, 4, 0},
     false,
     {0x6b11edc0U, 0x341c46ebU, 0x4da06943U, 0xcccca61cU, 0x8526038cU, 0x09616ac4U, 0xfbc09d73U,
      0x1df2f388U, 0x89e8933aU, 0x05affa72U, 0x1ebb255fU, 0xfb47432eU, 0x0be89485U, 0xb41194d6U}},
    {{"llama", 32, 32, 8, 0},
     false,
     {0x4e78ce64U, 0xd614ed69U, 0xc224a198U, 0x3421f5edU, 0x9fe2921eU, 0x9a927ff4U, 0xf4fb6a5fU,
      0xf3eb5b29U, 0xe5c812cdU, 0xe0b8ff27U, 0x119ae9c2U, 0xc5ec42e6U, 0x9fe568b7U, 0x6177ee74U}},
    {{"llama", 33, 32, 8, 0},
     true,
     {0x040fe596U, 0x85a89767U, 0x4476c5eeU, 0x4e4e8daeU, 0x8c9e562cU, 0x09e22167U, 0x9b544c76U,
      0x576b3519U, 0x5172a101U, 0xd40ed64aU, 0x2451af4aU, 0xddecf48bU, 0x9915b07cU, 0x754a8e6cU}},
    {{"llama", 80, 64, 8, 0},
     false,
     {0x9d6640d0U, 0xca0578c4U, 0x7b4a332dU, 0x9412586eU, 0x95bd05a6U, 0x0e9bdfd6U, 0xf21ee7ccU,
      0xc6b63c60U, 0xdc84dcbcU, 0x47a206ccU, 0xbc29ce57U, 0xefe72a45U, 0x6763a579U, 0x964d9163U}},
    {{"llama", 80, 64, 64, 0},
     false,
     {0x86af265eU, 0xd1cc1e4aU, 0x53eda7ceU, 0x9412586eU, 0x95bd05a6U, 0x0e9bdfd6U, 0x291aa544U,
      0x214bad6eU, 0xdc84dcbcU, 0x47a206ccU, 0xbc29ce57U, 0xefe72a45U, 0x6763a579U, 0x964d9163U}},
    {{"llama", 32, 32, 8, 8},
     false,
     {0xd9bceb38U, 0x420ab256U, 0x7977247aU, 0x3285ad8aU, 0xc40f1dbfU, 0x03ee225bU, 0x81a8afb6U,
      0x56ff1c41U, 0x487bc18bU, 0x8f9afe6fU, 0x0c5cb7a6U, 0x8583cbeeU, 0x43b0d5bbU, 0xcfa8ad36U}},
    {{"llama", 10, 8, 8, 4},
     false,
     {0x3bbb71dcU, 0xd3ccb5a1U, 0x94492b54U, 0x95c4eaf5U, 0xfa177b38U, 0x6c144f2bU, 0xe052185bU,
      0x9f12e5e2U, 0xba4c581cU, 0x2c4f6c0fU, 0x89677938U, 0xf45e9939U, 0x498a1c54U, 0x953d317dU}},
    {{"qwen2", 24, 14, 2, 0},
     true,
     {0x0c2fe0f9U, 0x57cce85dU, 0x01fb1adeU, 0xd1c9dd89U, 0x6f47edb0U, 0xac692851U, 0x4fbb4061U,
      0x362e05c3U, 0xc32cda0cU, 0x00021fedU, 0x08545557U, 0xd34d81ebU, 0x27980bd2U, 0x344de942U}},
    {{"qwen2", 80, 64, 8, 0},
     false,
     {0x9d6640d0U, 0xca0578c4U, 0x7b4a332dU, 0x9412586eU, 0x95bd05a6U, 0x0e9bdfd6U, 0xf21ee7ccU,
      0xc6b63c60U, 0xdc84dcbcU, 0x47a206ccU, 0xbc29ce57U, 0xefe72a45U, 0x6763a579U, 0x964d9163U}},
    {{"gpt2", 12, 12, 12, 0},
     true,
     {0x61a008b1U, 0x0545a494U, 0xa4591feeU, 0x94fb0829U, 0xc66879fcU, 0x17322292U, 0xce08f325U,
      0x85f26964U, 0xc1af66f3U, 0x10f53d9dU, 0x15d7e6b6U, 0x247cbd25U, 0x1d9ec7a7U, 0xefb08e6cU}},
    {{"falcon", 32, 64, 64, 0},
     false,
     {0xe9f627bbU, 0xe4e2541fU, 0x32fae9e1U, 0xb610ba7bU, 0x4f7bc7bfU, 0x4d893597U, 0x27a91afdU,
      0x2e36ed98U, 0x4195f8d7U, 0x43670affU, 0xc286d76fU, 0xe02d7aa7U, 0xd1b496d7U, 0x03b2c15fU}},
    {{"gemma2", 26, 8, 4, 0},
     true,
     {0x5fb6374aU, 0xb4f6ebb1U, 0x090a26d7U, 0x7bd12a51U, 0x400badfbU, 0xcbd97947U, 0xec533278U,
      0x861e2d3aU, 0x89c5d150U, 0x021705ecU, 0x6dc0ea88U, 0xb3608f3dU, 0xece36934U, 0xc79fd94aU}},
    {{"qwen3", 36, 32, 8, 0},
     false,
     {0xe8330b73U, 0x2770a549U, 0x47041cdcU, 0xcd47c04aU, 0x8b74e471U, 0x961a97a7U, 0x1f514550U,
      0xd5dc784eU, 0x951abb00U, 0x8874c8d6U, 0x6215666fU, 0x9f618797U, 0x40a787fcU, 0x6d91dff6U}},
    {{"qwen3moe", 48, 32, 4, 128},
     false,
     {0x0e42305dU, 0xb7560688U, 0x3ea9822cU, 0xb623dcf2U, 0xd9b571fcU, 0xb1308c44U, 0x6ddc47dfU,
      0x47f9b267U, 0x36a5b368U, 0x5e204ed0U, 0xb8a78333U, 0xa0ce0913U, 0x52e7c2ceU, 0x544b98ffU}},
};

}  // namespace

TEST_CASE("every tensor gets the type that llama-quantize gave it", "[mixture]") {
  for (const quantized_model& each : quantized_models) {
    const named_tensors tensors = tensors_of(each.model, each.is_tied);
    for (std::size_t i = 0; i < nibble::mixtures.size(); ++i) {
      CAPTURE(each.model.architecture, each.model.layers, nibble::mixtures[i].name);
      const auto chosen = chosen_for(nibble::mixtures[i].name, each.model, tensors.all());
      std::string lines;
      for (std::size_t at = 0; at < tensors.names.size(); ++at) {
        const std::string& name = tensors.names[at];
        if (tensors.ranks[at] > 1) lines += fmt::format("{}={}\n", name, chosen.at(name));
      }
      CHECK(nibble::crc32_sum(std::as_bytes(std::span(lines))).value() == each.crc32[i]);
    }
  }
}

TEST_CASE("the order of tensors changes no choice", "[mixture]") {
  std::mt19937 random(7);
  for (const quantized_model& each : quantized_models) {
    const named_tensors tensors = tensors_of(each.model, each.is_tied);
    auto shuffled = tensors.all();
    for (const nibble::mixture& mix : nibble::mixtures) {
      std::shuffle(shuffled.begin(), shuffled.end(), random);
      CHECK(chosen_for(mix.name, each.model, shuffled) ==
            chosen_for(mix.name, each.model, tensors.all()));
    }
  }
}

TEST_CASE("what a mixture leaves alone", "[mixture]") {
  const mixture_model model{"llama", 1, 8, 8, 0};
  struct row {
    mixture_tensor tensor;
    bool is_packed;
  };
  for (const auto& [tensor, is_packed] :
       std::vector<row>{{{"blk.0.attn_q.weight", 2, 256}, true},
                        {{"blk.0.attn_q.weight", 3, 256}, true},
                        {{"blk.0.attn_q.weight", 1, 256}, false},
                        {{"blk.0.attn_q.weight", 0, 1}, false},
                        {{"blk.0.attn_q.bias", 2, 256}, false},
                        {{"blk.0.attn_q_norm.weight", 2, 256}, false},
                        {{"blk.0.ffn_gate_inp.weight", 2, 256}, false},
                        {{"position_embd.weight", 2, 256}, false},
                        {{"v.patch_embd.weight", 4, 256}, false},
                        {{"anything.weight", 2, 256}, true},
                        {{"", 2, 256}, false}}) {
    CAPTURE(tensor.name, tensor.rank);
    const auto chosen = nibble::mixture_encodings(nibble::mixtures[0], model, std::span(&tensor, 1));
    CHECK(chosen[0].has_value() == is_packed);
  }
}

TEST_CASE("an output whose rows do not fit is q8_0", "[mixture]") {
  const mixture_model model{"llama", 1, 8, 8, 0};
  const std::vector<mixture_tensor> tensors = {{"output.weight", 2, 576},
                                               {"token_embd.weight", 2, 576}};
  const auto chosen = nibble::mixture_encodings(*nibble::find_mixture("q4_k_m"), model, tensors);
  CHECK(chosen[0] == encoding::q8_0);
  CHECK(chosen[1] == encoding::q4_k);
}

TEST_CASE("mixtures are found by name", "[mixture]") {
  for (const nibble::mixture& each : nibble::mixtures) CHECK(nibble::find_mixture(each.name) == &each);
  for (const char* const name : {"", "q4_k", "Q4_K_M", "q4_k_m "}) {
    CHECK(nibble::find_mixture(name) == nullptr);
  }
}
