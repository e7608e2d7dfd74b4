#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/composed_weight.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_description.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// A tensor's bytes together with all that is needed to read them. Copies nothing and owns nothing:
/// name and bytes belong to the reader (or to the host) and must outlive the view. Bytes need no
/// alignment. A view whose encoding is known has exactly the bytes that encoding and shape need.
class tensor_view : public tensor_description {
 public:
  /// An empty f32 vector.
  tensor_view() noexcept = default;

  /// Bytes that the host packed or received. Throws size_mismatch where their number is not what
  /// `which` and `dimensions` need.
  tensor_view(std::string_view name, nibble::encoding which, const nibble::shape& dimensions,
              std::span<const std::byte> bytes)
      : tensor_description(name, which, dimensions, bytes.size()), bytes_(bytes) {
    const auto needed = stored_bytes(which, dimensions);
    if (!needed || *needed != bytes.size()) {
      throw error(error_code::size_mismatch,
                  {.tensor = std::string(name),
                   .field = "bytes",
                   .found = std::to_string(bytes.size()),
                   .expected = join_text({bytes_text(needed), " for ", to_string(which), " of ",
                                          dimensions.to_string()})});
    }
  }

  /// An entry of a directory that opening a file has checked, and its info.size_bytes bytes; `info`
  /// must outlive the view.
  tensor_view(const tensor_info& info, std::span<const std::byte> bytes) noexcept
      : tensor_description(info), bytes_(bytes) {}

  /// A weight that several stored tensors make up together, which must outlive the view. It has no
  /// encoding and no bytes of its own: dequantize() and rows_of() decode it, and what needs an encoding
  /// refuses it as unsupported_encoding. dtype_text() is the name of its scheme; size_bytes() is the sum
  /// of its parts.
  explicit tensor_view(const composed_weight& weight) noexcept
      : tensor_description(weight.name(), weight.scheme(), weight.shape(), weight.file_offset_bytes(),
                           weight.size_bytes()),
        composed_(&weight) {}

  /// The weight of several stored tensors that this is; null for one that is stored as it is.
  [[nodiscard]] const composed_weight* composed() const noexcept { return composed_; }

  /// Rows first .. first + count as a matrix of count x cols: a view of their bytes, which can be
  /// decoded and multiplied like any other. A host that spreads a weight's outputs over devices loads
  /// such views.
  ///
  /// Throws out_of_range. Throws unsupported_encoding where the rows have no bytes of their own:
  /// apr_q8 has one scale before all codes; where blocks run along the tensor (apr_q4, elements
  /// narrower than a byte), rows must start and end where blocks do. dequantize_rows() decodes the
  /// rows of every encoding.
  [[nodiscard]] tensor_view rows(std::uint64_t first, std::uint64_t count) const {
    require_rows(first, count);
    const auto place = bytes_of_rows(describe(encoding()), rows(), cols(), first, count);
    if (!place) {
      throw error(error_code::unsupported_encoding,
                  {.tensor = std::string(name()),
                   .field = "rows",
                   .found = join_text({count, " from row ", first, ", stored as ",
                                       to_string(encoding()), " of ", shape().to_string()}),
                   .expected = "rows that are whole blocks"});
    }
    tensor_view part = *this;
    part.narrow_to_rows(count, place->offset, place->size);
    part.bytes_ =
        bytes_.subspan(static_cast<std::size_t>(place->offset), static_cast<std::size_t>(place->size));
    return part;
  }
  /// The product of all dimensions but the last; 1 for vectors and scalars.
  using tensor_description::rows;

  /// All stored bytes, of no particular alignment; none of a composed() weight.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
  const composed_weight* composed_ = nullptr;
};

}  // namespace nibble
