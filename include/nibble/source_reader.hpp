#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/gguf/read_front.hpp>
#include <nibble/format/safetensors/parse.hpp>

namespace nibble {

/// A tensor, or rows of one, read into memory of its own.
class loaded_tensor {
 public:
  loaded_tensor(tensor_info info, std::unique_ptr<std::byte[]> bytes) noexcept
      : info_(std::move(info)), bytes_(std::move(bytes)) {}

  [[nodiscard]] const tensor_info& info() const noexcept { return info_; }
  /// To decode and to multiply by; valid while this object lives and is not moved.
  [[nodiscard]] tensor_view view() const noexcept {
    return {info_, {bytes_.get(), static_cast<std::size_t>(info_.size_bytes)}};
  }

 private:
  tensor_info info_;
  std::unique_ptr<std::byte[]> bytes_;
};

/// A container that is read piece by piece from what the host brings, an archive's member or an object
/// in a store. Opening reads what stands in front of the tensors (of GGUF up to 64 KiB more, for it
/// does not say where that ends), and an .apr file's footer; loading reads one tensor's bytes, or those
/// of its rows, and nothing else.
///
/// All member functions that are const may be called from several threads at once where the source's
/// may.
template <class Json>
class basic_source_reader {
 public:
  /// Reads and proves the directory as reader does. `from` must outlive the reader; `name` stands for
  /// the path in messages.
  ///
  /// Throws as opening a reader does, and whatever the source throws.
  explicit basic_source_reader(const byte_source& from, std::string name = "source")
      : from_(&from), name_(std::move(name)), file_bytes_(from.size_bytes()) {
    try {
      open();
    } catch (const error& problem) {
      throw problem.in_file(name_);
    }
  }

  [[nodiscard]] nibble::container container() const noexcept { return directory_.container; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_bytes_; }
  [[nodiscard]] const Json& metadata() const noexcept { return directory_.metadata; }
  /// In the order in which their bytes stand.
  [[nodiscard]] std::span<const tensor_info> tensors() const noexcept { return directory_.tensors; }
  [[nodiscard]] auto begin() const noexcept { return tensors().begin(); }
  [[nodiscard]] auto end() const noexcept { return tensors().end(); }
  [[nodiscard]] std::size_t size() const noexcept { return directory_.tensors.size(); }

  /// The tensor of that name, or null.
  [[nodiscard]] const tensor_info* find(std::string_view tensor) const noexcept {
    const auto place = names_.find(tensor, name_at());
    return place ? &directory_.tensors[*place] : nullptr;
  }
  [[nodiscard]] bool contains(std::string_view tensor) const noexcept {
    return find(tensor) != nullptr;
  }
  /// The tensor of that name. Throws no_such_tensor.
  [[nodiscard]] const tensor_info& operator[](std::string_view tensor) const {
    if (const tensor_info* const found = find(tensor)) return *found;
    throw error(error_code::no_such_tensor, {.file = name_, .tensor = std::string(tensor)});
  }

  /// Reads a tensor whole. Throws no_such_tensor, damaged (its recorded checksum is not that of its
  /// bytes), and whatever the source throws.
  [[nodiscard]] loaded_tensor load(std::string_view tensor) const {
    const tensor_info& info = (*this)[tensor];
    auto bytes = std::make_unique<std::byte[]>(static_cast<std::size_t>(info.size_bytes));
    const std::span<std::byte> all(bytes.get(), static_cast<std::size_t>(info.size_bytes));
    if (!all.empty()) from_->read_at(info.file_offset_bytes, all);
    if (info.crc32) {
      const std::uint32_t actual = crc32_sum(all).value();
      if (actual != *info.crc32) {
        throw error(error_code::damaged,
                    {.file = name_,
                     .tensor = info.name,
                     .field = "crc32",
                     .found = join_text({"bytes of CRC-32 ", hex_text(actual, 8)}),
                     .expected = join_text({hex_text(*info.crc32, 8), ", which the file records"})});
      }
    }
    return {info, std::move(bytes)};
  }

  /// Reads rows first .. first + count of a tensor, as a matrix of count x cols. No checksum covers
  /// less than a tensor: none is looked at. Of apr_q8 the tensor's scale is read as well, so that its
  /// rows can be loaded too.
  ///
  /// Throws no_such_tensor, out_of_range, unsupported_encoding (the dtype is not known, or the rows do
  /// not start and end where blocks do), and whatever the source throws.
  [[nodiscard]] loaded_tensor load_rows(std::string_view tensor, std::uint64_t first,
                                        std::uint64_t count) const {
    const tensor_info& info = (*this)[tensor];
    const std::uint64_t rows = info.shape.rows();
    const std::uint64_t cols = info.shape.cols();
    const auto refuse = [&](error_code code, std::string found, std::string expected) {
      throw error(code, {.file = name_,
                         .tensor = info.name,
                         .field = "rows",
                         .found = std::move(found),
                         .expected = std::move(expected)});
    };
    if (first > rows || count > rows - first) {
      refuse(error_code::out_of_range, join_text({count, " from row ", first}),
             join_text({"within ", rows, " rows"}));
    }
    if (!info.encoding) {
      refuse(error_code::unsupported_encoding, tensor_view(info, {}).dtype_text(),
             "a dtype this library knows");
    }
    // What stands before all blocks is read by itself, and the blocks behind it are those of any
    // tensor.
    encoding_description blocks = describe(*info.encoding);
    const std::uint64_t header_bytes = count == 0 || cols == 0 ? 0 : blocks.header_bytes;
    blocks.header_bytes = 0;
    const auto place = bytes_of_rows(blocks, rows, cols, first, count);
    if (!place) {
      refuse(error_code::unsupported_encoding,
             join_text({count, " from row ", first, ", stored as ", blocks.name, " of ",
                        info.shape.to_string()}),
             "rows that are whole blocks");
    }
    tensor_info part = info;
    part.shape = shape{count, cols};
    part.size_bytes = header_bytes + place->size;
    part.crc32.reset();
    part.file_offset_bytes = info.file_offset_bytes + (header_bytes == 0 ? place->offset : 0);
    auto bytes = std::make_unique<std::byte[]>(static_cast<std::size_t>(part.size_bytes));
    const std::span<std::byte> all(bytes.get(), static_cast<std::size_t>(part.size_bytes));
    const auto behind_header = all.subspan(static_cast<std::size_t>(header_bytes));
    if (header_bytes != 0) {
      from_->read_at(info.file_offset_bytes, all.first(static_cast<std::size_t>(header_bytes)));
    }
    if (!behind_header.empty()) {
      from_->read_at(info.file_offset_bytes + header_bytes + place->offset, behind_header);
    }
    return {std::move(part), std::move(bytes)};
  }

 private:
  /// The names of tensors, by their place.
  struct names_of {
    std::span<const tensor_info> tensors;
    [[nodiscard]] std::string_view operator()(std::size_t place) const noexcept {
      return tensors[place].name;
    }
  };
  [[nodiscard]] names_of name_at() const noexcept { return {directory_.tensors}; }

  [[nodiscard]] std::vector<std::byte> read(std::uint64_t offset, std::uint64_t size_bytes) const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(size_bytes));
    if (!bytes.empty()) from_->read_at(offset, bytes);
    return bytes;
  }

  void open() {
    const auto first = read(0, std::min<std::uint64_t>(file_bytes_, apr::header_bytes));
    if (apr::has_magic(first)) {
      const auto front = read(
          0, first.size() < apr::header_bytes ? first.size() : apr::front_bytes(first, file_bytes_));
      const std::uint64_t last_bytes = std::min<std::uint64_t>(file_bytes_, apr::footer_bytes);
      directory_ = apr::parse<Json>(front, file_bytes_, read(file_bytes_ - last_bytes, last_bytes));
    } else if (gguf::has_magic(first)) {
      directory_ = gguf::parse<Json>(gguf::read_front(*from_, file_bytes_), file_bytes_);
    } else if (safetensors::has_magic(first)) {
      const auto front = read(0, safetensors::front_bytes(first, file_bytes_));
      directory_ = safetensors::parse<Json>(front, file_bytes_);
    } else {
      throw error(
          error_code::unknown_container,
          {.field = "first bytes",
           .expected = ".apr (41 50 52 00), GGUF (47 47 55 46) or safetensors (a header length, "
                       "then '{')"});
    }
    directory_.metadata_text = {};  // the bytes it stood in are gone
    const auto place_of = [](const tensor_info& tensor) {
      return std::pair(tensor.file_offset_bytes, tensor.size_bytes);
    };
    if (!std::ranges::is_sorted(directory_.tensors, {}, place_of)) {
      std::ranges::stable_sort(directory_.tensors, {}, place_of);
    }
    names_ = name_index(directory_.tensors.size(), name_at());
  }

  const byte_source* from_;
  std::string name_;
  std::uint64_t file_bytes_;
  basic_directory<Json> directory_;
  name_index names_;
};

using source_reader = basic_source_reader<nlohmann::json>;

}  // namespace nibble
