#pragma once

#include <cmath>

#include <nlohmann/json.hpp>

namespace nibble_command {

/// A number as JSON has it; what JSON lacks as a string: "inf", "-inf", "nan".
[[nodiscard]] inline nlohmann::json json_number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

}  // namespace nibble_command
