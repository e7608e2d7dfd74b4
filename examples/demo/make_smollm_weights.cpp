// Writes a safetensors file with the shapes of SmolLM-135M's first layer and of its embedding, filled
// with seeded bell-shaped values in bf16: usage: make_smollm_weights OUT.safetensors
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <nibble/nibble.hpp>

#include "../support/smollm.hpp"

namespace {

void write_weights(const std::string& path) {
  nibble::writer out;
  out.metadata() = {{"architecture", "llama"}, {"name", "SmolLM-135M, shapes of one layer"}};
  std::uint64_t seed = 135;
  smollm::for_each_tensor(
      1,
      [&](std::string name, std::uint64_t rows, std::uint64_t cols) {
        out.add<nibble::bf16>(std::move(name), {rows, cols}, smollm::weights_of(++seed, cols));
      },
      [&](std::string name) {
        out.add<nibble::bf16>(std::move(name), {smollm::hidden},
                              smollm::weights_of(++seed, smollm::hidden));
      });
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
