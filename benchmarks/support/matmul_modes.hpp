#pragma once

#include <array>
#include <string_view>

#include <nibble/compute/matmul.hpp>

namespace nibble_benchmark {

/// A mode of matmul as tools list and check it.
struct matmul_mode_description {
  nibble::matmul_mode mode;
  std::string_view name;
  /// Norm of the difference over norm of the result against f64 that counts as a wrong product, for x
  /// without structure.
  double wrong_from;
};

/// Every mode that tools measure: one row a mode.
inline constexpr std::array matmul_modes{
    matmul_mode_description{nibble::matmul_mode::exact, "exact", 1e-5},
    matmul_mode_description{nibble::matmul_mode::int16, "int16", 2e-4},
    matmul_mode_description{nibble::matmul_mode::int8, "int8", 3e-2},
};

}  // namespace nibble_benchmark
