#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/format/planned_tensor.hpp>

#include <support/catch.hpp>

namespace nibble_test {

/// A tensor of the bytes that its encoding and shape need.
inline nibble::planned_tensor planned(std::string name, nibble::encoding which,
                                      const nibble::shape& shape) {
  const auto size = nibble::stored_bytes(which, shape);
  REQUIRE(size.has_value());
  return {std::move(name), which, shape, *size};
}

/// Requires that front(tensors) is the same bytes in whichever order the tensors are planned.
template <class Front>
void require_order_changes_nothing(std::vector<nibble::planned_tensor> tensors, const Front& front) {
  using nibble::planned_tensor;
  std::ranges::sort(tensors, {}, &planned_tensor::name);
  const std::vector<std::byte> expected = front(tensors);
  std::size_t orders = 0;
  do {
    if (front(tensors) != expected) FAIL("order " << orders);
    ++orders;
  } while (std::ranges::next_permutation(tensors, {}, &planned_tensor::name).found);
  std::size_t all_orders = 1;
  for (std::size_t i = 2; i <= tensors.size(); ++i) all_orders *= i;
  CHECK(orders == all_orders);
}

}  // namespace nibble_test
