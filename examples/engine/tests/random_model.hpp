#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <engine/contract_error.hpp>
#include <engine/key_value_cache.hpp>
#include <engine/model.hpp>
#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/reader.hpp>
#include <nibble/writer.hpp>

#include <support/files.hpp>

namespace nibble_engine_test {

using token_ids = std::vector<std::uint32_t>;

/// A tensor of a model that is put together here.
struct model_tensor {
  std::string name{};  ///< Hugging Face's
  std::vector<std::uint64_t> shape{};
  std::vector<float> values{};
};

/// Values by the rule that reference/float64_forward.py states.
inline std::vector<float> generated_values(std::string_view name, std::size_t count, double center,
                                           double step) {
  std::uint64_t state = 0xcbf29ce484222325U;
  for (const char letter : name) {
    state = (state ^ static_cast<unsigned char>(letter)) * 0x100000001b3U;
  }
  std::vector<float> values(count);
  for (float& value : values) {
    state += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    z ^= z >> 31U;
    value = static_cast<float>(center + (static_cast<double>(z >> 54U) - 512.0) * step);
  }
  return values;
}

inline nlohmann::json read_data(const std::string& name) {
  std::ifstream in(std::string(NIBBLE_ENGINE_DATA) + "/" + name + ".json");
  return nlohmann::json::parse(in);
}

/// A model of random weights, and its logits by a float64 forward pass that is not written in C++.
struct random_model {
  nlohmann::json metadata{};  ///< the flat keys
  std::vector<model_tensor> tensors{};
  token_ids tokens{};
  std::vector<std::vector<double>> logits{};  ///< [tokens, vocabulary]

  explicit random_model(const std::string& name) {
    const nlohmann::json golden = read_data("random_" + name);
    metadata = golden.at("config");
    tokens = golden.at("tokens").get<token_ids>();
    logits = golden.at("logits").get<std::vector<std::vector<double>>>();
    for (const nlohmann::json& each : golden.at("tensors")) {
      add(each.at("name"), each.at("shape").get<std::vector<std::uint64_t>>(), each.at("center"),
          each.at("step"));
    }
  }

  [[nodiscard]] std::string architecture() const { return metadata.at("architecture"); }

  void add(const std::string& name, const std::vector<std::uint64_t>& shape, double center,
           double step) {
    std::size_t count = 1;
    for (const std::uint64_t size : shape) count *= static_cast<std::size_t>(size);
    tensors.push_back({name, shape, generated_values(name, count, center, step)});
  }
  void remove(const std::string& name) {
    std::erase_if(tensors, [&](const model_tensor& each) { return each.name == name; });
  }
  model_tensor& operator[](const std::string& name) {
    for (model_tensor& each : tensors) {
      if (each.name == name) return each;
    }
    throw std::runtime_error("no tensor " + name);
  }

  /// The model with room for more positions; what it says of those it had stays.
  void widen_context(std::size_t positions) {
    metadata["max_position_embeddings"] = positions;
    if (architecture() != "gpt2") return;
    const std::vector<float> old = (*this)["wpe.weight"].values;
    const std::uint64_t hidden = metadata.at("hidden_size");
    remove("wpe.weight");
    add("wpe.weight", {positions, hidden}, 0.0, 1.0 / 2048);
    std::copy(old.begin(), old.end(), (*this)["wpe.weight"].values.begin());
  }
};

inline const std::vector<std::string>& random_model_names() {
  static const std::vector<std::string> names{"llama_adjacent", "llama_halves", "qwen2", "gpt2"};
  return names;
}

/// GGUF's keys for the flat ones.
inline nlohmann::json gguf_metadata(const random_model& from) {
  const nlohmann::json& flat = from.metadata;
  const std::string prefix = from.architecture() + ".";
  nlohmann::json keys{{"general.architecture", from.architecture()}};
  const std::vector<std::pair<std::string, std::string>> names{
      {"hidden_size", "embedding_length"},
      {"num_layers", "block_count"},
      {"num_heads", "attention.head_count"},
      {"num_kv_heads", "attention.head_count_kv"},
      {"head_dim", "attention.key_length"},
      {"intermediate_size", "feed_forward_length"},
      {"max_position_embeddings", "context_length"},
      {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
      {"layer_norm_epsilon", "attention.layer_norm_epsilon"},
      {"rope_theta", "rope.freq_base"},
  };
  for (const auto& [name, gguf] : names) {
    if (flat.contains(name)) keys[prefix + gguf] = flat.at(name);
  }
  return keys;
}

/// The tensors under GGUF's names and as its converters lay them out: GPT-2's matrices [outputs, inputs],
/// rows of Llama's q and k so that elements i and i + head_dim / 2 become 2 i and 2 i + 1.
inline std::vector<model_tensor> gguf_tensors(const random_model& from, bool permutes_rows) {
  std::vector<model_tensor> made;
  for (const model_tensor& each : from.tensors) {
    const auto name = nibble::renamed_tensor(from.architecture(), each.name, nibble::naming::gguf);
    if (!name) throw std::runtime_error("no name in GGUF: " + each.name);
    model_tensor tensor{*name, each.shape, each.values};
    const bool is_product = each.name.find(".c_") != std::string::npos && each.shape.size() == 2;
    const bool is_turned =
        each.name.find("q_proj") != std::string::npos || each.name.find("k_proj") != std::string::npos;
    if (is_product) {
      const std::size_t rows = each.shape[0];
      const std::size_t cols = each.shape[1];
      tensor.shape = {cols, rows};
      for (std::size_t i = 0; i < rows * cols; ++i) {
        tensor.values[(i % cols) * rows + i / cols] = each.values[i];
      }
    } else if (permutes_rows && is_turned) {
      const std::size_t head_dim =
          from.metadata.value("head_dim", from.metadata.at("hidden_size").get<std::size_t>() /
                                              from.metadata.at("num_heads").get<std::size_t>());
      const std::size_t cols = each.shape[1];
      for (std::size_t row = 0; row < each.shape[0]; ++row) {
        const std::size_t in_head = row % head_dim;
        const std::size_t pair = in_head % (head_dim / 2);
        const std::size_t to = row - in_head + 2 * pair + in_head / (head_dim / 2);
        std::copy_n(each.values.begin() + static_cast<std::ptrdiff_t>(row * cols), cols,
                    tensor.values.begin() + static_cast<std::ptrdiff_t>(to * cols));
      }
    }
    made.push_back(std::move(tensor));
  }
  return made;
}

/// How a model is stored.
struct storage {
  nibble::container container = nibble::container::apr;
  nibble::encoding matrices = nibble::encoding::f32;
  bool has_gguf_names = false;  ///< and layout and, in GGUF, keys
};

/// A model's file, which goes with this.
class stored_model {
 public:
  explicit stored_model(const random_model& from, const storage& how = {}) {
    const bool has_gguf_keys = how.container == nibble::container::gguf && how.has_gguf_names;
    const bool permutes =
        has_gguf_keys && from.architecture() == "llama" && from.metadata.value("rope_type", 2) == 2;
    const std::vector<model_tensor> tensors =
        how.has_gguf_names ? gguf_tensors(from, permutes) : from.tensors;
    nibble::writer out;
    out.metadata() = has_gguf_keys ? gguf_metadata(from) : from.metadata;
    if (how.container == nibble::container::safetensors) {
      // Its metadata is text alone.
      for (auto& [name, value] : out.metadata().items()) {
        if (!value.is_string()) value = value.dump();
      }
    }
    for (const model_tensor& each : tensors) {
      const nibble::shape shape{std::span<const std::uint64_t>(each.shape)};
      if (each.shape.size() == 2 && how.matrices != nibble::encoding::f32) {
        out.add(how.matrices, each.name, shape, std::span<const float>(each.values));
      } else {
        out.add_stored(nibble::encoding::f32, each.name, shape, std::as_bytes(std::span(each.values)));
      }
    }
    path_ = files_ / "model";
    out.write(path_, {.container = how.container});
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] nibble_engine::model open(const nibble_engine::product_options& options = {}) const {
    return {nibble::reader(path_), options};
  }

 private:
  nibble_test::temporary_directory files_;
  std::string path_;
};

/// A model's safetensors file in memory, put together without the library.
class memory_model {
 public:
  explicit memory_model(const random_model& from, bool has_gguf_names = false) {
    const std::vector<model_tensor> tensors = has_gguf_names ? gguf_tensors(from, false) : from.tensors;
    nlohmann::json header = nlohmann::json::object();
    for (const auto& [name, value] : from.metadata.items()) {
      header["__metadata__"][name] = value.is_string() ? value : nlohmann::json(value.dump());
    }
    std::vector<std::byte> data;
    for (const model_tensor& each : tensors) {
      const auto bytes = std::as_bytes(std::span(each.values));
      header[each.name] = {{"dtype", "F32"},
                           {"shape", each.shape},
                           {"data_offsets", {data.size(), data.size() + bytes.size()}}};
      data.insert(data.end(), bytes.begin(), bytes.end());
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = text.size();
    for (unsigned i = 0; i < 8; ++i) bytes_.push_back(static_cast<std::byte>(length >> (8 * i)));
    const auto letters = std::as_bytes(std::span(text));
    bytes_.insert(bytes_.end(), letters.begin(), letters.end());
    bytes_.insert(bytes_.end(), data.begin(), data.end());
  }

  [[nodiscard]] nibble_engine::model open(const nibble_engine::product_options& options = {}) const {
    return {nibble::reader(std::span<const std::byte>(bytes_), "some.model"), options};
  }

 private:
  std::vector<std::byte> bytes_;
};

/// Logits of all positions, the tokens fed `step` at a time.
inline std::vector<float> logits_of(nibble_engine::model& by, std::span<const std::uint32_t> tokens,
                                    std::size_t step) {
  nibble_engine::key_value_cache cache(by.config(), tokens.size());
  const std::size_t vocabulary = by.decoder().vocabulary();
  std::vector<float> logits(tokens.size() * vocabulary);
  for (std::size_t first = 0; first < tokens.size(); first += step) {
    const std::size_t count = std::min(step, tokens.size() - first);
    by.decoder().run(tokens.subspan(first, count), cache,
                     std::span(logits).subspan(first * vocabulary, count * vocabulary));
  }
  return logits;
}

/// The largest difference, as a share of the largest expected magnitude; infinite where one is NaN.
template <class Expected>
double relative_difference(std::span<const float> found, const std::vector<Expected>& expected) {
  if (found.size() != expected.size()) return HUGE_VAL;
  double most = 0.0;
  double difference = 0.0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double off = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
    if (!(off <= difference)) difference = std::isnan(off) ? HUGE_VAL : off;
    most = std::max(most, std::abs(static_cast<double>(expected[i])));
  }
  return difference / most;
}

/// The message of the contract_error that `work` throws where its code is that one; empty otherwise.
template <class Work>
std::string broken_contract(std::string_view code, Work&& work) {
  try {
    work();
  } catch (const nibble_engine::contract_error& thrown) {
    return thrown.code() == code ? thrown.what() : "";
  }
  return "";
}

}  // namespace nibble_engine_test
