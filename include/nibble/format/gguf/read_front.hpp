#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/little_endian.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/gguf/value_kind.hpp>

namespace nibble::gguf {

/// The most bytes that are read behind the tensor list: GGUF does not say where the list ends.
inline constexpr std::uint64_t max_read_ahead_bytes = std::uint64_t{1} << 16U;

namespace detail {

/// Skips through metadata and tensor list by their lengths alone and keeps the bytes that it reads on
/// the way, every byte once.
class front_scanner {
 public:
  front_scanner(const byte_source& from, std::uint64_t file_bytes)
      : from_(from), file_bytes_(file_bytes), end_(file_bytes) {}

  /// The bytes up to the end of the tensor list and some more; in a malformed file, up to the flaw.
  [[nodiscard]] std::vector<std::byte> read() && {
    static_cast<void>(scan());
    return std::move(front_);
  }

 private:
  [[nodiscard]] bool scan() {
    if (file_bytes_ < header::bytes) {
      front_.resize(static_cast<std::size_t>(file_bytes_));
      from_.read_at(0, front_);
      return false;
    }
    if (!skip(header::bytes, 0)) return false;
    const auto tensor_count = load_number<std::uint64_t>(front_, 8);
    const auto metadata_count = load_number<std::uint64_t>(front_, 16);
    if (tensor_count > left() / min_tensor_bytes || metadata_count > left() / min_metadata_bytes) {
      return false;
    }
    end_ = std::min(file_bytes_, position_ + max_metadata_bytes);
    for (std::uint64_t i = metadata_count; i-- > 0;) {
      const std::uint64_t behind = i * min_metadata_bytes;
      std::uint32_t type = 0;
      if (!skip_string(behind) || !take(type, behind) || !skip_value(type, 0, behind)) return false;
    }
    end_ = file_bytes_;
    for (std::uint64_t i = tensor_count; i-- > 0;) {
      const std::uint64_t behind = i * min_tensor_bytes;
      std::uint32_t rank = 0;
      if (!skip_string(behind) || !take(rank, behind) || rank > max_rank) return false;
      if (!skip(8 * std::uint64_t{rank} + 4 + 8, behind)) return false;
    }
    return true;
  }

  [[nodiscard]] std::uint64_t left() const noexcept { return end_ - std::min(end_, position_); }

  /// Skips `bytes`, which are read; at least `behind` more bytes behind them belong to the front. False
  /// where the file is too short.
  [[nodiscard]] bool skip(std::uint64_t bytes, std::uint64_t behind) {
    if (bytes > left()) return false;
    position_ += bytes;
    if (position_ > front_.size()) {
      const std::uint64_t known = position_ + std::min(behind, left());
      const std::uint64_t ahead = std::min(front_.size() + max_read_ahead_bytes, file_bytes_);
      const std::size_t at = front_.size();
      front_.resize(static_cast<std::size_t>(std::max(known, ahead)));
      from_.read_at(at, std::span(front_).subspan(at));
    }
    return true;
  }
  template <class Number>
  [[nodiscard]] bool take(Number& number, std::uint64_t behind) {
    const auto at = static_cast<std::size_t>(position_);
    if (!skip(sizeof(Number), behind)) return false;
    number = load_number<Number>(front_, at);
    return true;
  }
  [[nodiscard]] bool skip_string(std::uint64_t behind) {
    std::uint64_t length = 0;
    return take(length, behind) && skip(length, behind);
  }

  [[nodiscard]] bool skip_value(std::uint32_t type, std::size_t depth, std::uint64_t behind) {
    if (type >= value_types.size() || depth > max_array_depth) return false;
    const auto kind = static_cast<value_type>(type);
    if (kind == value_type::string) return skip_string(behind);
    if (kind != value_type::array) return skip(describe(kind).bytes, behind);
    std::uint32_t element_type = 0;
    std::uint64_t count = 0;
    if (!take(element_type, behind) || !take(count, behind)) return false;
    if (element_type >= value_types.size()) return false;
    const auto element = static_cast<value_type>(element_type);
    const std::uint64_t least_bytes = describe(element).bytes;
    if (count > left() / least_bytes) return false;
    if (element != value_type::string && element != value_type::array) {
      return skip(count * least_bytes, behind);
    }
    while (count-- > 0) {
      if (!skip_value(element_type, depth + 1, count * least_bytes + behind)) return false;
    }
    return true;
  }

  const byte_source& from_;
  std::uint64_t file_bytes_;
  std::uint64_t end_;  ///< of the file, or of the room that metadata have
  std::uint64_t position_ = 0;
  std::vector<std::byte> front_;
};

}  // namespace detail

/// The bytes of a file that parse() needs: those up to the end of its tensor list, and at most
/// max_read_ahead_bytes behind them. Every byte is read once. Of a malformed file it returns the bytes
/// up to the flaw, for which parse() then throws. Throws what the source throws.
[[nodiscard]] inline std::vector<std::byte> read_front(const byte_source& from,
                                                       std::uint64_t file_bytes) {
  return detail::front_scanner(from, file_bytes).read();
}

}  // namespace nibble::gguf
