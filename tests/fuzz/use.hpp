#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <nibble/core/tensor_view.hpp>
#include <nibble/reader.hpp>

/// What targets do with tensors and files. The kernels of every encoding are compiled once for all.
namespace nibble_fuzz {

/// How many ways of treating activations multiply() goes through.
inline constexpr std::size_t multiply_modes = 3;

/// A tensor that can be decoded, decoded by the vector kernels.
[[nodiscard]] std::vector<float> decode(const nibble::tensor_view& tensor);

/// x[M x cols] times the tensor, M x rows, by the vector kernels; mode 0 is exact, 1 int16, 2 int8.
[[nodiscard]] std::vector<float> multiply(const nibble::tensor_view& tensor, std::span<const float> x,
                                          std::size_t mode);

/// Walks, examines, decodes and multiplies the tensors of what is open. Only nibble::error comes out.
void use(const nibble::reader& in);

/// Opens bytes as a container in every way there is, in memory and piece by piece, which must agree.
/// What opens is walked, examined, decoded and multiplied, its metadata written and read again.
/// Nothing but nibble::error may come of it, and it must not leave this function. Whether it opened.
bool open_and_use(std::span<const std::byte> bytes);

/// A message is one line that a terminal can be shown.
[[nodiscard]] inline bool is_one_line(std::string_view message) {
  return message.find_first_of("\n\r\t\x1b") == std::string_view::npos;
}

/// Ends the program, so that the fuzzer keeps the input, unless the condition holds.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace nibble_fuzz
