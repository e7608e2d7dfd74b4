#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// What is known of a tensor beside its bytes: name, encoding, shape, and where it is in its file. Owns
/// nothing: the name belongs to the reader (or to the host) and must outlive the description.
///
/// tensor_view adds the bytes. A reader of byte sources lists descriptions, a reader of files views.
class tensor_description {
 public:
  /// An empty f32 vector.
  tensor_description() noexcept : encoding_(nibble::encoding::f32), shape_({0}) {}

  /// An entry of a directory that opening a file has checked; `info` must outlive the description.
  explicit tensor_description(const tensor_info& info) noexcept
      : name_(info.name),
        dtype_(info.dtype),
        encoding_(info.encoding),
        dtype_id_(info.dtype_id),
        shape_(info.shape),
        file_offset_bytes_(info.file_offset_bytes),
        size_bytes_(info.size_bytes),
        crc32_(info.crc32) {}

  /// UTF-8, as the file has it.
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
  /// Outermost dimension first.
  [[nodiscard]] const nibble::shape& shape() const noexcept { return shape_; }
  /// The product of all dimensions.
  [[nodiscard]] std::uint64_t elements() const noexcept { return shape_.elements(); }
  /// The product of all dimensions but the last; 1 for vectors and scalars.
  [[nodiscard]] std::uint64_t rows() const noexcept { return shape_.rows(); }
  /// The last dimension; 1 for scalars.
  [[nodiscard]] std::uint64_t cols() const noexcept { return shape_.cols(); }
  /// Number of stored bytes.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  /// 4 * elements / bytes, or nothing for an empty tensor.
  [[nodiscard]] std::optional<double> packing_ratio() const noexcept {
    return nibble::packing_ratio(shape_, size_bytes_);
  }
  /// Where the bytes start in the file; 0 for host bytes.
  [[nodiscard]] std::uint64_t file_offset_bytes() const noexcept { return file_offset_bytes_; }
  /// The largest power of two, up to a page of 4096, that divides the offset in the file.
  [[nodiscard]] std::uint64_t alignment_bytes() const noexcept {
    constexpr std::uint64_t page_bytes = 4096;
    return std::uint64_t{1} << std::countr_zero(file_offset_bytes_ | page_bytes);
  }
  /// CRC-32 of the stored bytes as the file records it. Nothing where it records none, for rows or
  /// columns of a tensor and for host bytes.
  [[nodiscard]] std::optional<std::uint32_t> crc32() const noexcept { return crc32_; }

  /// Throws out_of_range unless rows first .. first + count are the tensor's.
  void require_rows(std::uint64_t first, std::uint64_t count) const {
    if (first <= rows() && count <= rows() - first) return;
    throw error(error_code::out_of_range, {.tensor = std::string(name_),
                                           .field = "rows",
                                           .found = join_text({count, " from row ", first}),
                                           .expected = join_text({"within ", rows(), " rows"})});
  }

  /// Throws out_of_range unless columns first .. first + count are the tensor's.
  void require_columns(std::uint64_t first, std::uint64_t count) const {
    if (first <= cols() && count <= cols() - first) return;
    throw error(error_code::out_of_range, {.tensor = std::string(name_),
                                           .field = "columns",
                                           .found = join_text({count, " from column ", first}),
                                           .expected = join_text({"within ", cols(), " columns"})});
  }

  /// A copy that owns its name.
  [[nodiscard]] tensor_info info() const {
    return {.name = std::string(name_),
            .encoding = encoding_,
            .dtype_id = dtype_id_,
            .dtype = std::string(dtype_),
            .shape = shape_,
            .file_offset_bytes = file_offset_bytes_,
            .size_bytes = size_bytes_,
            .crc32 = crc32_};
  }

 protected:
  /// Bytes of the host, `size_bytes` of them.
  tensor_description(std::string_view name, nibble::encoding which, const nibble::shape& dimensions,
                     std::uint64_t size_bytes) noexcept
      : name_(name), encoding_(which), shape_(dimensions), size_bytes_(size_bytes) {}

  /// A weight of no encoding, which `dtype` names; both texts must outlive the description.
  tensor_description(std::string_view name, std::string_view dtype, const nibble::shape& dimensions,
                     std::uint64_t file_offset_bytes, std::uint64_t size_bytes) noexcept
      : name_(name),
        dtype_(dtype),
        shape_(dimensions),
        file_offset_bytes_(file_offset_bytes),
        size_bytes_(size_bytes) {}

  /// Becomes the description of a matrix within this one, whose first byte is `skipped_bytes` behind
  /// this one's and which has `size_bytes` of its own.
  void narrow_to(std::uint64_t row_count, std::uint64_t column_count, std::uint64_t skipped_bytes,
                 std::uint64_t size_bytes) {
    shape_ = nibble::shape{row_count, column_count};
    file_offset_bytes_ += skipped_bytes;
    size_bytes_ = size_bytes;
    crc32_.reset();
  }

 private:
  std::string_view name_;
  std::string_view dtype_;  ///< as in the file, where dtypes are names
  std::optional<nibble::encoding> encoding_;
  std::optional<std::uint32_t> dtype_id_;
  nibble::shape shape_;
  std::uint64_t file_offset_bytes_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::optional<std::uint32_t> crc32_;
};

}  // namespace nibble
