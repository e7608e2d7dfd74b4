#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/tensor_info.hpp>

namespace nibble {

/// Calls visit(tensor) for every tensor in the order in which their bytes stand in the file: by offset,
/// then by size, so that empty tensors come before the one at whose offset they are, then by place in
/// the list. Returns whether that is the order of the list.
template <class Visit>
bool for_each_in_file_order(std::span<const tensor_info> tensors, Visit&& visit) {
  const auto place_of = [](const tensor_info& tensor) {
    return std::pair(tensor.file_offset_bytes, tensor.size_bytes);
  };
  if (std::is_sorted(tensors.begin(), tensors.end(), [&](const tensor_info& a, const tensor_info& b) {
        return place_of(a) < place_of(b);
      })) {
    for (const tensor_info& tensor : tensors) visit(tensor);
    return true;
  }
  // A list of its own, so that sorting does not reach into the tensors.
  std::vector<std::pair<decltype(place_of(tensors[0])), std::size_t>> order;
  order.reserve(tensors.size());
  for (const tensor_info& tensor : tensors) order.emplace_back(place_of(tensor), order.size());
  std::sort(order.begin(), order.end());
  for (const auto& [place, tensor] : order) visit(tensors[tensor]);
  return false;
}

}  // namespace nibble
