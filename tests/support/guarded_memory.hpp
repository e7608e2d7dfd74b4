#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <stdexcept>

#include <sys/mman.h>
#include <unistd.h>

namespace nibble_test {

/// Where the bytes of guarded memory lie between the two pages that nobody may touch.
enum class placed { against_the_page_before, against_the_page_behind };

/// `count` elements with an inaccessible page right before or right behind them: one byte read or
/// written too far ends the program.
template <class T>
class guarded_memory {
 public:
  guarded_memory(std::size_t count, placed where) : count_(count) {
    const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t bytes = count * sizeof(T);
    const std::size_t inner_bytes = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    mapped_bytes_ = inner_bytes + 2 * page_bytes;
    void* const mapped = ::mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw std::runtime_error("mmap failed");
    mapped_ = static_cast<std::byte*>(mapped);
    inner_ = mapped_ + page_bytes;
    inner_bytes_ = inner_bytes;
    if (inner_bytes != 0) protect(PROT_READ | PROT_WRITE);
    std::byte* const first =
        where == placed::against_the_page_before ? inner_ : inner_ + (inner_bytes - bytes);
    elements_ = reinterpret_cast<T*>(first);
  }
  /// A copy of `from` that can be read alone: writing to an input ends the program too.
  guarded_memory(std::span<const T> from, placed where) : guarded_memory(from.size(), where) {
    if (from.empty()) return;
    std::memcpy(elements_, from.data(), from.size_bytes());
    protect(PROT_READ);
  }
  guarded_memory(const guarded_memory&) = delete;
  guarded_memory& operator=(const guarded_memory&) = delete;
  ~guarded_memory() { ::munmap(mapped_, mapped_bytes_); }

  [[nodiscard]] std::span<T> span() const { return {elements_, count_}; }

 private:
  void protect(int access) const {
    if (::mprotect(inner_, inner_bytes_, access) != 0) throw std::runtime_error("mprotect failed");
  }

  std::size_t count_;
  std::size_t mapped_bytes_ = 0;
  std::size_t inner_bytes_ = 0;
  std::byte* mapped_ = nullptr;
  std::byte* inner_ = nullptr;
  T* elements_ = nullptr;
};

}  // namespace nibble_test
