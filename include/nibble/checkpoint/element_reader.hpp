#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/architecture.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/core/float8.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Elements of a stored tensor, one at a time and exact, as f32: scales, zero points, levels.
class element_reader {
 public:
  /// No elements.
  element_reader() noexcept = default;
  /// Elements of `tensor`, or its bytes read as another encoding of as many. `as` is one that
  /// can_read() takes.
  element_reader(const tensor_view& tensor, encoding as) noexcept
      : bytes_(tensor.bytes()), encoding_(as), float8_(float8_values(as)) {}
  /// As above, as the tensor is stored.
  explicit element_reader(const tensor_view& tensor) : element_reader(tensor, tensor.encoding()) {}

  /// Whether elements of an encoding are read here: f32, f16, bf16, 8-bit floats, i8, u8.
  [[nodiscard]] static constexpr bool can_read(encoding which) noexcept {
    switch (which) {
      case encoding::f32:
      case encoding::f16:
      case encoding::bf16:
      case encoding::i8:
      case encoding::u8: return true;
      default: return float8_values(which) != nullptr;
    }
  }

  /// Element i, which is less than the tensor's elements.
  [[nodiscard]] float operator[](std::uint64_t i) const noexcept {
    const auto at = static_cast<std::size_t>(i);
    switch (encoding_) {
      case encoding::f32: return load_number<float>(bytes_, 4 * at);
      case encoding::f16: return to_float32(float16{load_number<std::uint16_t>(bytes_, 2 * at)});
      case encoding::bf16: return to_float32(bfloat16{load_number<std::uint16_t>(bytes_, 2 * at)});
      case encoding::i8: return static_cast<float>(load_number<std::int8_t>(bytes_, at));
      case encoding::u8: return static_cast<float>(load_number<std::uint8_t>(bytes_, at));
      default: return (*float8_)[load_number<std::uint8_t>(bytes_, at)];
    }
  }

 private:
  std::span<const std::byte> bytes_{};
  nibble::encoding encoding_ = encoding::f32;
  const std::array<float, 256>* float8_ = nullptr;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
