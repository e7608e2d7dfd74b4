// Decoding: 4096 elements stay in the first-level cache, 4096 x 4096 do not stay in any.
#include <algorithm>
#include <concepts>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/dequantize.hpp>

#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

template <nibble::Float To>
void decode(benchmark::State& state, nibble::encoding which, std::uint64_t rows, std::uint64_t cols) {
  const auto weight = nibble_benchmark::weight_of(which, rows, cols);
  std::vector<To> decoded(weight->values->size());
  nibble::dequantize(weight->view(), decoded);
  std::vector<float> as_floats(decoded.size());
  std::ranges::transform(decoded, as_floats.begin(), [](To value) {
    if constexpr (std::same_as<To, float>)
      return value;
    else
      return nibble::to_float32(value);
  });
  const double error = nibble_benchmark::relative_error(*weight->values, as_floats);
  if (error > nibble_benchmark::wrong_from)
    state.SkipWithError("decoded values are not the packed ones");
  for (auto _ : state) {
    nibble::dequantize(weight->view(), decoded);
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(decoded.size());
  const bool is_copy = which == nibble::encoding::f32;
  nibble_benchmark::report(state, {.elements = elements,
                                   .flop = is_copy ? 0.0 : nibble_benchmark::decode_flop * elements,
                                   .bytes_read = static_cast<double>(weight->bytes.size()),
                                   .bytes_written = elements * sizeof(To)});
  state.counters["relative_error"] = error;
}

const bool registered = [] {
  for (const nibble::encoding which : nibble_benchmark::packed_encodings) {
    for (const std::uint64_t rows : {1U, 4096U}) {
      const auto add = [&](const char* to, auto body) {
        nibble_benchmark::register_benchmark(
            "nibble/decode/" + std::string(to_string(which)) + "/" + to + "/" + std::to_string(rows) +
                "x4096",
            1, [=](benchmark::State& state) { body(state, which, rows, 4096); });
      };
      add("to_f32", decode<float>);
      if (!nibble::describe(which).is_quantized()) continue;
      add("to_f16", decode<nibble::float16>);
      add("to_bf16", decode<nibble::bfloat16>);
    }
  }
  return true;
}();

}  // namespace
