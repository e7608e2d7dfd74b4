// Packs a tensor of 4 GiB of f32 to q4 from a row source, and holds the program's peak resident memory
// and the file's values against what they should be.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

#include <fmt/format.h>

#include <nibble/reader.hpp>
#include <nibble/writer.hpp>

namespace {

constexpr std::uint64_t rows = 1U << 18U;
constexpr std::uint64_t cols = 1U << 12U;
constexpr long allowed_kib = 200L * 1000 * 1000 / 1024;

/// A value in -1..1 that depends on its place alone.
float value_at(std::uint64_t element) {
  const auto mixed = static_cast<std::uint32_t>((element * 0x9E3779B97F4A7C15U) >> 32U);
  return static_cast<float>(mixed) * 0x1p-31F - 1.0F;
}

class two_threads final : public nibble::executor {
 public:
  void run(std::size_t tasks, nibble::task_reference body) override {
    const auto every_second = [&](std::size_t first) {
      for (std::size_t task = first; task < tasks; task += 2) body(task);
    };
    const std::jthread other(every_second, 1);
    every_second(0);
  }
};

long peak_resident_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

int run(const std::string& path) {
  nibble::writer out;
  out.add<nibble::q4>("large", {rows, cols},
                      [](std::uint64_t first_row, std::uint64_t, std::span<float> values) {
                        for (std::size_t i = 0; i < values.size(); ++i) {
                          values[i] = value_at(first_row * cols + i);
                        }
                      });
  two_threads on;
  out.write(path, {.executor = &on});
  const long peak_kib = peak_resident_kib();
  fmt::print("packed {} GiB of f32, peak resident memory {:.1f} MB\n", rows * cols * 4 >> 30U,
             static_cast<double>(peak_kib) * 1024 / 1e6);
  if (peak_kib > allowed_kib) {
    fmt::print("more than 200 MB\n");
    return 1;
  }

  const nibble::reader in(path);
  const nibble::tensor_view& packed = in["large"];
  if (packed.elements() != rows * cols || packed.bytes().size() != rows * cols / 32 * 20) {
    fmt::print("{} elements in {} bytes\n", packed.elements(), packed.bytes().size());
    return 1;
  }
  std::vector<float> row(cols);
  for (std::uint64_t i = 0; i < rows; i += 997) {
    nibble::dequantize_rows(packed, i, 1, row);
    for (std::uint64_t first = 0; first < cols; first += nibble::q4::block_elements) {
      double squared_error = 0;
      for (std::uint64_t j = first; j < first + nibble::q4::block_elements; ++j) {
        squared_error += std::pow(double{row[j]} - double{value_at(i * cols + j)}, 2);
      }
      // Sixteen levels over a span of at most 2 are off by 1/15 at most, and the block that is chosen has
      // no larger sum of squares.
      if (!(squared_error <= std::pow(1.01 / 15.0, 2) * nibble::q4::block_elements)) {
        fmt::print("row {}, columns from {}: squared error {}\n", i, first, squared_error);
        return 1;
      }
    }
  }
  return 0;
}

}  // namespace

int main() {
  const std::string path = fmt::format("large_tensor_{}.apr", ::getpid());
  int result = 1;
  try {
    result = run(path);
  } catch (const std::exception& problem) {
    fmt::print("{}\n", problem.what());
  }
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return result;
}
