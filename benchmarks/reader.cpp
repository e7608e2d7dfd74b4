// Opening a container of many tensors whose bytes are in memory: time should grow with their number.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

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

const bool registered = [] {
  const auto add = [](nibble::container container, nibble::encoding which) {
    for (const std::size_t tensors : {1000U, 10'000U, 100'000U}) {
      nibble_benchmark::register_benchmark(
          fmt::format("nibble/open/{}/{}/{}", to_string(container), to_string(which), tensors), 1,
          [=](benchmark::State& state) { open(state, container, which, tensors); });
    }
  };
  add(nibble::container::apr, nibble::encoding::q4);
  add(nibble::container::safetensors, nibble::encoding::f32);
  return true;
}();

}  // namespace
