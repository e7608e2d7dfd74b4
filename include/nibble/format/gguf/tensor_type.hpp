#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>

namespace nibble::gguf {

/// The encoding of a ggml type, or nothing where the table of encodings does not have the type.
[[nodiscard]] constexpr std::optional<encoding> encoding_of(std::uint32_t ggml_type) noexcept {
  constexpr auto by_type = [] {
    std::array<std::optional<encoding>, 256> all{};
    for (const encoding_description& row : encodings) {
      if (row.gguf_type) all[*row.gguf_type] = row.encoding;
    }
    return all;
  }();
  return ggml_type < by_type.size() ? by_type[ggml_type] : std::nullopt;
}

/// Throws bad_shape for a dimension of 2^63 and more: other readers take dimensions for signed.
inline void require_signed(std::string_view tensor, std::uint64_t dimension) {
  if (dimension <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return;
  throw error(error_code::bad_shape, {.tensor = std::string(tensor),
                                      .field = "dimension",
                                      .found = std::to_string(dimension),
                                      .expected = "below 2^63"});
}

/// Throws bad_shape where the rows of a tensor are not whole blocks of its encoding, as they must be in
/// GGUF.
inline void require_whole_blocks(std::string_view tensor, encoding which, const shape& dimensions) {
  const std::uint32_t block_elements = describe(which).block_elements;
  if (dimensions.cols() % block_elements == 0) return;
  throw error(
      error_code::bad_shape,
      {.tensor = std::string(tensor),
       .field = "shape",
       .found = join_text({dimensions.to_string(), " as ", to_string(which)}),
       .expected = join_text({"rows of whole blocks of ", block_elements, ", as GGUF has them"})});
}

}  // namespace nibble::gguf
