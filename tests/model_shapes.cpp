#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/format/apr/serialise.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>
#include <nibble/writer.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

/// The tensors of three published models, whose element counts others have lost on the way to disk.
using nibble::encoding;
using nibble::shape;

namespace {

struct model {
  std::string name;
  std::uint64_t parameters;  ///< as published
  std::string fused_or_q;    ///< of layer 0: what is packed for real
  std::vector<std::pair<std::string, shape>> tensors;
};

void add_llama_layer(model& to, int layer, std::uint64_t hidden, std::uint64_t kv,
                     std::uint64_t intermediate, bool has_bias) {
  const auto add = [&](const char* name, const shape& dimensions) {
    to.tensors.emplace_back(fmt::format("model.layers.{}.{}", layer, name), dimensions);
  };
  add("input_layernorm.weight", {hidden});
  add("post_attention_layernorm.weight", {hidden});
  add("self_attn.q_proj.weight", {hidden, hidden});
  add("self_attn.k_proj.weight", {kv, hidden});
  add("self_attn.v_proj.weight", {kv, hidden});
  add("self_attn.o_proj.weight", {hidden, hidden});
  add("mlp.gate_proj.weight", {intermediate, hidden});
  add("mlp.up_proj.weight", {intermediate, hidden});
  add("mlp.down_proj.weight", {hidden, intermediate});
  if (!has_bias) return;
  add("self_attn.q_proj.bias", {hidden});
  add("self_attn.k_proj.bias", {kv});
  add("self_attn.v_proj.bias", {kv});
}

model smollm() {
  model made{"SmolLM-135M", 134'515'008, "self_attn.q_proj.weight", {}};
  made.tensors = {{"model.embed_tokens.weight", {49'152, 576}}, {"model.norm.weight", {576}}};
  for (int layer = 0; layer < 30; ++layer) add_llama_layer(made, layer, 576, 192, 1536, false);
  return made;
}

model qwen2() {
  model made{"Qwen2-0.5B", 494'032'768, "self_attn.q_proj.weight", {}};
  made.tensors = {{"model.embed_tokens.weight", {151'936, 896}}, {"model.norm.weight", {896}}};
  for (int layer = 0; layer < 24; ++layer) add_llama_layer(made, layer, 896, 128, 4864, true);
  return made;
}

model gpt2() {
  model made{"GPT-2 124M", 124'439'808, "attn.c_attn.weight", {}};
  made.tensors = {{"wte.weight", {50'257, 768}},
                  {"wpe.weight", {1024, 768}},
                  {"ln_f.weight", {768}},
                  {"ln_f.bias", {768}}};
  for (int layer = 0; layer < 12; ++layer) {
    const auto add = [&](const char* name, const shape& dimensions) {
      made.tensors.emplace_back(fmt::format("h.{}.{}", layer, name), dimensions);
    };
    // Input-major, as its Conv1D layers are stored.
    add("attn.c_attn.weight", {768, 2304});
    add("attn.c_attn.bias", {2304});
    add("attn.c_proj.weight", {768, 768});
    add("attn.c_proj.bias", {768});
    add("mlp.c_fc.weight", {768, 3072});
    add("mlp.c_fc.bias", {3072});
    add("mlp.c_proj.weight", {3072, 768});
    add("mlp.c_proj.bias", {768});
    for (const char* const norm : {"ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"})
      add(norm, {768});
  }
  return made;
}

/// Vectors stay f32, matrices are packed.
encoding encoding_of(const shape& dimensions, encoding matrices) {
  return dimensions.rank() == 1 ? encoding::f32 : matrices;
}

constexpr encoding packed_encodings[] = {encoding::q8, encoding::q4, encoding::apr_q8,
                                         encoding::apr_q4};

double root_mean_square(std::span<const float> values) {
  double squares = 0.0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

/// Root mean square of the error that packing Gaussian values may leave, as part of theirs.
double most_error(encoding which) { return nibble::describe(which).code_bits == 8 ? 0.02 : 0.15; }

void check_decoded(const nibble::tensor_view& view, const std::vector<float>& packed) {
  std::vector<float> decoded(packed.size());
  nibble::dequantize(view, decoded);
  CHECK(root_mean_square(decoded) > 0.9 * root_mean_square(packed));  // no zeros in place of values
  for (std::size_t i = 0; i < decoded.size(); ++i) decoded[i] -= packed[i];
  CHECK(root_mean_square(decoded) < most_error(view.encoding()) * root_mean_square(packed));
}

}  // namespace

TEST_CASE("SmolLM's q, k and v come back as 552,960 elements, not 138,243, not zeros",
          "[model_shapes]") {
  const std::map<std::string, shape> shapes = {
      {"layers.0.k_proj.weight", {192, 576}},
      {"layers.0.q_proj.weight", {576, 576}},
      {"layers.0.v_proj.weight", {192, 576}},
  };
  const std::map<encoding, std::uint64_t> stored = {{encoding::q8, 552'960 / 32 * 36},
                                                    {encoding::q4, 552'960 / 32 * 20},
                                                    {encoding::apr_q8, 552'972},
                                                    {encoding::apr_q4, 552'960 / 32 * 18}};
  const nibble_test::temporary_directory folder;
  for (const encoding which : packed_encodings) {
    CAPTURE(nibble::to_string(which));
    std::map<std::string, std::vector<float>> values;
    nibble::writer out;
    for (const auto& [name, dimensions] : shapes) {
      values[name] = nibble_test::gaussian(static_cast<std::size_t>(dimensions.elements()),
                                           static_cast<std::uint32_t>(values.size()));
      out.add(which, name, dimensions, std::span<const float>(values[name]));
    }
    out.write(folder / "qkv.apr");
    const nibble::reader in(folder / "qkv.apr");
    CHECK_NOTHROW(in.verify());
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
    for (const nibble::tensor_view& view : in) {
      CHECK(view.shape() == shapes.at(std::string(view.name())));
      elements += view.elements();
      bytes += view.bytes().size();
      check_decoded(view, values.at(std::string(view.name())));
    }
    CHECK(elements == 552'960);
    CHECK(bytes == stored.at(which));
  }
}

TEST_CASE("apr_q8's bytes are never read as a quarter as many floats", "[model_shapes]") {
  // As others wrote them: ids and sizes of q, k, v, no record. Taken as f32 they are refused, not
  // guessed.
  for (const int id : {0, 9, 129}) {
    nibble_test::apr_file file;
    for (const auto& [name, rows] :
         {std::pair("k", 192U), std::pair("q", 576U), std::pair("v", 192U)}) {
      auto tensor = nibble_test::tame_tensor(name, "apr_q8", {rows, 576}, rows);
      tensor.dtype_id = id;
      file.tensors.push_back(std::move(tensor));
    }
    const auto bytes = file.bytes();
    std::uint64_t elements = 0;
    const auto result = nibble_test::outcome_of([&] {
      const nibble::reader in(bytes);
      for (const nibble::tensor_view& view : in) elements += view.elements();
    });
    if (id == 0) {
      CHECK(result.code == "size_mismatch");
      CHECK(nibble_test::missing_parts(result.message, {"'k'", "192x576", "442368 for f32"}).empty());
      CHECK(elements == 0);
    } else {
      CHECK(result.code == "taken");
      CHECK(elements == 552'960);
    }
  }
}

TEST_CASE("whole models are laid out and opened with every name and shape", "[model_shapes]") {
  const nibble_test::temporary_directory folder;
  for (const model& published : {smollm(), qwen2(), gpt2()}) {
    for (const encoding which : {encoding::q4, encoding::apr_q8}) {
      CAPTURE(published.name, nibble::to_string(which));
      std::vector<nibble::planned_tensor> planned;
      for (const auto& [name, dimensions] : published.tensors) {
        const encoding chosen = encoding_of(dimensions, which);
        const std::vector<std::uint64_t> list(dimensions.dimensions().begin(),
                                              dimensions.dimensions().end());
        const std::uint64_t size = nibble_test::size_by_formula(nibble::to_string(chosen), list);
        CHECK(nibble::stored_bytes(chosen, dimensions) == size);
        planned.push_back({name, chosen, dimensions, size});
      }
      // All places as in the real file; its data are holes, which take no room on the disk.
      nibble::apr::serialiser made(planned, {{"name", published.name}});
      const auto front = made.front(std::vector<std::uint32_t>(planned.size()));
      nibble_test::write_file(folder / "model.apr", front);
      std::filesystem::resize_file(folder / "model.apr", made.file_bytes());

      const nibble::reader in(folder / "model.apr");
      CHECK(in.size() == published.tensors.size());
      std::uint64_t parameters = 0;
      std::uint64_t end = 0;
      for (const nibble::tensor_view& view : in) {
        CHECK(view.file_offset_bytes() % 64 == 0);
        CHECK(view.file_offset_bytes() >= end);
        end = view.file_offset_bytes() + view.bytes().size();
        parameters += view.elements();
      }
      CHECK(parameters == published.parameters);
      for (const nibble::planned_tensor& tensor : planned) {
        const nibble::tensor_view& view = in[tensor.name];
        CHECK(view.shape() == tensor.shape);
        CHECK(view.encoding() == tensor.encoding);
        CHECK(view.bytes().size() == tensor.size_bytes);
      }
      CHECK((end + 63) / 64 * 64 + 4 == in.file_bytes());
    }
  }
}

TEST_CASE("a layer of each model and all vectors are packed for real", "[model_shapes]") {
  const nibble_test::temporary_directory folder;
  for (const model& published : {smollm(), qwen2(), gpt2()}) {
    for (const encoding which : packed_encodings) {
      CAPTURE(published.name, nibble::to_string(which));
      nibble::writer out;
      std::map<std::string, std::vector<float>> values;
      for (const auto& [name, dimensions] : published.tensors) {
        const bool is_of_layer_0 = name.find(".0.") != std::string::npos || name.starts_with("h.0.");
        const bool is_attention = name.find("attn") != std::string::npos;
        if (dimensions.rank() != 1 && !(is_of_layer_0 && is_attention)) continue;
        values[name] = nibble_test::gaussian(static_cast<std::size_t>(dimensions.elements()),
                                             static_cast<std::uint32_t>(values.size()));
        // By the reference's rule: the search for scales is another test's concern, and slow.
        out.add(encoding_of(dimensions, which), name, dimensions, std::span<const float>(values[name]),
                {.rule = nibble::packing_rule::reference});
      }
      out.write(folder / "layer.apr");
      const nibble::reader in(folder / "layer.apr");
      CHECK(in.size() == values.size());
      bool has_attention = false;
      for (const nibble::tensor_view& view : in) {
        const std::string name(view.name());
        has_attention |= name.ends_with(published.fused_or_q);
        if (view.encoding() == encoding::f32) {
          CHECK(std::ranges::equal(view.bytes(), std::as_bytes(std::span(values.at(name)))));
        } else {
          check_decoded(view, values.at(name));
        }
      }
      CHECK(has_attention);
    }
  }
}
