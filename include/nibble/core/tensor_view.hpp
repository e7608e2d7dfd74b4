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
/// alignment. A view whose encoding is known has exactly the bytes that encoding and shape need, end to
/// end; only rows of a view of columns() lie apart.
class tensor_view : public tensor_description {
 public:
  /// An empty f32 vector.
  tensor_view() noexcept = default;

  /// Bytes that the host packed or received. Throws size_mismatch where their number is not what
  /// `which` and `dimensions` need.
  tensor_view(std::string_view name, nibble::encoding which, const nibble::shape& dimensions,
              std::span<const std::byte> bytes)
      : tensor_description(name, which, dimensions, bytes.size()), bytes_(bytes) {
    set_block_rows();
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
      : tensor_description(info), bytes_(bytes) {
    set_block_rows();
  }

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
  /// narrower than a byte), rows must start and end where blocks do; where blocks hold several rows
  /// (q4_r8, q8_r8), `first` must be a multiple of block_rows(), and so must first + count unless the
  /// rows end there. dequantize_rows() decodes the rows of every encoding.
  [[nodiscard]] tensor_view rows(std::uint64_t first, std::uint64_t count) const {
    require_rows(first, count);
    const auto place = bytes_of_rows(describe(encoding()), rows(), cols(), first, count);
    if (!place) refuse_part("rows", first, count);
    if (!is_contiguous()) {
      const std::uint64_t own_bytes = stored_block_row_bytes(describe(encoding()), cols()).value_or(0);
      return narrowed(count, cols(), first / block_rows_ * block_row_stride_bytes_, own_bytes);
    }
    tensor_view part = *this;
    part.narrow_to(count, cols(), place->offset, place->size);
    part.bytes_ =
        bytes_.subspan(static_cast<std::size_t>(place->offset), static_cast<std::size_t>(place->size));
    return part;
  }
  /// The product of all dimensions but the last; 1 for vectors and scalars.
  using tensor_description::rows;

  /// Columns first .. first + count of every row, as a matrix of rows x count: a view of their blocks,
  /// which can be decoded, repacked and multiplied like any other, and narrowed again by rows() and
  /// columns(). A host that spreads a weight's inputs over devices multiplies such views, and adds up
  /// what they give. Rows lie as far apart as before, so that bytes() of more than one row throws.
  ///
  /// Throws out_of_range. Throws unsupported_encoding where the columns are not whole blocks: `first`
  /// must be a multiple of the encoding's block_cols(), and so must first + count unless the row ends
  /// there. It throws too where rows do not start with a block, and they share one (apr_q4, elements
  /// narrower than a byte) or a scale (apr_q8). All columns are a view of every encoding.
  [[nodiscard]] tensor_view columns(std::uint64_t first, std::uint64_t count) const {
    require_columns(first, count);
    if (count == cols()) return rows(0, rows());
    const auto place = bytes_of_columns(describe(encoding()), cols(), first, count);
    if (!place) refuse_part("columns", first, count);
    return narrowed(rows(), count, place->offset, place->size);
  }

  /// All stored bytes, of no particular alignment; none of a composed() weight. Throws invalid_argument
  /// where the view is not is_contiguous(), for there is no such span; row_bytes() has the parts.
  [[nodiscard]] std::span<const std::byte> bytes() const {
    if (!is_contiguous()) {
      throw error(error_code::invalid_argument,
                  {.tensor = std::string(name()),
                   .field = "bytes",
                   .found = join_text(
                       {rows(), " rows of columns, ", block_row_stride_bytes_,
                        block_rows_ == 1 ? " bytes apart" : " bytes from one group to the next"}),
                   .expected = "rows that lie end to end"});
    }
    return bytes_;
  }

  /// Whether stored bytes lie end to end: those of every view but of several rows of columns().
  [[nodiscard]] bool is_contiguous() const noexcept { return !has_gaps_; }

  /// The first stored byte. Row r starts r * row_stride_bytes() behind it, where that is not 0.
  [[nodiscard]] const std::byte* data() const noexcept { return bytes_.data(); }

  /// Bytes from the start of a row to that of the next. 0 where rows do not start with a block and have
  /// no bytes of their own, as rows() says, and where the encoding is not known.
  [[nodiscard]] std::uint64_t row_stride_bytes() const noexcept {
    return block_rows_ == 1 ? block_row_stride_bytes_ : 0;
  }

  /// Rows that the same blocks hold: 8 of q4_r8 and q8_r8, else 1.
  [[nodiscard]] std::size_t block_rows() const noexcept { return block_rows_; }

  /// Bytes from the first block of rows 0 .. block_rows() to that of the next block_rows(); where that is
  /// one row, row_stride_bytes().
  [[nodiscard]] std::uint64_t block_row_stride_bytes() const noexcept {
    return block_row_stride_bytes_;
  }

  /// The stored bytes of one row. Throws as rows(row, 1) does.
  [[nodiscard]] std::span<const std::byte> row_bytes(std::uint64_t row) const {
    return rows(row, 1).bytes_;
  }

 private:
  void set_block_rows() noexcept {
    if (!has_encoding()) return;
    const encoding_description& stored = describe(encoding());
    block_rows_ = stored.block_rows();
    block_row_stride_bytes_ = stored_block_row_bytes(stored, cols()).value_or(0);
  }

  [[noreturn]] void refuse_part(std::string_view field, std::uint64_t first,
                                std::uint64_t count) const {
    const std::string_view one = field.substr(0, field.size() - 1);
    throw error(error_code::unsupported_encoding,
                {.tensor = std::string(name()),
                 .field = std::string(field),
                 .found = join_text({count, " from ", one, " ", first, ", stored as ",
                                     to_string(encoding()), " of ", shape().to_string()}),
                 .expected = join_text({field, " that are whole blocks"})});
  }

  /// A matrix whose block rows, own_bytes each, lie as far apart as this one's.
  [[nodiscard]] tensor_view narrowed(std::uint64_t row_count, std::uint64_t column_count,
                                     std::uint64_t skipped_bytes, std::uint64_t own_bytes) const {
    tensor_view part = *this;
    const bool is_empty = row_count == 0 || own_bytes == 0;
    const std::uint64_t skipped = is_empty ? 0 : skipped_bytes;
    const std::uint64_t block_row_count = divide_round_up(row_count, block_rows_);
    part.narrow_to(row_count, column_count, skipped, block_row_count * own_bytes);
    part.has_gaps_ = !is_empty && block_row_count > 1;
    const std::uint64_t extent =
        is_empty ? 0 : (block_row_count - 1) * block_row_stride_bytes_ + own_bytes;
    part.bytes_ = bytes_.subspan(static_cast<std::size_t>(skipped), static_cast<std::size_t>(extent));
    return part;
  }

  std::span<const std::byte> bytes_;  ///< with has_gaps_, from the first row's start to the last's end
  std::uint64_t block_row_stride_bytes_ = 0;
  std::uint32_t block_rows_ = 1;
  bool has_gaps_ = false;
  const composed_weight* composed_ = nullptr;
};

}  // namespace nibble
