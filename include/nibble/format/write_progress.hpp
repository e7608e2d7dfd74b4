#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>

#include <nibble/core/error.hpp>

namespace nibble {

/// How far a write has come.
struct write_progress {
  std::uint64_t written_bytes;  ///< of tensors
  std::uint64_t total_bytes;    ///< of all tensors
  std::string_view tensor;      ///< the one that the latest bytes belong to
};

/// Counts what is written and asks the callback, one thread at a time, until it has returned false.
class progress_report {
 public:
  /// Told how far the write has come; returns false to cancel.
  using callback_type = std::function<bool(const write_progress&)>;

  /// `callback`, which may be empty, must outlive the report.
  progress_report(const callback_type& callback, std::uint64_t total_bytes)
      : callback_(callback), total_bytes_(total_bytes) {}

  /// Throws cancelled, then and at every later call, where the callback has returned false.
  void add(std::uint64_t bytes, std::string_view tensor) {
    if (!callback_) return;
    const std::lock_guard lock(guard_);
    written_bytes_ += bytes;
    if (!is_cancelled_) is_cancelled_ = !callback_({written_bytes_, total_bytes_, tensor});
    if (is_cancelled_) {
      throw error(error_code::cancelled,
                  {.field = "progress callback", .found = "the callback returned false"});
    }
  }

 private:
  const callback_type& callback_;
  std::uint64_t total_bytes_;
  std::uint64_t written_bytes_ = 0;
  bool is_cancelled_ = false;
  std::mutex guard_;
};

}  // namespace nibble
