#include <engine/weight_loader.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/errors.hpp>

#include "random_model.hpp"
#include "says.hpp"

using namespace nibble_engine_test;
using nibble_engine::contract_error;

namespace {

std::string why_not_opened(const random_model& from, std::string_view code,
                           bool has_gguf_names = false) {
  return broken_contract(code, [&] { static_cast<void>(memory_model(from, has_gguf_names).open()); });
}

bool has_all(const std::string& message, const std::vector<std::string>& parts) {
  return !message.empty() && std::ranges::all_of(parts, [&](const std::string& part) {
    return message.find(part) != std::string::npos;
  });
}

std::string text_of(const std::vector<std::uint64_t>& shape) {
  return nibble::shape(std::span<const std::uint64_t>(shape)).to_string();
}

/// `model` with one tensor of another shape, its values cut or repeated.
random_model reshaped(random_model model, const std::string& name,
                      const std::vector<std::uint64_t>& shape) {
  model_tensor& tensor = model[name];
  tensor.shape = shape;
  std::size_t count = 1;
  for (const std::uint64_t size : shape) count *= static_cast<std::size_t>(size);
  const std::vector<float> old = tensor.values;
  tensor.values.resize(count);
  for (std::size_t i = 0; i < count; ++i) tensor.values[i] = old[i % old.size()];
  return model;
}

}  // namespace

TEST_CASE("F-LAYOUT-CONTRACT-001: each missing tensor is named", "[engine]") {
  for (const std::string& name : random_model_names()) {
    const random_model whole(name);
    for (const model_tensor& each : whole.tensors) {
      CAPTURE(name, each.name);
      random_model broken = whole;
      broken.remove(each.name);
      for (const bool has_gguf_names : {false, true}) {
        const std::string message = why_not_opened(broken, contract_error::layout, has_gguf_names);
        CAPTURE(message);
        const auto gguf = nibble::renamed_tensor(whole.architecture(), each.name, nibble::naming::gguf);
        CHECK(message.starts_with("F-LAYOUT-CONTRACT-001: "));
        CHECK(has_all(message, {"found nothing", "expected", *gguf, each.name, "some.model: "}));
      }
    }
  }
}

TEST_CASE("F-LAYOUT-CONTRACT-001: each shape that contradicts the metadata is named", "[engine]") {
  for (const std::string& name : random_model_names()) {
    const random_model whole(name);
    for (const model_tensor& each : whole.tensors) {
      std::vector<std::vector<std::uint64_t>> wrong;
      for (std::size_t axis = 0; axis < each.shape.size(); ++axis) {
        for (const int by : {-1, 1}) {
          wrong.push_back(each.shape);
          wrong.back()[axis] += static_cast<std::uint64_t>(by);
        }
      }
      if (each.shape.size() == 1) {
        wrong.push_back({1, each.shape[0]});
      } else {
        wrong.push_back({each.shape[0] * each.shape[1]});
        if (each.shape[0] != each.shape[1]) wrong.push_back({each.shape[1], each.shape[0]});
      }
      for (const auto& shape : wrong) {
        // GPT-2's are taken in either layout, told by this one.
        const bool tells_layout = each.name.find("0.attn.c_attn.weight") != std::string::npos;
        const std::string message =
            why_not_opened(reshaped(whole, each.name, shape), contract_error::layout);
        CAPTURE(name, each.name, text_of(shape), message);
        if (tells_layout) {
          CHECK(message.starts_with("F-LAYOUT-CONTRACT-001: "));
          continue;
        }
        CHECK(has_all(message, {"tensor '" + each.name + "'", "found " + text_of(shape),
                                "expected " + text_of(each.shape)}));
      }
    }
  }
}

TEST_CASE("F-LAYOUT-CONTRACT-001: counts in the metadata that the tensors contradict", "[engine]") {
  const auto broken = [](const std::string& name, const nlohmann::json& patch) {
    random_model model(name);
    model.metadata.update(patch);
    return why_not_opened(model, contract_error::layout);
  };
  CHECK(has_all(broken("qwen2", {{"vocab_size", 72}}), {"embed_tokens", "71x42", "72x42"}));
  CHECK(has_all(broken("qwen2", {{"num_layers", 3}}), {"blk.2.", "model.layers.2."}));
  CHECK(has_all(broken("qwen2", {{"num_layers", 1U << 30U}}), {"blk.2."}));
  CHECK(has_all(broken("qwen2", {{"num_kv_heads", 3}}), {"k_proj", "14x42", "42x42"}));
  CHECK(has_all(broken("llama_halves", {{"head_dim", 12}}), {"q_proj", "60x36", "72x36"}));
  CHECK(
      has_all(broken("llama_adjacent",
                     {{"num_heads", 1U << 30U}, {"num_kv_heads", 1U << 30U}, {"head_dim", 1U << 16U}}),
              {"q_proj", "40x40", "70368744177664"}));
  CHECK(has_all(broken("gpt2", {{"max_position_embeddings", 1U << 30U}}), {"wpe", "24x39"}));
}

TEST_CASE("F-DATA-QUALITY-001: weights of more than 80 % zeros, biases may be zero", "[engine]") {
  for (const std::string& name : random_model_names()) {
    const random_model whole(name);
    for (const model_tensor& each : whole.tensors) {
      CAPTURE(name, each.name);
      const bool is_bias = each.name.ends_with(".bias");
      const auto with_zeros = [&](std::size_t zeros) {
        random_model model = whole;
        std::vector<float>& values = model[each.name].values;
        for (float& value : values) {
          if (value == 0.0F) value = 0.25F;
        }
        for (std::size_t i = 0; i < zeros; ++i) values[i] = i % 2 == 0 ? 0.0F : -0.0F;
        return why_not_opened(model, contract_error::data_quality);
      };
      const std::size_t count = each.values.size();
      const std::size_t allowed = 4 * count / 5;
      CHECK(with_zeros(allowed).empty());
      for (const std::size_t zeros : {allowed + 1, count}) {
        const std::string message = with_zeros(zeros);
        CAPTURE(message);
        if (is_bias) {
          CHECK(message.empty());
        } else {
          CHECK(has_all(message,
                        {"F-DATA-QUALITY-001: ", "'" + each.name + "'", "% zeros", "at most 80 %"}));
        }
      }
    }
  }
}

TEST_CASE("F-DATA-QUALITY-001: one NaN or infinity anywhere", "[engine]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const std::string& name : random_model_names()) {
    const random_model whole(name);
    for (const model_tensor& each : whole.tensors) {
      std::size_t at = each.values.size() - 1;
      for (const float poison : {std::nanf(""), infinity, -infinity}) {
        random_model model = whole;
        model[each.name].values[at] = poison;
        const std::string message = why_not_opened(model, contract_error::data_quality);
        CAPTURE(name, each.name, at, message);
        CHECK(has_all(message, {"F-DATA-QUALITY-001: ", "'" + each.name + "'", "NaN or infinite"}));
        at /= 2;
      }
    }
  }
}

TEST_CASE("zeros are counted in packed weights as they decode", "[engine]") {
  for (const auto encoding : {nibble::encoding::q8, nibble::encoding::q4, nibble::encoding::f16}) {
    CAPTURE(nibble::to_string(encoding));
    random_model model("llama_adjacent");
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    CHECK_NOTHROW(static_cast<void>(stored_model(model, {.matrices = encoding}).open()));
    std::vector<float>& values = model[name].values;
    std::fill(values.begin() + 40, values.end(), 0.0F);
    const std::string message = broken_contract(contract_error::data_quality, [&] {
      static_cast<void>(stored_model(model, {.matrices = encoding}).open());
    });
    CHECK(has_all(message, {name, "zeros"}));
  }
}

TEST_CASE("Hugging Face's names are found with the outer module's name and without", "[engine]") {
  for (const std::string& name : random_model_names()) {
    random_model model(name);
    for (model_tensor& each : model.tensors) {
      if (each.name.starts_with("model.")) {
        each.name = each.name.substr(std::string_view("model.").size());
      } else if (each.name != "lm_head.weight") {
        each.name = "transformer." + each.name;
      }
    }
    CAPTURE(name);
    CHECK_NOTHROW(static_cast<void>(memory_model(model).open()));
  }
}
