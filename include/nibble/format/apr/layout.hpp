#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/format/apr/header.hpp>

namespace nibble::apr {

/// Where every part of a file starts, as offsets from the start of the file.
struct layout {
  std::uint64_t metadata_offset = header_bytes;  ///< behind the header
  std::uint64_t index_offset = 0;                ///< behind the metadata
  std::uint64_t data_offset = 0;                 ///< behind the index
  std::vector<std::uint64_t> tensor_offsets;     ///< in the order of the sizes given
  std::uint64_t data_end = 0;                    ///< the last tensor's padding included
  std::uint64_t file_bytes = 0;                  ///< footer included
};

/// The layout of a file with parts of these sizes: header, metadata, index and data in this order, then
/// the tensors in the order of `tensor_bytes`, each part at the next multiple of 64. The writer takes
/// its offsets from here, and the reader compares those of a file with them. Nothing where 64 bits do
/// not hold an offset.
[[nodiscard]] inline std::optional<layout> lay_out(std::uint64_t metadata_bytes,
                                                   std::uint64_t index_bytes,
                                                   std::span<const std::uint64_t> tensor_bytes) {
  layout place;
  const auto after = [](std::uint64_t start, std::uint64_t bytes) -> std::optional<std::uint64_t> {
    const auto end = checked_add(start, bytes);
    return end ? checked_round_up(*end, alignment_bytes) : std::nullopt;
  };
  const auto index_offset = after(place.metadata_offset, metadata_bytes);
  if (!index_offset) return std::nullopt;
  const auto data_offset = after(*index_offset, index_bytes);
  if (!data_offset) return std::nullopt;
  place.index_offset = *index_offset;
  place.data_offset = *data_offset;
  place.tensor_offsets.reserve(tensor_bytes.size());
  std::uint64_t next = place.data_offset;
  for (const std::uint64_t bytes : tensor_bytes) {
    place.tensor_offsets.push_back(next);
    const auto end = after(next, bytes);
    if (!end) return std::nullopt;
    next = *end;
  }
  place.data_end = next;
  const auto file_bytes = checked_add(next, footer_bytes);
  if (!file_bytes) return std::nullopt;
  place.file_bytes = *file_bytes;
  return place;
}

}  // namespace nibble::apr
