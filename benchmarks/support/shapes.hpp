#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nibble_benchmark {

/// [outputs, inputs] of a weight, and the numbers of input vectors that are multiplied by it.
struct matmul_shape {
  std::uint64_t outputs;
  std::uint64_t inputs;
  std::vector<std::size_t> x_rows;

  [[nodiscard]] std::string name() const {
    return std::to_string(outputs) + "x" + std::to_string(inputs);
  }
};

/// The whole range of M on the largest matrix, one token and a small batch on the others, so that a run
/// takes minutes.
[[nodiscard]] inline std::vector<matmul_shape> matmul_shapes() {
  return {{576, 576, {1, 16}},                            // SmolLM-135M, q_proj
          {1536, 576, {1, 16}},                           // SmolLM-135M, up_proj
          {896, 896, {1, 16}},                            // Qwen2-0.5B, q_proj
          {4864, 896, {1, 16}},                           // Qwen2-0.5B, up_proj
          {1024, 4096, {1, 16}},                          // Llama-3-8B, k_proj
          {4096, 4096, {1, 2, 4, 8, 16, 64, 128, 512}}};  // Llama-3-8B, q_proj
}
/// Llama-3-8B's up_proj, and a larger one, which no third-level cache of a desktop holds.
[[nodiscard]] inline std::vector<matmul_shape> shapes_beyond_caches() {
  return {{14336, 4096, {1}}, {32768, 4096, {1}}};
}
/// The rows of these that are packed; they stand there over and over.
inline constexpr std::uint64_t distinct_rows_beyond_caches = 2048;

/// The numbers of input vectors that are run on all threads as well.
[[nodiscard]] constexpr bool is_run_on_all_threads(std::uint64_t inputs, std::size_t x_rows) noexcept {
  return inputs == 4096 && (x_rows == 1 || x_rows == 16 || x_rows == 512);
}

}  // namespace nibble_benchmark
