// Prints hashes of what decoding and multiplying give, for every encoding and mode.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

namespace {

std::uint64_t hash(std::span<const float> values) {  // FNV-1a
  std::uint64_t state = 0xCBF29CE484222325U;
  for (const float value : values) {
    state = (state ^ std::bit_cast<std::uint32_t>(value)) * 0x100000001B3U;
  }
  return state;
}

}  // namespace

int main() {
  constexpr std::size_t rows = 67, cols = 1055, x_rows = 17;
  std::mt19937 generator(5);
  std::vector<float> x(x_rows * cols), y(x_rows * rows), values(rows * cols);
  for (float& value : x) value = static_cast<float>(generator()) * 0x1p-31F - 1.0F;
  std::printf("%s\n", std::string(nibble::dispatched_architecture()).c_str());
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!nibble::is_decodable(row.encoding)) continue;
    const nibble::shape shape = {rows, cols};
    std::vector<std::byte> bytes(static_cast<std::size_t>(*nibble::stored_bytes(row.encoding, shape)));
    // Without the upper two bits every float in them, of whatever size, is finite.
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(generator() % 64U);
    const nibble::tensor_view w("w", row.encoding, shape, bytes);
    nibble::dequantize(w, values);
    std::printf("%s %016llx", std::string(nibble::to_string(row.encoding)).c_str(),
                static_cast<unsigned long long>(hash(values)));
    for (const auto mode :
         {nibble::matmul_mode::exact, nibble::matmul_mode::int16, nibble::matmul_mode::int8}) {
      for (const std::size_t m : std::array<std::size_t, 3>{1, 3, x_rows}) {
        const auto outputs = std::span(y).first(m * rows);
        nibble::matmul(w, std::span(x).first(m * cols), outputs, {.mode = mode});
        std::printf(" %016llx", static_cast<unsigned long long>(hash(outputs)));
      }
    }
    std::printf("\n");
  }
}
