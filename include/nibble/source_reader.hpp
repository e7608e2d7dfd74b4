#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_description.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/finding.hpp>
#include <nibble/format/parse_container.hpp>
#include <nibble/format/tensor_list.hpp>

namespace nibble {

/// A tensor, or rows of one, read into memory of its own. Every function that takes a tensor_view takes
/// it, too: nibble::matmul(source.load("ffn"), x, y).
class loaded_tensor {
 public:
  /// `bytes` are info.size_bytes.
  loaded_tensor(tensor_info info, std::unique_ptr<std::byte[]> bytes) noexcept
      : info_(std::move(info)), bytes_(std::move(bytes)) {}

  /// Name, encoding, shape and bytes; valid while this object lives and is not moved.
  [[nodiscard]] tensor_view view() const noexcept {
    return {info_, {bytes_.get(), static_cast<std::size_t>(info_.size_bytes)}};
  }
  /// The same, so that it is taken where a view is.
  operator tensor_view() const noexcept { return view(); }  // NOLINT: implicit by purpose

 private:
  tensor_info info_;
  std::unique_ptr<std::byte[]> bytes_;
};

/// A container that is read piece by piece from what the host brings, an archive's member or an object
/// in a store. Opening reads what stands in front of the tensors (of GGUF up to 64 KiB more, for it
/// does not say where that ends), and an .apr file's footer; loading reads one tensor's bytes, or those
/// of its rows, and nothing else.
///
/// Lists and finds tensors as a reader of files does, but as descriptions: load() fetches the bytes.
///
/// Json is a specialization of nlohmann::basic_json; nibble::source_reader is the one for
/// nlohmann::json.
///
/// All member functions that are const may be called from several threads at once where the source's
/// may.
template <class Json>
class basic_source_reader : public tensor_list<tensor_description> {
 public:
  /// Reads and checks the directory as reader does. `from` must outlive the reader; `name` stands for
  /// the path in messages.
  ///
  /// Throws as opening a reader does, and whatever the source throws.
  explicit basic_source_reader(const byte_source& from, std::string name = "source")
      : tensor_list(std::move(name)), from_(&from), file_bytes_(from.size_bytes()) {
    try {
      directory_ = parse_container<Json>(from);
    } catch (const error& problem) {
      throw problem.in_file(this->name());
    }
    list(directory_.tensors, std::move(directory_.names),
         [](const tensor_info& tensor) { return tensor_description(tensor); });
  }

  /// Which kind of file it is.
  [[nodiscard]] nibble::container container() const noexcept { return directory_.container; }
  /// Bytes of the source.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_bytes_; }
  /// As basic_reader::metadata().
  [[nodiscard]] const Json& metadata() const noexcept { return directory_.metadata; }
  /// What opening found unusual and did not refuse.
  [[nodiscard]] std::span<const finding> notes() const noexcept { return directory_.notes; }

  /// Reads a tensor whole. Throws no_such_tensor, damaged (its recorded checksum is not that of its
  /// bytes), and whatever the source throws.
  [[nodiscard]] loaded_tensor load(std::string_view tensor) const {
    const tensor_description& found = (*this)[tensor];
    auto bytes = std::make_unique<std::byte[]>(static_cast<std::size_t>(found.size_bytes()));
    const std::span<std::byte> all(bytes.get(), static_cast<std::size_t>(found.size_bytes()));
    if (!all.empty()) from_->read_at(found.file_offset_bytes(), all);
    require_checksum(found, all);
    return {found.info(), std::move(bytes)};
  }

  /// Reads rows first .. first + count of a tensor, as a matrix of count x cols. No checksum covers
  /// less than a tensor: none is looked at. Of apr_q8 the tensor's scale is read as well, so that its
  /// rows can be loaded too.
  ///
  /// Throws no_such_tensor, out_of_range, unsupported_encoding (the dtype is not known, or the rows do
  /// not start and end where blocks do), and whatever the source throws.
  [[nodiscard]] loaded_tensor load_rows(std::string_view tensor, std::uint64_t first,
                                        std::uint64_t count) const {
    const tensor_description& found = (*this)[tensor];
    try {
      found.require_rows(first, count);
    } catch (const error& problem) {
      throw problem.in_file(name());
    }
    return read_rows(found, first, count);
  }

 private:
  void require_checksum(const tensor_description& tensor, std::span<const std::byte> bytes) const {
    if (!tensor.crc32()) return;
    const std::uint32_t actual = crc32_sum(bytes).value();
    if (actual == *tensor.crc32()) return;
    throw error(error_code::damaged,
                {.file = name(),
                 .tensor = std::string(tensor.name()),
                 .field = "crc32",
                 .found = join_text({"bytes of CRC-32 ", hex_text(actual, 8)}),
                 .expected = join_text({hex_text(*tensor.crc32(), 8), ", which the file records"})});
  }

  /// Rows that are the tensor's.
  [[nodiscard]] loaded_tensor read_rows(const tensor_description& tensor, std::uint64_t first,
                                        std::uint64_t count) const {
    const auto refuse = [&](std::string found, std::string expected) {
      throw error(error_code::unsupported_encoding, {.file = name(),
                                                     .tensor = std::string(tensor.name()),
                                                     .field = "rows",
                                                     .found = std::move(found),
                                                     .expected = std::move(expected)});
    };
    if (!tensor.has_encoding()) refuse(tensor.dtype_text(), "a dtype this library knows");
    // What stands before all blocks is read by itself, and the blocks behind it are those of any
    // tensor.
    encoding_description blocks = describe(tensor.encoding());
    const std::uint64_t cols = tensor.cols();
    const std::uint64_t header_bytes = count == 0 || cols == 0 ? 0 : blocks.header_bytes;
    blocks.header_bytes = 0;
    const auto place = bytes_of_rows(blocks, tensor.rows(), cols, first, count);
    if (!place) {
      refuse(join_text({count, " from row ", first, ", stored as ", blocks.name, " of ",
                        tensor.shape().to_string()}),
             "rows that are whole blocks");
    }
    tensor_info rows = tensor.info();
    rows.shape = shape{count, cols};
    rows.size_bytes = header_bytes + place->size;
    rows.crc32.reset();
    rows.file_offset_bytes += header_bytes == 0 ? place->offset : 0;
    auto bytes = std::make_unique<std::byte[]>(static_cast<std::size_t>(rows.size_bytes));
    const std::span<std::byte> all(bytes.get(), static_cast<std::size_t>(rows.size_bytes));
    const auto behind_header = all.subspan(static_cast<std::size_t>(header_bytes));
    if (header_bytes != 0) {
      from_->read_at(tensor.file_offset_bytes(), all.first(static_cast<std::size_t>(header_bytes)));
    }
    if (!behind_header.empty()) {
      from_->read_at(tensor.file_offset_bytes() + header_bytes + place->offset, behind_header);
    }
    return {std::move(rows), std::move(bytes)};
  }

  const byte_source* from_;
  std::uint64_t file_bytes_;
  basic_directory<Json> directory_;
};

/// A source reader whose metadata is nlohmann::json.
using source_reader = basic_source_reader<nlohmann::json>;

}  // namespace nibble
