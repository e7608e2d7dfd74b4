// Packing f32: bytes per second are of the f32 that goes in.
#include <string>

#include <benchmark/benchmark.h>

#include <nibble/compute/quantize.hpp>

#include <support/packed_weight.hpp>

namespace {

void pack(benchmark::State& state, nibble::encoding which, nibble::packing_rule rule) {
  nibble_benchmark::packed_weight weight(which, 1024, 1024);
  for (auto _ : state) {
    nibble::quantize(which, weight.shape, weight.values, weight.bytes, {.rule = rule});
    benchmark::ClobberMemory();
  }
  const double error = weight.relative_error();
  if (error > 0.11) state.SkipWithError("decoded values are not the packed ones");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(weight.values.size() * 4));
  state.counters["relative_error"] = error;
}

const bool registered = [] {
  for (const nibble::encoding which : nibble_benchmark::packed_encodings) {
    const std::string name = "quantize/" + std::string(to_string(which));
    benchmark::RegisterBenchmark((name + "/best").c_str(), pack, which, nibble::packing_rule::best);
    benchmark::RegisterBenchmark((name + "/reference").c_str(), pack, which,
                                 nibble::packing_rule::reference);
  }
  return true;
}();

}  // namespace
