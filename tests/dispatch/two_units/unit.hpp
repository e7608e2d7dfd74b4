#pragma once

#include <span>
#include <string_view>
#include <vector>

#include <nibble/core/float16.hpp>
#include <nibble/core/tensor_view.hpp>

namespace two_units {

/// What a unit's kernels gave, and where its inline functions lie.
struct report {
  std::string_view architecture;
  const void* convert;
  const void* to_float32;
  std::vector<float> values;
  std::vector<float> products;
  std::vector<nibble::float16> halves;
};

[[nodiscard]] report least(const nibble::tensor_view& w, std::span<const float> x);
[[nodiscard]] report avx2(const nibble::tensor_view& w, std::span<const float> x);

}  // namespace two_units
