// What the machine itself can do: the roof that every kernel is held against.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>
#include <string>

#include <benchmark/benchmark.h>

#include <benchmarks/support/machine_roof.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

using nibble_benchmark::line_aligned_floats;
using nibble_benchmark::run_in_parts;
using nibble_benchmark::work;

constexpr std::size_t bytes_in_third_level = std::size_t{8} << 20U;

/// Whether all floats are `value`.
bool is_filled(std::span<const float> with, float value) {
  return std::ranges::all_of(with, [=](float each) { return each == value; });
}

void read(benchmark::State& state, std::size_t bytes, unsigned threads) {
  const line_aligned_floats memory(bytes / sizeof(float));
  nibble::executor* const on = nibble_benchmark::executor_of(threads);
  std::ranges::fill(memory.span(), 0.0F);
  memory.span().back() = 1.0F;
  std::atomic<float> sum{0.0F};
  const auto sweep = [&] {
    run_in_parts(on, threads, memory.span(),
                 [&](std::span<float> part) { sum.fetch_add(nibble_benchmark::read_sweep(part)); });
  };
  sweep();
  if (sum != 1.0F) state.SkipWithError("not the sum");
  for (auto _ : state) sweep();
  nibble_benchmark::report(state, work{.bytes_read = static_cast<double>(bytes)});
}

/// write(part) fills a part with `value`.
template <class Write>
void write(benchmark::State& state, unsigned threads, float value, Write&& write) {
  const line_aligned_floats memory(nibble_benchmark::bytes_beyond_caches() / sizeof(float));
  nibble::executor* const on = nibble_benchmark::executor_of(threads);
  std::ranges::fill(memory.span(), -1.0F);
  run_in_parts(on, threads, memory.span(), write);
  if (!is_filled(memory.span(), value)) state.SkipWithError("not filled");
  for (auto _ : state) {
    run_in_parts(on, threads, memory.span(), write);
    benchmark::ClobberMemory();
  }
  nibble_benchmark::report(state,
                           work{.bytes_written = static_cast<double>(memory.span().size_bytes())});
}

void copy(benchmark::State& state, unsigned threads) {
  const line_aligned_floats memory(nibble_benchmark::bytes_beyond_caches() / sizeof(float));
  nibble::executor* const on = nibble_benchmark::executor_of(threads);
  const std::span<float> from = memory.span().first(memory.span().size() / 2);
  const std::span<float> to = memory.span().subspan(from.size());
  std::ranges::fill(from, 1.0F);
  std::ranges::fill(to, 0.0F);
  const auto copy_part = [&](std::span<float> part) {
    std::memcpy(part.data(), from.data() + (part.data() - to.data()), part.size_bytes());
  };
  run_in_parts(on, threads, to, copy_part);
  if (!is_filled(to, 1.0F)) state.SkipWithError("not copied");
  for (auto _ : state) {
    run_in_parts(on, threads, to, copy_part);
    benchmark::ClobberMemory();
  }
  const auto bytes = static_cast<double>(to.size_bytes());
  nibble_benchmark::report(state, work{.bytes_read = bytes, .bytes_written = bytes});
}

void multiply_add(benchmark::State& state, unsigned threads) {
  constexpr std::size_t steps = 1U << 18U;
  nibble::executor* const on = nibble_benchmark::executor_of(threads);
  std::atomic<bool> is_right{true};
  auto chains = [&](std::size_t) {
    if (nibble_benchmark::multiply_add_chains(steps) != nibble_benchmark::multiply_add_result) {
      is_right = false;
    }
  };
  nibble::run_tasks(on, threads, chains);
  if (!is_right) state.SkipWithError("not the result");
  for (auto _ : state) nibble::run_tasks(on, threads, chains);
  state.counters["FLOP"] =
      benchmark::Counter(static_cast<double>(threads * steps * nibble_benchmark::multiply_add_flop),
                         benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

const bool registered = [] {
  for (const unsigned threads : nibble_benchmark::thread_counts()) {
    const auto add = [&](const char* name, auto body) {
      nibble_benchmark::register_benchmark(std::string("machine/") + name, threads, body);
    };
    const std::size_t beyond = nibble_benchmark::bytes_beyond_caches();
    add("read/memory", [=](benchmark::State& state) { read(state, beyond, threads); });
    add("read/8MiB", [=](benchmark::State& state) { read(state, bytes_in_third_level, threads); });
    add("write/past_caches", [=](benchmark::State& state) {
      write(state, threads, 1.0F,
            [](std::span<float> part) { nibble_benchmark::write_past_caches(part, 1.0F); });
    });
    add("write/memset", [=](benchmark::State& state) {
      write(state, threads, 0.0F,
            [](std::span<float> part) { std::memset(part.data(), 0, part.size_bytes()); });
    });
    add("copy/memcpy", [=](benchmark::State& state) { copy(state, threads); });
    add("multiply_add/f32", [=](benchmark::State& state) { multiply_add(state, threads); });
  }
  return true;
}();

}  // namespace
