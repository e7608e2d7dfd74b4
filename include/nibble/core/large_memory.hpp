#pragma once

#include <cstddef>
#include <new>
#include <span>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nibble {

/// Bytes of memory of its own, which are not set to anything. What takes several MiB lies in huge pages
/// where the system has them to give: who reads it once through waits for the address of each page, which
/// of pages of 4 KiB can take as long as the reading.
class large_memory {
 public:
  /// No bytes.
  large_memory() = default;
  /// Aligned to 64 bytes at least. Throws std::bad_alloc.
  explicit large_memory(std::size_t size_bytes)
      : memory_(allocate(size_bytes)), size_bytes_(size_bytes) {}
  ~large_memory() {
    if (memory_ != nullptr) ::operator delete(memory_, alignment_of(size_bytes_));
  }
  large_memory(const large_memory&) = delete;
  large_memory& operator=(const large_memory&) = delete;
  /// Takes the bytes, and leaves none behind.
  large_memory(large_memory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  /// Takes the bytes, leaves none behind and frees its own.
  large_memory& operator=(large_memory&& other) noexcept {
    large_memory taken(std::move(other));
    std::swap(memory_, taken.memory_);
    std::swap(size_bytes_, taken.size_bytes_);
    return *this;
  }

  /// All of them, valid as long as this object, or the one that it is moved to, lives; none of what was
  /// moved from.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return std::span<std::byte>(memory_, size_bytes_);
  }

 private:
  static constexpr std::size_t huge_page_bytes = std::size_t{1} << 21U;

  /// Of less than two huge pages, the parts at their ends would be most.
  [[nodiscard]] static std::align_val_t alignment_of(std::size_t size_bytes) noexcept {
    return std::align_val_t{size_bytes < 2 * huge_page_bytes ? 64 : huge_page_bytes};
  }

  [[nodiscard]] static std::byte* allocate(std::size_t size_bytes) {
    const std::align_val_t alignment = alignment_of(size_bytes);
    auto* const memory = static_cast<std::byte*>(::operator new(size_bytes, alignment));
#if defined(MADV_HUGEPAGE)
    // Before anything is stored there. What the system answers changes nothing but how fast it is.
    if (alignment == std::align_val_t{huge_page_bytes}) {
      static_cast<void>(
          ::madvise(memory, size_bytes / huge_page_bytes * huge_page_bytes, MADV_HUGEPAGE));
    }
#endif
    return memory;
  }

  std::byte* memory_ = nullptr;
  std::size_t size_bytes_ = 0;
};

}  // namespace nibble
