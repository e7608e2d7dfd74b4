#include <nibble/checkpoint/tensor_names.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <support/catch.hpp>

using nibble::naming;
using nibble::renamed_tensor;

namespace {

struct pair {
  std::string hugging_face;
  std::string gguf;
};

/// What the classes of transformers save for a layer, beside what convert_hf_to_gguf.py writes for it.
std::vector<pair> llama_layer(const std::string& layer) {
  const std::string from = "model.layers." + layer + ".";
  const std::string to = "blk." + layer + ".";
  return {
      {from + "input_layernorm.weight", to + "attn_norm.weight"},
      {from + "self_attn.q_proj.weight", to + "attn_q.weight"},
      {from + "self_attn.k_proj.weight", to + "attn_k.weight"},
      {from + "self_attn.v_proj.weight", to + "attn_v.weight"},
      {from + "self_attn.o_proj.weight", to + "attn_output.weight"},
      {from + "post_attention_layernorm.weight", to + "ffn_norm.weight"},
      {from + "mlp.gate_proj.weight", to + "ffn_gate.weight"},
      {from + "mlp.up_proj.weight", to + "ffn_up.weight"},
      {from + "mlp.down_proj.weight", to + "ffn_down.weight"},
  };
}

const std::vector<pair> llama_ends = {{"model.embed_tokens.weight", "token_embd.weight"},
                                      {"model.norm.weight", "output_norm.weight"},
                                      {"lm_head.weight", "output.weight"}};

void check_both_ways(std::string_view architecture, const std::vector<pair>& names) {
  for (const pair& each : names) {
    CAPTURE(architecture, each.hugging_face, each.gguf);
    CHECK(renamed_tensor(architecture, each.hugging_face, naming::gguf) == each.gguf);
    CHECK(renamed_tensor(architecture, each.gguf, naming::hugging_face) == each.hugging_face);
    CHECK(renamed_tensor(architecture, each.gguf, naming::gguf) == each.gguf);
    CHECK(renamed_tensor(architecture, each.hugging_face, naming::hugging_face) == each.hugging_face);
  }
}

}  // namespace

TEST_CASE("models like Llama are renamed both ways", "[tensor_names]") {
  for (const char* const architecture :
       {"llama", "mistral", "qwen2", "qwen3", "gemma", "qwen2moe", "qwen3_moe", "granite", "smollm3"}) {
    check_both_ways(architecture, llama_ends);
    for (const char* const layer : {"0", "7", "10", "127"}) {
      check_both_ways(architecture, llama_layer(layer));
    }
  }
}

TEST_CASE("biases and norms of heads are renamed", "[tensor_names]") {
  check_both_ways("qwen2", {{"model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias"},
                            {"model.layers.3.self_attn.k_proj.bias", "blk.3.attn_k.bias"},
                            {"model.layers.3.self_attn.v_proj.bias", "blk.3.attn_v.bias"}});
  check_both_ways("qwen3", {{"model.layers.3.self_attn.q_norm.weight", "blk.3.attn_q_norm.weight"},
                            {"model.layers.3.self_attn.k_norm.weight", "blk.3.attn_k_norm.weight"}});
}

TEST_CASE("the norms of Gemma 2 and 3 stand on both sides", "[tensor_names]") {
  for (const char* const architecture : {"gemma2", "gemma3", "gemma3_text"}) {
    check_both_ways(
        architecture,
        {{"model.layers.25.input_layernorm.weight", "blk.25.attn_norm.weight"},
         {"model.layers.25.post_attention_layernorm.weight", "blk.25.post_attention_norm.weight"},
         {"model.layers.25.pre_feedforward_layernorm.weight", "blk.25.ffn_norm.weight"},
         {"model.layers.25.post_feedforward_layernorm.weight", "blk.25.post_ffw_norm.weight"},
         {"model.layers.25.self_attn.q_norm.weight", "blk.25.attn_q_norm.weight"},
         {"model.layers.25.mlp.down_proj.weight", "blk.25.ffn_down.weight"}});
    CHECK_FALSE(renamed_tensor("gemma", "blk.0.post_ffw_norm.weight", naming::hugging_face));
  }
}

TEST_CASE("fused weights of Phi 3 are renamed, and no split ones", "[tensor_names]") {
  check_both_ways("phi3", llama_ends);
  check_both_ways("phi3",
                  {{"model.layers.0.self_attn.qkv_proj.weight", "blk.0.attn_qkv.weight"},
                   {"model.layers.0.self_attn.o_proj.weight", "blk.0.attn_output.weight"},
                   {"model.layers.0.mlp.gate_up_proj.weight", "blk.0.ffn_up.weight"},
                   {"model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"},
                   {"model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"}});
  CHECK_FALSE(renamed_tensor("phi3", "model.layers.0.self_attn.q_proj.weight", naming::gguf));
  CHECK_FALSE(renamed_tensor("llama", "model.layers.0.self_attn.qkv_proj.weight", naming::gguf));
}

TEST_CASE("GPT-2 is renamed with and without the prefix of its class", "[tensor_names]") {
  const std::vector<pair> names = {
      {"wte.weight", "token_embd.weight"},
      {"wpe.weight", "position_embd.weight"},
      {"ln_f.weight", "output_norm.weight"},
      {"ln_f.bias", "output_norm.bias"},
      {"h.11.ln_1.weight", "blk.11.attn_norm.weight"},
      {"h.11.ln_1.bias", "blk.11.attn_norm.bias"},
      {"h.11.attn.c_attn.weight", "blk.11.attn_qkv.weight"},
      {"h.11.attn.c_attn.bias", "blk.11.attn_qkv.bias"},
      {"h.11.attn.c_proj.weight", "blk.11.attn_output.weight"},
      {"h.11.attn.c_proj.bias", "blk.11.attn_output.bias"},
      {"h.11.ln_2.weight", "blk.11.ffn_norm.weight"},
      {"h.11.ln_2.bias", "blk.11.ffn_norm.bias"},
      {"h.11.mlp.c_fc.weight", "blk.11.ffn_up.weight"},
      {"h.11.mlp.c_fc.bias", "blk.11.ffn_up.bias"},
      {"h.11.mlp.c_proj.weight", "blk.11.ffn_down.weight"},
      {"h.11.mlp.c_proj.bias", "blk.11.ffn_down.bias"},
  };
  for (const pair& each : names) {
    check_both_ways("gpt2", {{"transformer." + each.hugging_face, each.gguf}});
    CHECK(renamed_tensor("gpt2", each.hugging_face, naming::gguf) == each.gguf);
    CHECK(renamed_tensor("gpt2", each.hugging_face, naming::hugging_face) ==
          "transformer." + each.hugging_face);
  }
  check_both_ways("gpt2", {{"lm_head.weight", "output.weight"}});
  CHECK_FALSE(renamed_tensor("gpt2", "h.0.attn.bias", naming::gguf));
  CHECK_FALSE(renamed_tensor("gpt2", "transformer.h.0.attn.masked_bias", naming::gguf));
}

TEST_CASE("prefixes that models put in front or leave out change nothing", "[tensor_names]") {
  for (const std::string before : {"", "model.", "language_model.model.", "model.language_model."}) {
    CAPTURE(before);
    CHECK(renamed_tensor("llama", before + "layers.2.mlp.up_proj.weight", naming::gguf) ==
          "blk.2.ffn_up.weight");
    CHECK(renamed_tensor("gemma3", before + "norm.weight", naming::gguf) == "output_norm.weight");
    CHECK(renamed_tensor("qwen3", before + "embed_tokens.weight", naming::hugging_face) ==
          "model.embed_tokens.weight");
  }
  CHECK(renamed_tensor("llama", "language_model.lm_head.weight", naming::gguf) == "output.weight");
  CHECK_FALSE(renamed_tensor("llama", "transformer.layers.2.mlp.up_proj.weight", naming::gguf));
  CHECK_FALSE(renamed_tensor("llama", "transformer.model.norm.weight", naming::gguf));
  CHECK_FALSE(renamed_tensor("llama", "vision_tower.layers.2.mlp.up_proj.weight", naming::gguf));
}

TEST_CASE("stacked experts, their router and shared experts are renamed", "[tensor_names]") {
  check_both_ways("qwen2_moe",
                  {{"model.layers.4.mlp.gate.weight", "blk.4.ffn_gate_inp.weight"},
                   {"model.layers.4.mlp.experts.gate_proj.weight", "blk.4.ffn_gate_exps.weight"},
                   {"model.layers.4.mlp.experts.up_proj.weight", "blk.4.ffn_up_exps.weight"},
                   {"model.layers.4.mlp.experts.down_proj.weight", "blk.4.ffn_down_exps.weight"},
                   {"model.layers.4.mlp.shared_expert_gate.weight", "blk.4.ffn_gate_inp_shexp.weight"},
                   {"model.layers.4.mlp.shared_expert.up_proj.weight", "blk.4.ffn_up_shexp.weight"}});
  check_both_ways("mixtral",
                  {{"model.layers.4.block_sparse_moe.gate.weight", "blk.4.ffn_gate_inp.weight"},
                   {"model.layers.4.block_sparse_moe.experts.w1.weight", "blk.4.ffn_gate_exps.weight"},
                   {"model.layers.4.block_sparse_moe.experts.w2.weight", "blk.4.ffn_down_exps.weight"},
                   {"model.layers.4.block_sparse_moe.experts.w3.weight", "blk.4.ffn_up_exps.weight"}});
  CHECK_FALSE(renamed_tensor("qwen2_moe", "model.layers.4.mlp.experts.7.up_proj.weight", naming::gguf));
}

TEST_CASE("both generations of Falcon are renamed to GGUF", "[tensor_names]") {
  check_both_ways("falcon",
                  {{"transformer.word_embeddings.weight", "token_embd.weight"},
                   {"transformer.ln_f.bias", "output_norm.bias"},
                   {"transformer.h.1.input_layernorm.weight", "blk.1.attn_norm.weight"},
                   {"transformer.h.1.ln_attn.weight", "blk.1.attn_norm_2.weight"},
                   {"transformer.h.1.self_attention.query_key_value.weight", "blk.1.attn_qkv.weight"},
                   {"transformer.h.1.self_attention.dense.weight", "blk.1.attn_output.weight"},
                   {"transformer.h.1.mlp.dense_h_to_4h.weight", "blk.1.ffn_up.weight"},
                   {"transformer.h.1.mlp.dense_4h_to_h.weight", "blk.1.ffn_down.weight"}});
  CHECK(renamed_tensor("falcon", "transformer.h.1.ln_mlp.weight", naming::gguf) ==
        "blk.1.attn_norm.weight");
}

TEST_CASE("names that are no tensor's of the architecture have no other name", "[tensor_names]") {
  for (const char* const name :
       {"", ".weight", "blk", "blk..attn_q.weight", "blk.x.attn_q.weight", "blk.-1.attn_q.weight",
        "blk.0.attn_q", "blk.0.attn_q.scale", "blk.0.attn_q.weight_scale", "blk.0.attn_q.weight.weight",
        "blk.0.1.attn_q.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "rope_freqs.weight",
        "model.model.norm.weight", "blk.{}.attn_q.weight.bias", "Model.norm.weight"}) {
    CAPTURE(name);
    CHECK_FALSE(renamed_tensor("llama", name, naming::gguf));
    CHECK_FALSE(renamed_tensor("llama", name, naming::hugging_face));
  }
  CHECK_FALSE(renamed_tensor("mamba", "lm_head.weight", naming::gguf));
  CHECK_FALSE(renamed_tensor("", "lm_head.weight", naming::gguf));
}

TEST_CASE("architectures have GGUF's names", "[tensor_names]") {
  CHECK(nibble::gguf_architecture("mistral") == "llama");
  CHECK(nibble::gguf_architecture("mixtral") == "llama");
  CHECK(nibble::gguf_architecture("llama") == "llama");
  CHECK(nibble::gguf_architecture("gemma3_text") == "gemma3");
  CHECK(nibble::gguf_architecture("qwen3_moe") == "qwen3moe");
  CHECK(nibble::gguf_architecture("qwen3moe") == "qwen3moe");
  CHECK_FALSE(nibble::gguf_architecture("gpt5").has_value());
}
