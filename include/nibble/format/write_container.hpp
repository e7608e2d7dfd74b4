#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nibble/compute/executor.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/file/atomic_file.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/container_serialiser.hpp>
#include <nibble/format/tensor_plan.hpp>
#include <nibble/format/tensor_source.hpp>
#include <nibble/format/write_progress.hpp>

namespace nibble {

/// CRC-32 of all bytes before a footer: the front, then the tensors at their places, zeros between.
template <ContainerSerialiser Serialiser>
[[nodiscard]] std::uint32_t crc32_before_footer(const Serialiser& serialiser,
                                                std::span<const std::byte> front,
                                                std::span<const crc32_sum> tensors) {
  crc32_sum whole(front);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    whole += crc32_sum::of_zeros(serialiser.offset_bytes(i) - whole.size_bytes());
    whole += tensors[i];
  }
  whole += crc32_sum::of_zeros(serialiser.data_end() - whole.size_bytes());
  return whole.value();
}

/// Writes what stands around the tensors, whose checksums are given in file order. The bytes are parsed
/// once more as a reader would: what it would refuse never appears under the file's name. Throws
/// write_failed, and as parsing does.
template <ContainerSerialiser Serialiser>
void write_around_tensors(Serialiser& serialiser, std::span<const crc32_sum> tensors,
                          atomic_file& file) {
  std::vector<std::uint32_t> crc32;
  crc32.reserve(tensors.size());
  for (const crc32_sum& sum : tensors) crc32.push_back(sum.value());
  const std::vector<std::byte> front = serialiser.front(crc32);
  file.write_at(0, front);
  std::array<std::byte, apr::footer_bytes> footer{};
  if constexpr (Serialiser::has_footer) {
    store_number(footer, 0, crc32_before_footer(serialiser, front, tensors));
    file.write_at(serialiser.data_end(), footer);
  }
  static_cast<void>(Serialiser::read_back(front, serialiser.file_bytes(), footer));
}

inline namespace NIBBLE_ARCHITECTURE {

/// The chunks of the plan's tensors at `places`, in the order of the file. serialiser.order() lists
/// positions in `places`, and `places` positions in `plan`. Where an encoding has one scale for the
/// whole tensor, its source is read here once or twice.
template <ContainerSerialiser Serialiser>
[[nodiscard]] std::vector<tensor_chunks> prepare_tensors(const Serialiser& serialiser,
                                                         std::span<const plan_entry> plan,
                                                         std::span<const std::size_t> places,
                                                         progress_report& report,
                                                         nibble::executor* executor) {
  std::vector<tensor_chunks> tensors;
  tensors.reserve(places.size());
  for (const std::size_t position : serialiser.order()) {
    const auto& [tensor, source] = plan[places[position]];
    tensors.emplace_back(tensor, source, executor,
                         [&name = tensor.name, &report] { report.add(0, name); });
  }
  return tensors;
}

/// Packs tensors and writes them to their places, spread over the executor chunk by chunk. Returns their
/// checksums.
template <ContainerSerialiser Serialiser>
[[nodiscard]] std::vector<crc32_sum> write_tensors(const Serialiser& serialiser,
                                                   const std::vector<tensor_chunks>& tensors,
                                                   atomic_file& file, progress_report& report,
                                                   nibble::executor* executor) {
  struct task {
    std::size_t tensor;
    std::size_t chunk;
  };
  std::vector<task> tasks;
  for (std::size_t tensor = 0; tensor < tensors.size(); ++tensor) {
    for (std::size_t chunk = 0; chunk < tensors[tensor].count(); ++chunk)
      tasks.push_back({tensor, chunk});
  }
  std::vector<crc32_sum> sums(tasks.size());
  run_tasks(executor, tasks.size(), [&](std::size_t i) {
    const auto [tensor, chunk] = tasks[i];
    std::vector<std::byte> buffer;
    const std::span<const std::byte> bytes =
        Serialiser::stored(tensors[tensor].encoding(), tensors[tensor].bytes(chunk, buffer), buffer);
    file.write_at(serialiser.offset_bytes(tensor) + tensors[tensor].offset_bytes(chunk), bytes);
    sums[i] = crc32_sum(bytes);
    report.add(bytes.size(), tensors[tensor].name());
  });
  std::vector<crc32_sum> of_tensors(tensors.size());
  for (std::size_t i = 0; i < tasks.size(); ++i) of_tensors[tasks[i].tensor] += sums[i];
  return of_tensors;
}

/// Packs and writes the tensors at `places` of a plan, which `serialiser` was made of, and all that
/// stands around them. The file is complete then and not yet committed.
template <ContainerSerialiser Serialiser>
void write_container(Serialiser& serialiser, std::span<const plan_entry> plan,
                     std::span<const std::size_t> places, atomic_file& file, progress_report& report,
                     nibble::executor* executor) {
  const auto tensors = prepare_tensors(serialiser, plan, places, report, executor);
  const auto sums = write_tensors(serialiser, tensors, file, report, executor);
  write_around_tensors(serialiser, sums, file);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
