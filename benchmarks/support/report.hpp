#pragma once

#include <cstdint>

#include <benchmark/benchmark.h>

namespace nibble_benchmark {

/// What one iteration does. Bytes are those that the work cannot do without: each input read once, each
/// output written once, wherever they lie.
struct work {
  double elements = 0.0;  ///< values of weights decoded, packed or multiplied by
  double flop = 0.0;
  double bytes_read = 0.0;
  double bytes_written = 0.0;
};

/// Sets items_per_second (elements), bytes_per_second and, where there is arithmetic, FLOP (a second)
/// and the FLOP of a byte. Rates are of processor time, or of real time where the benchmark uses that.
inline void report(benchmark::State& state, const work& each) {
  const auto iterations = static_cast<double>(state.iterations());
  state.SetItemsProcessed(static_cast<std::int64_t>(iterations * each.elements));
  const double bytes = each.bytes_read + each.bytes_written;
  state.SetBytesProcessed(static_cast<std::int64_t>(iterations * bytes));
  if (each.flop == 0.0) return;
  state.counters["FLOP"] = benchmark::Counter(each.flop, benchmark::Counter::kIsIterationInvariantRate,
                                              benchmark::Counter::kIs1000);
  state.counters["FLOP_per_byte"] = each.flop / bytes;
}

/// Counted for a decoded value, scale * code + min, whatever the encoding.
inline constexpr double decode_flop = 2.0;

}  // namespace nibble_benchmark
