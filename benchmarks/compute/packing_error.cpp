// What packing changes, as a share of the norm: every packed encoding, fast and best. packing_error.py makes
// a table of it, beside what the peers' packers change.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/threads.hpp>
#include <benchmarks/support/weight_distributions.hpp>

namespace {

void measure_packing_error(benchmark::State& state, nibble::encoding which,
                           nibble::packing_search search,
                           nibble_benchmark::weight_distribution distribution, std::uint64_t rows) {
  const nibble::shape shape({rows, 4096});
  const std::vector<float> values =
      nibble_benchmark::drawn_weights(distribution, static_cast<std::size_t>(shape.elements()));
  std::vector<std::byte> bytes(static_cast<std::size_t>(*nibble::stored_bytes(which, shape)));
  for (auto _ : state) {
    nibble::quantize(which, shape, values, bytes, {.search = search});
    benchmark::ClobberMemory();
  }
  std::vector<float> decoded(values.size());
  nibble::dequantize(nibble::tensor_view("weight", which, shape, bytes), decoded);
  const auto elements = static_cast<double>(values.size());
  nibble_benchmark::report(state, {.elements = elements, .bytes_read = elements * sizeof(float)});
  state.counters["relative_error"] = nibble_benchmark::relative_error(values, decoded);
}

const bool registered = [] {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!nibble::is_packable(row.encoding) || !row.is_quantized()) continue;
    for (const auto search : {nibble::packing_search::fast, nibble::packing_search::best}) {
      for (const auto distribution : nibble_benchmark::weight_distributions) {
        for (const std::uint64_t rows : nibble_benchmark::packing_error_rows) {
          const bool is_fast = search == nibble::packing_search::fast;
          nibble_benchmark::register_benchmark(
              "nibble/packing_error/" + std::string(to_string(row.encoding)) +
                  (is_fast ? "/fast/" : "/best/") + std::string(to_string(distribution)) + "/" +
                  std::to_string(rows) + "x4096",
              1, [=, which = row.encoding](benchmark::State& state) {
                measure_packing_error(state, which, search, distribution, rows);
              });
        }
      }
    }
  }
  return true;
}();

}  // namespace
