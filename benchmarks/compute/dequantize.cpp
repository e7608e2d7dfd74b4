// Decoding to f32: 4096 elements stay in the first-level cache, 2048 x 2048 do not.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/dequantize.hpp>

#include <support/packed_weight.hpp>

namespace {

void decode(benchmark::State& state, nibble::encoding which, std::uint64_t rows, std::uint64_t cols) {
  const nibble_benchmark::packed_weight weight(which, rows, cols);
  const double error = weight.relative_error();
  if (error > 0.1) state.SkipWithError("decoded values are not the packed ones");
  std::vector<float> decoded(weight.values.size());
  for (auto _ : state) {
    nibble::dequantize(weight.view(), decoded);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(decoded.size()));
  state.counters["relative_error"] = error;
}

const bool registered = [] {
  for (const nibble::encoding which : nibble_benchmark::packed_encodings) {
    const std::string name = "dequantize/" + std::string(to_string(which));
    benchmark::RegisterBenchmark((name + "/64x64").c_str(), decode, which, 64, 64);
    benchmark::RegisterBenchmark((name + "/2048x2048").c_str(), decode, which, 2048, 2048);
  }
  return true;
}();

}  // namespace
