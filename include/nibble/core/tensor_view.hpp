#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// A tensor's bytes together with all that is needed to read them. Copies nothing and owns nothing:
/// name and bytes belong to the reader (or to the host) and must outlive the view. Bytes need no
/// alignment. A view whose encoding is known has exactly the bytes that encoding and shape need.
class tensor_view {
 public:
  /// An empty f32 vector.
  tensor_view() noexcept : encoding_(nibble::encoding::f32), shape_({0}) {}

  /// Bytes that the host packed or received. Throws size_mismatch where their number is not what
  /// `which` and `dimensions` need.
  tensor_view(std::string_view name, nibble::encoding which, const nibble::shape& dimensions,
              std::span<const std::byte> bytes)
      : name_(name), encoding_(which), shape_(dimensions), bytes_(bytes) {
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

  /// An entry of a directory that opening a file has checked; `info` must outlive the view.
  tensor_view(const tensor_info& info, std::span<const std::byte> bytes) noexcept
      : name_(info.name),
        dtype_(info.dtype),
        encoding_(info.encoding),
        dtype_id_(info.dtype_id),
        shape_(info.shape),
        file_offset_bytes_(info.file_offset_bytes),
        bytes_(bytes) {}

  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  /// False where the file's dtype is not known here: listed, but not to be decoded.
  [[nodiscard]] bool has_encoding() const noexcept { return encoding_.has_value(); }
  /// Throws unsupported_encoding, naming the dtype, where has_encoding() is false.
  [[nodiscard]] nibble::encoding encoding() const {
    if (!encoding_) {
      throw error(error_code::unsupported_encoding, {.tensor = std::string(name_),
                                                     .field = "dtype",
                                                     .found = dtype_text(),
                                                     .expected = "a dtype this library knows"});
    }
    return *encoding_;
  }
  /// The id in the file; nothing in containers whose dtypes are names, and for host bytes.
  [[nodiscard]] std::optional<std::uint32_t> dtype_id() const noexcept { return dtype_id_; }
  /// The encoding's name, or what the file calls a dtype that is not known: "id 77", "F8_E4M3".
  [[nodiscard]] std::string dtype_text() const {
    if (encoding_) return std::string(to_string(*encoding_));
    return dtype_id_ ? join_text({"id ", *dtype_id_}) : std::string(dtype_);
  }
  [[nodiscard]] const nibble::shape& shape() const noexcept { return shape_; }
  [[nodiscard]] std::uint64_t elements() const noexcept { return shape_.elements(); }
  [[nodiscard]] std::uint64_t rows() const noexcept { return shape_.rows(); }
  [[nodiscard]] std::uint64_t cols() const noexcept { return shape_.cols(); }
  /// Rows first .. first + count as a matrix of count x cols: a view of their bytes, which can be
  /// decoded and multiplied like any other. A host that spreads a weight's outputs over devices loads
  /// such views.
  ///
  /// Throws out_of_range. Throws unsupported_encoding where the rows have no bytes of their own:
  /// apr_q8 has one scale before all codes; where blocks run along the tensor (apr_q4, elements
  /// narrower than a byte), rows must start and end where blocks do. dequantize_rows() decodes the
  /// rows of every encoding.
  [[nodiscard]] tensor_view rows(std::uint64_t first, std::uint64_t count) const {
    if (first > rows() || count > rows() - first) {
      throw error(error_code::out_of_range, {.tensor = std::string(name_),
                                             .field = "rows",
                                             .found = join_text({count, " from row ", first}),
                                             .expected = join_text({"within ", rows(), " rows"})});
    }
    const auto place = bytes_of_rows(describe(encoding()), rows(), cols(), first, count);
    if (!place) {
      throw error(error_code::unsupported_encoding,
                  {.tensor = std::string(name_),
                   .field = "rows",
                   .found = join_text({count, " from row ", first, ", stored as ",
                                       to_string(*encoding_), " of ", shape_.to_string()}),
                   .expected = "rows that are whole blocks"});
    }
    tensor_view part = *this;
    part.shape_ = nibble::shape{count, cols()};
    part.bytes_ =
        bytes_.subspan(static_cast<std::size_t>(place->offset), static_cast<std::size_t>(place->size));
    part.file_offset_bytes_ += place->offset;
    return part;
  }
  /// 4 * elements / bytes, or nothing for an empty tensor.
  [[nodiscard]] std::optional<double> packing_ratio() const noexcept {
    return nibble::packing_ratio(shape_, bytes_.size());
  }
  /// Where the bytes start in the file; 0 for host bytes.
  [[nodiscard]] std::uint64_t file_offset_bytes() const noexcept { return file_offset_bytes_; }
  /// The largest power of two, up to a page of 4096, that divides the offset in the file.
  [[nodiscard]] std::uint64_t alignment_bytes() const noexcept {
    constexpr std::uint64_t page_bytes = 4096;
    return std::uint64_t{1} << std::countr_zero(file_offset_bytes_ | page_bytes);
  }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  std::string_view name_;
  std::string_view dtype_;
  std::optional<nibble::encoding> encoding_;
  std::optional<std::uint32_t> dtype_id_;
  nibble::shape shape_;
  std::uint64_t file_offset_bytes_ = 0;
  std::span<const std::byte> bytes_;
};

}  // namespace nibble
