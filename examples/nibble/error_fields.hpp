#pragma once

#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/shape.hpp>

#include "json_number.hpp"
#include "tensor_errors.hpp"

namespace nibble_command {

/// The fields of errors that README lists.
[[nodiscard]] inline nlohmann::json error_fields(const tensor_errors& errors) {
  using nlohmann::json;
  const auto cosine = errors.cosine();
  const bool has_values = errors.elements() != 0;
  const auto measured = [&](double value) { return has_values ? json_number(value) : json(nullptr); };
  return {{"elements", errors.elements()},
          {"equal", errors.are_equal()},
          {"infinite_errors", errors.infinite_errors()},
          {"max_abs_error", measured(errors.max_abs_error())},
          {"rmse", measured(errors.rmse())},
          {"relative_rmse", measured(errors.relative_rmse())},
          {"sqnr_db", measured(errors.sqnr_db())},
          {"cosine", cosine ? json(*cosine) : json(nullptr)}};
}

/// The dimensions, outermost first.
[[nodiscard]] inline nlohmann::json dimensions_of(const nibble::shape& shape) {
  const auto list = shape.dimensions();
  return std::vector<std::uint64_t>(list.begin(), list.end());
}

}  // namespace nibble_command
