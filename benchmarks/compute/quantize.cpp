// Packing f32: bytes per second are of the f32 that goes in.
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/quantize.hpp>

#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

void pack(benchmark::State& state, nibble::encoding which, nibble::packing_rule rule) {
  const nibble::shape shape({1024, 1024});
  const auto values = nibble_benchmark::gaussian_weights(1024, 1024);
  std::vector<std::byte> bytes(static_cast<std::size_t>(*nibble::stored_bytes(which, shape)));
  nibble::quantize(which, shape, *values, bytes, {.rule = rule});
  std::vector<float> decoded(values->size());
  nibble::dequantize(nibble::tensor_view("weight", which, shape, bytes), decoded);
  const double error = nibble_benchmark::relative_error(*values, decoded);
  if (error > nibble_benchmark::wrong_from)
    state.SkipWithError("decoded values are not the packed ones");
  for (auto _ : state) {
    nibble::quantize(which, shape, *values, bytes, {.rule = rule});
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(values->size());
  nibble_benchmark::report(state, {.elements = elements, .bytes_read = elements * sizeof(float)});
  state.counters["relative_error"] = error;
}

const bool registered = [] {
  for (const nibble::encoding which : nibble_benchmark::packed_encodings) {
    const auto add = [&](const char* name, nibble::packing_rule rule) {
      nibble_benchmark::register_benchmark(
          "nibble/pack/" + std::string(to_string(which)) + "/" + name + "/1024x1024", 1,
          [=](benchmark::State& state) { pack(state, which, rule); });
    };
    add("best", nibble::packing_rule::best);
    if (nibble::describe(which).is_quantized()) add("reference", nibble::packing_rule::reference);
  }
  for (const nibble::encoding which : nibble_benchmark::ggml_encodings) {
    nibble_benchmark::register_benchmark(
        "nibble/pack/" + std::string(to_string(which)) + "/best/1024x1024", 1,
        [=](benchmark::State& state) { pack(state, which, nibble::packing_rule::best); });
  }
  return true;
}();

}  // namespace
