#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/text.hpp>

namespace nibble::gguf {

/// Reads a file from front to back. Every bound is checked before bytes are read.
class byte_cursor {
 public:
  /// Starts at `position` of a whole file, which must outlive the cursor.
  byte_cursor(std::span<const std::byte> file, std::size_t position)
      : byte_cursor(file, position, file.size()) {}
  /// `front` are the first bytes of a file of `file_bytes`; what is behind them cannot be read.
  byte_cursor(std::span<const std::byte> front, std::size_t position, std::uint64_t file_bytes)
      : file_(front),
        position_(position),
        end_(front.size()),
        file_bytes_(std::max<std::uint64_t>(file_bytes, front.size())),
        limit_end_(file_bytes_) {}

  /// Names what is read from here on, for messages: "header", "metadata 3", "tensor 5".
  void enter(std::string_view section, std::optional<std::uint64_t> number = {}) noexcept {
    section_ = section;
    number_ = number;
  }
  /// Lets at most `bytes` be read from here on, however long the file is.
  void limit(std::uint64_t bytes) noexcept {
    const std::size_t left = file_.size() - position_;
    end_ = position_ + (bytes < left ? static_cast<std::size_t>(bytes) : left);
    limit_end_ = position_ + std::min(bytes, file_bytes_ - position_);
  }
  /// Ends limit().
  void lift_limit() noexcept {
    end_ = file_.size();
    limit_end_ = file_bytes_;
  }

  /// The offset in the file of the byte that is read next.
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  /// The field that is read, for a message: "metadata 3, key".
  [[nodiscard]] std::string place(std::string_view field) const {
    return join_text({section_, number_ ? " " + std::to_string(*number_) : "", ", ", field});
  }

  /// Throws truncated where less than `count` times `bytes` are left of the file, bad_metadata where
  /// they are left but limit() is below them.
  void require(std::uint64_t count, std::uint64_t bytes, std::string_view field) const {
    if (count > (limit_end_ - position_) / bytes) refuse(count, bytes, field);
  }

  /// The next `count` bytes. Throws as require() does.
  [[nodiscard]] std::span<const std::byte> take_bytes(std::uint64_t count, std::string_view field) {
    if (count > end_ - position_) refuse(count, 1, field);
    const auto taken = file_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }
  /// The next number. Throws as require() does.
  template <class Number>
  [[nodiscard]] Number take(std::string_view field) {
    return load_number<Number>(take_bytes(sizeof(Number), field), 0);
  }
  /// The next string: its length as a u64, then its bytes. Throws as require() does.
  [[nodiscard]] std::string_view take_string(std::string_view field) {
    const auto bytes = take_bytes(take<std::uint64_t>(field), field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  [[noreturn]] void refuse(std::uint64_t count, std::uint64_t bytes, std::string_view field) const {
    const auto fits_before = [&](std::uint64_t end) { return count <= (end - position_) / bytes; };
    const bool is_limited = fits_before(file_bytes_) && !fits_before(limit_end_);
    const std::uint64_t left = (fits_before(limit_end_) ? end_ : limit_end_) - position_;
    throw error(is_limited ? error_code::bad_metadata : error_code::truncated,
                {.field = place(field),
                 .found = join_text({count, bytes == 1 ? "" : join_text({" times ", bytes}), " bytes"}),
                 .expected = is_limited ? join_text({"an end before byte ", limit_end_, " of the file"})
                                        : join_text({"at most ", left, ", which are left"})});
  }

  std::span<const std::byte> file_;
  std::size_t position_;
  std::size_t end_;  ///< of what may be read and is in file_
  std::uint64_t file_bytes_;
  std::uint64_t limit_end_;  ///< of what may be read, in file_ or not
  std::string_view section_;
  std::optional<std::uint64_t> number_;
};

}  // namespace nibble::gguf
