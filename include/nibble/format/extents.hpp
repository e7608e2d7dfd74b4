#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// Checks that the tensors lie in the file and that no two overlap; returns where the last one ends.
/// Tensors must start at `data_offset` or behind it, and end below 2^64. Tensors without bytes may
/// share an offset with others. Throws truncated for a tensor past the end of the file, bad_layout for
/// two that overlap.
inline std::uint64_t check_extents(const std::vector<tensor_info>& tensors, std::uint64_t data_offset,
                                   std::uint64_t file_bytes) {
  std::uint64_t end = data_offset;
  bool is_in_order = true;
  for (const tensor_info& tensor : tensors) {
    const std::uint64_t tensor_end = tensor.file_offset_bytes + tensor.size_bytes;
    if (tensor_end > file_bytes) {
      throw error(error_code::truncated, {.tensor = tensor.name,
                                          .field = "data",
                                          .found = join_text({"a file of ", file_bytes, " bytes"}),
                                          .expected = join_text({"at least ", tensor_end})});
    }
    if (tensor.size_bytes == 0) continue;
    is_in_order = is_in_order && tensor.file_offset_bytes >= end;
    end = tensor_end;
  }
  if (is_in_order) return end;

  std::vector<std::pair<std::uint64_t, std::size_t>> by_offset;
  by_offset.reserve(tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].size_bytes != 0) by_offset.emplace_back(tensors[i].file_offset_bytes, i);
  }
  std::sort(by_offset.begin(), by_offset.end());
  end = data_offset;
  for (std::size_t i = 0; i < by_offset.size(); ++i) {
    const auto [offset, place] = by_offset[i];
    const tensor_info& tensor = tensors[place];
    if (offset < end) {
      const std::string before =
          i == 0 ? std::string("the index")
                 : join_text({"tensor '", tensors[by_offset[i - 1].second].name, "'"});
      throw error(error_code::bad_layout,
                  {.tensor = tensor.name,
                   .field = "offset",
                   .found = std::to_string(offset),
                   .expected = join_text({"at least ", end, ", behind ", before})});
    }
    end = offset + tensor.size_bytes;
  }
  return end;
}

}  // namespace nibble
