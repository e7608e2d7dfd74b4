#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include <nibble/core/large_memory.hpp>

namespace nibble {

/// Memory for copies of many weights, end to end in pieces of several MiB, so that weights of less lie in
/// huge pages too (large_memory). A copy keeps the piece that it lies in: this object may go first.
///
/// One call at a time; copies may be used and let go of on any thread.
class weight_memory {
 public:
  /// The bytes of one copy.
  class part {
   public:
    /// No bytes.
    part() = default;
    /// A piece of its own. Throws std::bad_alloc.
    explicit part(std::size_t size_bytes) : part(std::make_shared<large_memory>(size_bytes)) {}

    /// Aligned to 64 bytes; valid as long as this object, or one that it is moved to, lives; none of what
    /// was moved from.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
      return piece_ == nullptr ? std::span<std::byte>() : bytes_;
    }

   private:
    friend class weight_memory;
    explicit part(std::shared_ptr<const large_memory> whole)
        : piece_(std::move(whole)), bytes_(piece_->bytes()) {}
    part(std::shared_ptr<const large_memory> piece, std::span<std::byte> bytes)
        : piece_(std::move(piece)), bytes_(bytes) {}

    std::shared_ptr<const large_memory> piece_;
    std::span<std::byte> bytes_;
  };

  /// Of a piece, where the constructor is told nothing else.
  static constexpr std::size_t default_piece_bytes = std::size_t{32} << 20U;

  /// Pieces have so many bytes, or as many as the one copy in them where that is more than half of it.
  explicit weight_memory(std::size_t piece_bytes = default_piece_bytes) noexcept
      : piece_bytes_(piece_bytes) {}

  /// Memory that is not set to anything. Throws std::bad_alloc.
  [[nodiscard]] part take(std::size_t size_bytes) {
    if (size_bytes > piece_bytes_ / 2) return part(size_bytes);
    if (size_bytes > left_.size()) {
      piece_ = std::make_shared<large_memory>(piece_bytes_);
      left_ = piece_->bytes();
    }
    constexpr std::size_t alignment = 64;
    part taken(piece_, left_.first(size_bytes));
    left_ = left_.subspan(std::min(left_.size(), (size_bytes + alignment - 1) / alignment * alignment));
    return taken;
  }

 private:
  std::size_t piece_bytes_;
  std::shared_ptr<const large_memory> piece_;
  std::span<std::byte> left_{};  ///< of piece_
};

}  // namespace nibble
