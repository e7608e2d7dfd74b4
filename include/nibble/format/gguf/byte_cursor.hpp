#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/when_used.hpp>

namespace nibble::gguf {

/// Reads what stands one behind the other in a file, each bound checked before anything is read.
class byte_cursor {
 public:
  byte_cursor(std::span<const std::byte> file, std::size_t position)
      : file_(file), position_(position), end_(file.size()) {}

  /// What is read from here on, for messages: "header", "metadata 3", "tensor 5".
  void enter(std::string_view section, std::optional<std::uint64_t> number = {}) noexcept {
    section_ = section;
    number_ = number;
  }
  /// From here on at most `bytes` may be read, whatever the file holds.
  void limit(std::uint64_t bytes) noexcept {
    const std::size_t left = file_.size() - position_;
    end_ = position_ + (bytes < left ? static_cast<std::size_t>(bytes) : left);
  }
  void lift_limit() noexcept { end_ = file_.size(); }

  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  /// "metadata 3, key".
  template <class = when_used>
  [[nodiscard]] std::string place(std::string_view field) const {
    return join_text({section_, number_ ? " " + std::to_string(*number_) : "", ", ", field});
  }

  /// Throws truncated where the file does not hold `count` times `bytes` more, bad_metadata where only
  /// the limit is in the way.
  void require(std::uint64_t count, std::uint64_t bytes, std::string_view field) const {
    if (count > (end_ - position_) / bytes) refuse(count, bytes, field);
  }

  [[nodiscard]] std::span<const std::byte> take_bytes(std::uint64_t count, std::string_view field) {
    if (count > end_ - position_) refuse(count, 1, field);
    const auto taken = file_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }
  template <class Number>
  [[nodiscard]] Number take(std::string_view field) {
    return load_number<Number>(take_bytes(sizeof(Number), field), 0);
  }
  /// A length and that many bytes.
  [[nodiscard]] std::string_view take_string(std::string_view field) {
    const auto bytes = take_bytes(take<std::uint64_t>(field), field);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  template <class = when_used>
  [[noreturn]] void refuse(std::uint64_t count, std::uint64_t bytes, std::string_view field) const {
    const bool is_limited = count <= (file_.size() - position_) / bytes;
    throw error(
        is_limited ? error_code::bad_metadata : error_code::truncated,
        {.field = place(field),
         .found = join_text({count, bytes == 1 ? "" : join_text({" times ", bytes}), " bytes"}),
         .expected = is_limited ? join_text({"an end before byte ", end_, " of the file"})
                                : join_text({"at most ", end_ - position_, ", which are left"})});
  }

  std::span<const std::byte> file_;
  std::size_t position_;
  std::size_t end_;
  std::string_view section_;
  std::optional<std::uint64_t> number_;
};

}  // namespace nibble::gguf
