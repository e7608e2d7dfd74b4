#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/planned_tensor.hpp>

/// The tensor index: one entry a tensor, back to back, sorted by the bytes of the names.
///
///   u16 name length · name, UTF-8 · u8 dtype id · u8 rank · rank times u64 dimension, outermost first
///   · u64 offset of the tensor from data_offset · u64 size in bytes
namespace nibble::apr {

/// What an entry takes in the index.
[[nodiscard]] constexpr std::size_t index_entry_bytes(std::size_t name_bytes,
                                                      std::size_t rank) noexcept {
  return sizeof(std::uint16_t) + name_bytes + 2 * sizeof(std::uint8_t) + rank * sizeof(std::uint64_t) +
         2 * sizeof(std::uint64_t);
}

/// The least that an entry takes.
inline constexpr std::size_t min_index_entry_bytes = index_entry_bytes(0, 0);
/// The most that an entry takes.
inline constexpr std::size_t max_index_entry_bytes = index_entry_bytes(max_name_bytes, shape::max_rank);

/// Writes the entry of `tensor`, which starts `offset_bytes` behind data_offset, to the front of
/// `index`, which must have room for it. The encoding must have a dtype id in .apr files. Returns what
/// of `index` is behind the entry.
inline std::span<std::byte> store_index_entry(const planned_tensor& tensor, std::uint64_t offset_bytes,
                                              std::span<std::byte> index) {
  const auto put_bytes = [&](std::span<const std::byte> bytes) {
    std::copy(bytes.begin(), bytes.end(), index.begin());
    index = index.subspan(bytes.size());
  };
  const auto put = [&](auto number) {
    store_number(index, 0, number);
    index = index.subspan(sizeof(number));
  };
  put(static_cast<std::uint16_t>(tensor.name.size()));
  put_bytes(std::as_bytes(std::span(tensor.name)));
  put(describe(tensor.encoding).apr_dtype_id.value());
  put(static_cast<std::uint8_t>(tensor.shape.rank()));
  for (const std::uint64_t dimension : tensor.shape.dimensions()) put(dimension);
  put(offset_bytes);
  put(tensor.size_bytes);
  return index;
}

/// Whether a tensor may have an empty name. The reference writer lets it; files that record their
/// packing do not.
enum class empty_name : std::uint8_t { refused, taken };

/// Reads the entries of an index from front to back. Every bound is checked before bytes are read.
class index_cursor {
 public:
  /// `index` are the bytes from tensor_index_offset to `data_offset`, padding included; they must
  /// outlive the cursor.
  index_cursor(std::span<const std::byte> index, std::uint64_t data_offset, empty_name policy)
      : index_(index), data_offset_(data_offset), empty_name_(policy) {}

  /// How many of the first `count` entries the index holds whole, by their lengths alone.
  [[nodiscard]] std::size_t count_whole_entries(std::size_t count) const noexcept {
    std::size_t at = 0;
    for (std::size_t entry = 0; entry < count; ++entry) {
      const std::size_t left = index_.size() - at;
      if (left < min_index_entry_bytes) return entry;
      const auto name_bytes = load_number<std::uint16_t>(index_, at);
      if (left < index_entry_bytes(name_bytes, 0)) return entry;
      const auto rank = load_number<std::uint8_t>(index_, at + sizeof(name_bytes) + name_bytes + 1);
      if (left < index_entry_bytes(name_bytes, rank)) return entry;
      at += index_entry_bytes(name_bytes, rank);
    }
    return count;
  }

  /// Reads the next entry into `info`, all but its encoding, and returns its dtype id. Offsets become
  /// absolute. Throws bad_index (the index ends within the entry, or names are not strictly
  /// increasing), bad_name, bad_shape, truncated (an end over 2^64).
  std::uint8_t next(tensor_info& info) {
    const auto name_bytes = take<std::uint16_t>("name length");
    const std::uint16_t least_name_bytes = empty_name_ == empty_name::refused ? 1 : 0;
    if (name_bytes < least_name_bytes || name_bytes > max_name_bytes) {
      throw error(error_code::bad_name,
                  {.field = join_text({"index entry ", entry_}),
                   .found = join_text({"a name of ", name_bytes, " bytes"}),
                   .expected = join_text({least_name_bytes, " to ", max_name_bytes})});
    }
    const auto name = take_bytes(name_bytes, "name");
    info.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    if (find_invalid_utf8(info.name) != std::string_view::npos) {
      throw error(error_code::bad_name, {.tensor = info.name,
                                         .field = join_text({"index entry ", entry_}),
                                         .found = "a name with bytes that are not UTF-8",
                                         .expected = "UTF-8"});
    }
    if (entry_ != 0 && info.name.compare(previous_name_) <= 0) {
      throw error(error_code::bad_index,
                  {.tensor = info.name,
                   .field = join_text({"index entry ", entry_}),
                   .found = join_text({"'", info.name, "' behind '", previous_name_, "'"}),
                   .expected = "names strictly increasing"});
    }
    const auto dtype_id = take<std::uint8_t>("dtype id");
    const auto rank = take<std::uint8_t>("dimension count");
    if (rank > shape::max_rank) {
      throw error(error_code::bad_shape, {.tensor = info.name,
                                          .field = "dimension count",
                                          .found = std::to_string(rank),
                                          .expected = join_text({"at most ", shape::max_rank})});
    }
    std::array<std::uint64_t, shape::max_rank> dimensions{};
    for (std::size_t i = 0; i < rank; ++i) dimensions[i] = take<std::uint64_t>("dimension");
    try {
      info.shape = shape(std::span(dimensions).first(rank));
    } catch (const error& problem) {
      throw problem.in_tensor(info.name);
    }
    const auto offset = take<std::uint64_t>("offset");
    info.size_bytes = take<std::uint64_t>("size");
    const auto absolute = checked_add(offset, data_offset_);
    if (!absolute || !checked_add(*absolute, info.size_bytes)) {
      throw error(error_code::truncated, {.tensor = info.name,
                                          .field = "offset and size",
                                          .found = join_text({offset, " and ", info.size_bytes}),
                                          .expected = "an end below 2^64"});
    }
    info.file_offset_bytes = *absolute;
    info.dtype_id = dtype_id;
    previous_name_ = {reinterpret_cast<const char*>(name.data()), name.size()};
    ++entry_;
    return dtype_id;
  }

  /// Throws bad_index where anything but zero padding, less than 64 bytes, is left.
  void finish() const {
    const bool is_zero =
        std::all_of(index_.begin(), index_.end(), [](std::byte b) { return b == std::byte{0}; });
    if (is_zero && index_.size() < alignment_bytes) return;
    throw error(error_code::bad_index,
                {.field = "index",
                 .found = join_text({index_.size(), " bytes behind entry ", entry_}),
                 .expected = join_text({"zero padding to a multiple of ", alignment_bytes})});
  }

 private:
  [[nodiscard]] std::span<const std::byte> take_bytes(std::size_t count, std::string_view field) {
    if (index_.size() < count) {
      throw error(error_code::bad_index,
                  {.field = join_text({"index entry ", entry_, ", ", field}),
                   .found = join_text({index_.size(), " bytes left before the data"}),
                   .expected = join_text({"at least ", count})});
    }
    const auto taken = index_.first(count);
    index_ = index_.subspan(count);
    return taken;
  }
  template <class Number>
  [[nodiscard]] Number take(std::string_view field) {
    return load_number<Number>(take_bytes(sizeof(Number), field), 0);
  }

  std::span<const std::byte> index_;
  std::uint64_t data_offset_;
  empty_name empty_name_;
  std::string_view previous_name_;
  std::size_t entry_ = 0;
};

}  // namespace nibble::apr
