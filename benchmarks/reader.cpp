// Opening a container of many tensors whose bytes are in memory: time should grow with their number.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/format/gguf/serialise.hpp>
#include <nibble/reader.hpp>
#include <nibble/writer.hpp>

#include "support/report.hpp"
#include "support/threads.hpp"

namespace {

std::string name_of(std::size_t tensor) {
  return fmt::format("model.layers.{}.mlp.experts.{}.up_proj.weight", tensor / 64, tensor % 64);
}

/// The bytes of a file of that many tensors of 2 x 32 elements.
std::vector<char> container_bytes(nibble::container container, nibble::encoding which,
                                  std::size_t tensors) {
  std::string folder = (std::filesystem::temp_directory_path() / "nibble-benchmark-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no folder for a file to open");
  const std::string path = folder + "/file";
  const std::vector<float> values(64, 0.5F);
  nibble::writer out;
  for (std::size_t i = 0; i < tensors; ++i) out.add(which, name_of(i), {2, 32}, values);
  out.write(path, {.container = container});
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  std::filesystem::remove_all(folder);
  return bytes;
}

void open(benchmark::State& state, nibble::container container, nibble::encoding which,
          std::size_t tensors) {
  const std::vector<char> bytes = container_bytes(container, which, tensors);
  const auto span = std::as_bytes(std::span(bytes));
  const nibble::reader opened(span);
  if (opened.size() != tensors || !opened.contains(name_of(0)) ||
      opened[name_of(tensors - 1)].shape() != nibble::shape({2, 32})) {
    state.SkipWithError("not the tensors that were written");
  }
  for (auto _ : state) {
    const nibble::reader in(span);
    benchmark::DoNotOptimize(in.size());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(tensors));
}

/// A GGUF file whose tokens, scores, types and merges are those of a large vocabulary.
void open_vocabulary(benchmark::State& state) {
  constexpr std::size_t words = 150'000;
  nlohmann::json tokens = nlohmann::json::array();
  nlohmann::json scores = nlohmann::json::array();
  nlohmann::json types = nlohmann::json::array();
  nlohmann::json merges = nlohmann::json::array();
  for (std::size_t i = 0; i < words; ++i) {
    tokens.push_back(fmt::format("\xE2\x96\x81word{}", i));
    scores.push_back(-1.5 * static_cast<double>(i));
    types.push_back(static_cast<int>(i % 4) - 1);
    merges.push_back(fmt::format("wo rd{}", i));
  }
  const nibble::gguf::serialiser made({}, {{"tokenizer.ggml.tokens", std::move(tokens)},
                                           {"tokenizer.ggml.scores", std::move(scores)},
                                           {"tokenizer.ggml.token_type", std::move(types)},
                                           {"tokenizer.ggml.merges", std::move(merges)}});
  const std::vector<std::byte> bytes = made.front({});
  if (nibble::reader(bytes).metadata()["tokenizer.ggml.merges"].size() != words) {
    state.SkipWithError("not the words that were written");
  }
  for (auto _ : state) {
    const nibble::reader in(bytes);
    benchmark::DoNotOptimize(in.size());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(words));
}

const bool registered = [] {
  const auto add = [](nibble::container container, nibble::encoding which) {
    for (const std::size_t tensors : {1000U, 10'000U, 100'000U}) {
      nibble_benchmark::register_benchmark(
          fmt::format("nibble/open/{}/{}/{}", to_string(container), to_string(which), tensors), 1,
          [=](benchmark::State& state) { open(state, container, which, tensors); });
    }
  };
  add(nibble::container::apr, nibble::encoding::q4);
  add(nibble::container::gguf, nibble::encoding::f32);
  add(nibble::container::safetensors, nibble::encoding::f32);
  nibble_benchmark::register_benchmark("nibble/open/gguf/vocabulary/150000", 1, open_vocabulary);
  return true;
}();

}  // namespace
