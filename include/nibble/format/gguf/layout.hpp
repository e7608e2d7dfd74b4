#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nibble/core/checked.hpp>

namespace nibble::gguf {

/// Where the data of a file and its tensors start.
struct layout {
  std::uint64_t data_offset = 0;              ///< from the start of the file
  std::vector<std::uint64_t> tensor_offsets;  ///< from data_offset, in the order of the sizes given
  std::uint64_t data_end = 0;                 ///< from the start, the last tensor's padding included
};

/// The layout of a file with parts of these sizes: the data start at the next multiple of
/// `alignment_bytes` behind header, metadata and tensor list (`front_bytes` in all), and the tensors
/// follow each other, each padded to the next multiple. The writer takes its offsets from here, and the
/// reader compares those of a file with them. Nothing where 64 bits do not hold an offset.
[[nodiscard]] inline std::optional<layout> lay_out(std::uint64_t front_bytes,
                                                   std::span<const std::uint64_t> tensor_bytes,
                                                   std::uint64_t alignment_bytes) {
  layout place;
  const auto data_offset = checked_round_up(front_bytes, alignment_bytes);
  if (!data_offset) return std::nullopt;
  place.data_offset = *data_offset;
  place.tensor_offsets.reserve(tensor_bytes.size());
  std::uint64_t next = 0;
  for (const std::uint64_t bytes : tensor_bytes) {
    place.tensor_offsets.push_back(next);
    const auto end = checked_add(next, bytes);
    const auto padded_end = end ? checked_round_up(*end, alignment_bytes) : std::nullopt;
    if (!padded_end) return std::nullopt;
    next = *padded_end;
  }
  const auto data_end = checked_add(place.data_offset, next);
  if (!data_end) return std::nullopt;
  place.data_end = *data_end;
  return place;
}

}  // namespace nibble::gguf
