#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/matmul.hpp>

#include "use.hpp"

namespace nibble_fuzz {

std::vector<float> decode(const nibble::tensor_view& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  nibble::dequantize(tensor, values);
  return values;
}

std::vector<float> multiply(const nibble::tensor_view& tensor, std::span<const float> x,
                            std::size_t mode) {
  constexpr std::array modes = {nibble::matmul_mode::exact, nibble::matmul_mode::int16,
                                nibble::matmul_mode::int8};
  static_assert(modes.size() == multiply_modes);
  const std::size_t x_rows =
      tensor.cols() == 0 ? 0 : x.size() / static_cast<std::size_t>(tensor.cols());
  std::vector<float> y(x_rows * static_cast<std::size_t>(tensor.rows()));
  nibble::matmul(tensor, x, y, {.mode = modes[mode]});
  return y;
}

}  // namespace nibble_fuzz
