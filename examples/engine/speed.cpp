// Measures how fast the engine runs a model of SmolLM-135M's full shape, packed as q4 or q4_r8, beside what
// reading its weights from memory takes in the same run: usage: engine_speed MODEL.apr [THREADS [ENCODING]]
//
// Writes the model, with seeded weights, where the file does not exist.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/nibble.hpp>

#include <nibble/compute/thread_pool.hpp>

#include <benchmarks/support/machine_roof.hpp>

#include "../support/smollm.hpp"

#include "generate.hpp"
#include "key_value_cache.hpp"
#include "model.hpp"

namespace {

using clock_type = std::chrono::steady_clock;

double seconds_since(clock_type::time_point start) {
  return std::chrono::duration<double>(clock_type::now() - start).count();
}

void write_model(const std::string& path, nibble::encoding encoding, nibble::executor* executor) {
  nibble::writer out;
  out.metadata() = {{"architecture", "llama"},
                    {"name", "SmolLM-135M's shape, seeded weights"},
                    {"hidden_size", smollm::hidden},
                    {"num_layers", smollm::layers},
                    {"num_heads", 9},
                    {"num_kv_heads", 3},
                    {"vocab_size", smollm::vocabulary},
                    {"intermediate_size", smollm::feed_forward},
                    {"max_position_embeddings", 2048},
                    {"rope_theta", 10000.0},
                    {"rope_type", 2},
                    {"rms_norm_eps", 1e-5}};
  std::uint64_t seed = 0;
  const std::vector<float> ones(smollm::hidden, 1.0F);
  smollm::for_each_tensor(
      smollm::layers,
      [&](std::string name, std::uint64_t rows, std::uint64_t cols) {
        out.add(encoding, std::move(name), {rows, cols}, smollm::weights_of(++seed, cols));
      },
      [&](std::string name) { out.add<nibble::f32>(std::move(name), {smollm::hidden}, ones); });
  out.write(path, {.executor = executor});
}

/// Bytes of weights that one token's products read: all matrices, of which the embedding is the head.
double weight_bytes(const nibble::reader& in) {
  std::uint64_t bytes = 0;
  for (const nibble::tensor_view& tensor : in) {
    if (tensor.shape().rank() > 1) bytes += tensor.size_bytes();
  }
  return static_cast<double>(bytes);
}

struct timing {
  double load_seconds;
  double first_token_seconds;  ///< from an empty cache, right after loading
  double token_seconds;        ///< the median of those that follow
  double product_share;        ///< of a token's time
  double prompt_tokens_per_second;
};

timing measure(const std::string& path, nibble::file_access how,
               const nibble_engine::product_options& options) {
  constexpr std::size_t tokens = 64;
  constexpr std::size_t prompt_tokens = 256;
  timing found{};
  auto start = clock_type::now();
  nibble_engine::model model(nibble::reader(path, how), options);
  found.load_seconds = seconds_since(start);

  nibble_engine::transformer& decoder = model.decoder();
  nibble_engine::key_value_cache cache(model.config(), 512);
  std::vector<float> logits(decoder.vocabulary());
  const auto run = [&](std::uint32_t token) {
    start = clock_type::now();
    decoder.run(std::span(&token, 1), cache, logits);
    return seconds_since(start);
  };
  found.first_token_seconds = run(1);
  std::vector<double> seconds;
  const double products_before = decoder.product_seconds();
  double sum = 0.0;
  for (std::uint32_t token = 2; token < 2 + tokens; ++token) {
    seconds.push_back(run(token));
    sum += seconds.back();
  }
  found.product_share = (decoder.product_seconds() - products_before) / sum;
  std::nth_element(seconds.begin(), seconds.begin() + tokens / 2, seconds.end());
  found.token_seconds = seconds[tokens / 2];

  std::vector<std::uint32_t> prompt(prompt_tokens);
  for (std::size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = static_cast<std::uint32_t>(i * 131 % smollm::vocabulary);
  cache.clear();
  start = clock_type::now();
  decoder.run(prompt, cache, logits);
  found.prompt_tokens_per_second = static_cast<double>(prompt_tokens) / seconds_since(start);
  return found;
}

/// Where products find their weights.
struct weights_at {
  const char* name;
  nibble::file_access how;
  bool repack;
};
constexpr std::array<weights_at, 3> places = {{{"", nibble::file_access::mapped, false},
                                               {", in memory", nibble::file_access::read, false},
                                               {", repacked", nibble::file_access::mapped, true}}};

void measure_all(const std::string& path, unsigned most_threads) {
  const double bytes = weight_bytes(nibble::reader(path));
  for (unsigned threads = 1; threads <= most_threads; ++threads) {
    nibble::thread_pool pool(threads);
    nibble::executor* const executor = threads > 1 ? &pool : nullptr;
    const auto roof = nibble_benchmark::measure_roof(executor, threads);
    const double least_seconds = bytes / roof.read_bytes_per_second;
    fmt::print(
        "{} thread{}: memory reads {:.1f} GB/s, {:.1f} MB of weights a token: at most {:.0f} "
        "tokens/s\n",
        threads, threads == 1 ? "" : "s", roof.read_bytes_per_second * 1e-9, bytes * 1e-6,
        1.0 / least_seconds);
    fmt::print("  {:<16} {:>9} {:>9} {:>12} {:>10} {:>10} {:>14}\n", "mode", "load s", "first ms",
               "tokens/s", "of bound", "products", "prompt tok/s");
    for (const auto mode :
         {nibble::matmul_mode::exact, nibble::matmul_mode::int16, nibble::matmul_mode::int8}) {
      for (const weights_at& at : places) {
        if (at.repack && mode == nibble::matmul_mode::exact) continue;  // there is no copy for it
        const timing found =
            measure(path, at.how, {.mode = mode, .repack = at.repack, .executor = executor});
        fmt::print("  {:<16} {:>9.3f} {:>9.2f} {:>12.1f} {:>8.0f} % {:>8.0f} % {:>14.0f}\n",
                   fmt::format("{}{}", nibble::to_string(mode), at.name), found.load_seconds,
                   found.first_token_seconds * 1e3, 1.0 / found.token_seconds,
                   100.0 * least_seconds / found.token_seconds, 100.0 * found.product_share,
                   found.prompt_tokens_per_second);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto encoding = nibble::encoding_from_name(argc > 3 ? argv[3] : "q4");
  if (argc < 2 || argc > 4 || !encoding) {
    fmt::print(stderr, "usage: engine_speed MODEL.apr [THREADS [ENCODING]]\n");
    return 2;
  }
  try {
    const unsigned threads = argc > 2 ? static_cast<unsigned>(std::max(1, std::atoi(argv[2])))
                                      : std::max(1U, std::thread::hardware_concurrency());
    if (!std::filesystem::exists(argv[1])) {
      nibble::thread_pool pool(threads);
      write_model(argv[1], *encoding, &pool);
    }
    measure_all(argv[1], threads);
  } catch (const std::exception& problem) {
    fmt::print(stderr, "engine_speed: {}\n", problem.what());
    return 4;
  }
}
