#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/compute/executor.hpp>
#include <nibble/file/crc32.hpp>

namespace nibble {

/// CRC-32 of `bytes`, computed in parts of 4 MiB on the executor; the value does not depend on it.
[[nodiscard]] inline std::uint32_t crc32_in_parts(std::span<const std::byte> bytes,
                                                  const compute_options& options = {}) {
  constexpr std::size_t part_bytes = std::size_t{1} << 22U;
  std::vector<crc32_sum> sums(bytes.size() / part_bytes + 1);
  run_tasks(options.executor, sums.size(), [&](std::size_t i) {
    const auto rest = bytes.subspan(i * part_bytes);
    sums[i] = crc32_sum(rest.first(std::min(rest.size(), part_bytes)));
  });
  crc32_sum whole;
  for (const crc32_sum& sum : sums) whole += sum;
  return whole.value();
}

}  // namespace nibble
