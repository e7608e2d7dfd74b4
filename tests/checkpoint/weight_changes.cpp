#include <nibble/checkpoint/weight_changes.hpp>

#include <string>
#include <string_view>

#include <support/catch.hpp>

using nibble::change_of_weight;
using nibble::weight_change;

TEST_CASE("weights change by their architecture and name", "[weight_changes]") {
  struct expectation {
    std::string_view architecture;
    std::string_view name;
    weight_change change;
  };
  for (const expectation& each : {
           expectation{"llama", "blk.0.attn_q.weight", weight_change::query_head_rows},
           {"mistral", "blk.31.attn_k.weight", weight_change::key_head_rows},
           {"mixtral", "blk.31.attn_k.weight", weight_change::key_head_rows},
           {"llama", "blk.0.attn_q.bias", weight_change::query_head_rows},
           {"granite", "blk.1.attn_k.weight", weight_change::key_head_rows},
           {"smollm3", "blk.1.attn_q.weight", weight_change::query_head_rows},
           {"llama", "blk.0.attn_v.weight", weight_change::none},
           {"llama", "blk.0.attn_output.weight", weight_change::none},
           {"llama", "blk.0.attn_norm.weight", weight_change::none},
           {"qwen2", "blk.0.attn_q.weight", weight_change::none},
           {"qwen3", "blk.0.attn_k.weight", weight_change::none},
           {"phi3", "blk.0.attn_qkv.weight", weight_change::none},
           {"gpt2", "blk.0.attn_qkv.weight", weight_change::transposed},
           {"gpt2", "blk.11.ffn_down.weight", weight_change::transposed},
           {"gpt2", "blk.11.ffn_norm.weight", weight_change::none},
           {"gpt2", "token_embd.weight", weight_change::none},
           {"gpt2", "output.weight", weight_change::none},
           {"falcon", "blk.0.attn_qkv.weight", weight_change::fused_group_rows},
           {"falcon", "blk.0.attn_output.weight", weight_change::none},
           {"gemma", "output_norm.weight", weight_change::one_added},
           {"gemma2", "blk.7.post_ffw_norm.weight", weight_change::one_added},
           {"gemma3", "blk.7.attn_q_norm.weight", weight_change::one_added},
           {"gemma3_text", "blk.7.attn_q.weight", weight_change::none},
           {"olmo2", "blk.7.post_attention_norm.weight", weight_change::none},
           {"nobody's", "blk.0.attn_q.weight", weight_change::none},
           {"llama", "blk.x.attn_q.weight", weight_change::none},
           {"llama", "blk.0.attn_q", weight_change::none},
       }) {
    CAPTURE(each.architecture, each.name);
    CHECK(change_of_weight(each.architecture, each.name) == each.change);
  }
}

TEST_CASE("every norm that a model of Gemma's kind has holds its gains whole in GGUF",
          "[weight_changes]") {
  for (const nibble::naming_table::row& row : nibble::naming_table::rows) {
    if (!row.gguf.ends_with("norm")) continue;
    const std::string name = nibble::naming_table::fill(row.gguf, "3") + ".weight";
    for (const std::string_view architecture : {"gemma", "gemma2", "gemma3"}) {
      if (!nibble::renamed_tensor(architecture, name, nibble::naming::hugging_face)) continue;
      CAPTURE(architecture, name);
      CHECK(change_of_weight(architecture, name) == weight_change::one_added);
    }
  }
}

TEST_CASE("routers and positions are read as f32", "[weight_changes]") {
  CHECK(nibble::is_read_as_f32("position_embd.weight"));
  CHECK(nibble::is_read_as_f32("blk.12.ffn_gate_inp.weight"));
  CHECK(nibble::is_read_as_f32("blk.12.ffn_gate_inp_shexp.weight"));
  CHECK_FALSE(nibble::is_read_as_f32("blk.12.ffn_gate_exps.weight"));
  CHECK_FALSE(nibble::is_read_as_f32("token_embd.weight"));
}
