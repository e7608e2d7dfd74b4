#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include <fmt/format.h>

#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_command {

/// Whether a tensor holds whole numbers, which are indices and masks rather than weights.
[[nodiscard]] constexpr bool holds_integers(nibble::encoding which) noexcept {
  using nibble::encoding;
  switch (which) {
    case encoding::i8:
    case encoding::u8:
    case encoding::i16:
    case encoding::u16:
    case encoding::i32:
    case encoding::u32:
    case encoding::i64:
    case encoding::u64:
    case encoding::bool8: return true;
    default: return false;
  }
}

/// Throws not_representable, naming the element, where a finite f64 of `tensor` has no finite f32: read
/// as f32 it would become infinite without a word. Tensors of other encodings pass.
inline void require_f32_range(const nibble::tensor_view& tensor) {
  if (tensor.composed() != nullptr || tensor.encoding() != nibble::encoding::f64) return;
  for (std::uint64_t i = 0; i < tensor.elements(); ++i) {
    double value = 0.0;
    std::memcpy(&value, tensor.bytes().data() + i * sizeof(value), sizeof(value));
    if (std::isfinite(value) && std::fabs(value) > double{std::numeric_limits<float>::max()}) {
      throw nibble::error(nibble::error_code::not_representable, {.tensor = std::string(tensor.name()),
                                                                  .field = fmt::format("element {}", i),
                                                                  .found = fmt::format("{}", value),
                                                                  .expected = "a value within f32"});
    }
  }
}

}  // namespace nibble_command
