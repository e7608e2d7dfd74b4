#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include <nibble/compute/executor.hpp>
#include <nibble/core/large_memory.hpp>
#include <nibble/simd/simd.hpp>

/// What the machine itself can do, to hold kernels against: read memory, write it past the caches,
/// multiply and add.
namespace nibble_benchmark {

/// Floats that start on a cache line.
class line_aligned_floats {
 public:
  explicit line_aligned_floats(std::size_t count)
      : memory_(count * sizeof(float)),
        floats_(
            std::uninitialized_fill_n(reinterpret_cast<float*>(memory_.bytes().data()), count, 1.0F) -
            count),
        count_(count) {}
  [[nodiscard]] std::span<float> span() const noexcept { return {floats_, count_}; }

 private:
  nibble::large_memory memory_;
  float* floats_;
  std::size_t count_;
};

/// Bytes that no cache holds: four times the third level, 256 MiB to 1 GiB.
[[nodiscard]] inline std::size_t bytes_beyond_caches() noexcept {
  constexpr std::size_t least = std::size_t{256} << 20U;
  std::size_t third_level = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  const long size = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (size > 0) third_level = static_cast<std::size_t>(size);
#endif
  return std::clamp(4 * third_level, least, 4 * least);
}

/// Reads every float and gives their sum.
[[nodiscard]] float read_sweep(std::span<const float> from) noexcept;

/// Fills whole cache lines, past the caches where the instruction set can.
void write_past_caches(std::span<float> to, float value) noexcept;

/// Operations of one step of multiply_add_chains.
inline constexpr std::size_t multiply_add_flop =
    2 * 12 * nibble::simd::lanes<nibble::simd::best_architecture>;

/// `steps` multiply-adds in each of twelve independent vectors, which is what hides the latency of two
/// units. Each lane goes to 2, so the result is 24 * lanes.
[[nodiscard]] float multiply_add_chains(std::size_t steps) noexcept;
/// What multiply_add_chains gives after 64 steps or more.
inline constexpr float multiply_add_result =
    24.0F * static_cast<float>(nibble::simd::lanes<nibble::simd::best_architecture>);

/// Runs work(part) on each of `threads` equal parts of `whole`, which is a whole number of cache lines
/// a thread.
template <class Work>
void run_in_parts(nibble::executor* on, unsigned threads, std::span<float> whole, Work&& work) {
  constexpr std::size_t line = 16;
  const std::size_t lines = whole.size() / line;
  auto run_part = [&](std::size_t i) {
    const std::size_t first = lines * i / threads * line;
    const std::size_t end = lines * (i + 1) / threads * line;
    work(whole.subspan(first, end - first));
  };
  nibble::run_tasks(on, threads, run_part);
}

/// Seconds of the fastest run: at least `least_runs`, and for at least `least_seconds`.
template <class Work>
[[nodiscard]] double fastest_seconds(double least_seconds, int least_runs, Work&& work) {
  using clock = std::chrono::steady_clock;
  const auto seconds_since = [](clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
  };
  double fastest = std::numeric_limits<double>::infinity();
  const auto begin = clock::now();
  for (int run = 0; run < least_runs || seconds_since(begin) < least_seconds; ++run) {
    const auto start = clock::now();
    work();
    fastest = std::min(fastest, seconds_since(start));
  }
  return fastest;
}

/// Limits of the machine on a number of threads.
struct machine_roof {
  double read_bytes_per_second;
  double write_bytes_per_second;  ///< past the caches
  double flop_per_second;         ///< f32 multiply-add, two operations each
  bool is_checked;                ///< whether each measurement did its work

  /// Seconds that work takes at least: at the memory, or at arithmetic.
  [[nodiscard]] double least_seconds(double flop, double bytes_read, double bytes_written) const {
    const double memory = bytes_read / read_bytes_per_second + bytes_written / write_bytes_per_second;
    return std::max(flop / flop_per_second, memory);
  }
};

/// Measures each limit for `each` seconds, and three times at least.
[[nodiscard]] inline machine_roof measure_roof(nibble::executor* on, unsigned threads,
                                               double each = 0.3) {
  const line_aligned_floats memory(bytes_beyond_caches() / sizeof(float));
  const auto bytes = static_cast<double>(memory.span().size_bytes());
  std::atomic<bool> is_checked{true};
  machine_roof roof{};
  run_in_parts(on, threads, memory.span(),
               [](std::span<float> part) { write_past_caches(part, 0.0F); });
  roof.read_bytes_per_second = bytes / fastest_seconds(each, 3, [&] {
                                 run_in_parts(on, threads, memory.span(), [&](std::span<float> part) {
                                   if (read_sweep(part) != 0.0F) is_checked = false;
                                 });
                               });
  roof.write_bytes_per_second = bytes / fastest_seconds(each, 3, [&] {
                                  run_in_parts(on, threads, memory.span(), [](std::span<float> part) {
                                    write_past_caches(part, 1.0F);
                                  });
                                });
  is_checked = is_checked && std::ranges::all_of(memory.span(), [](float f) { return f == 1.0F; });
  constexpr std::size_t steps = 1U << 20U;
  const double seconds = fastest_seconds(each, 3, [&] {
    auto chains = [&](std::size_t) {
      if (multiply_add_chains(steps) != multiply_add_result) is_checked = false;
    };
    nibble::run_tasks(on, threads, chains);
  });
  roof.flop_per_second = static_cast<double>(threads * steps * multiply_add_flop) / seconds;
  roof.is_checked = is_checked;
  return roof;
}

}  // namespace nibble_benchmark
