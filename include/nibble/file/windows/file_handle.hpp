#pragma once

#include <cstdint>
#include <utility>

#include <nibble/file/windows/declarations.hpp>

namespace nibble {

/// An open handle of Windows to a file, closed with its owner.
class file_handle {
 public:
  file_handle() = default;
  /// Takes what CreateFileW returns; INVALID_HANDLE_VALUE is none.
  explicit file_handle(void* handle) noexcept
      : handle_(reinterpret_cast<std::intptr_t>(handle) == -1 ? nullptr : handle) {}
  file_handle(file_handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  file_handle& operator=(file_handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~file_handle() {
    if (handle_ != nullptr) ::CloseHandle(handle_);
  }

  [[nodiscard]] bool is_open() const noexcept { return handle_ != nullptr; }
  [[nodiscard]] void* get() const noexcept { return handle_; }

 private:
  void* handle_ = nullptr;
};

}  // namespace nibble
