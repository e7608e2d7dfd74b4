#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// What the directory of a file may take of memory: four times the file and 15 MB. A short file can ask
/// for many times its size (an empty JSON array has two bytes in a text and forty in memory), and a
/// model never does: its directory is small beside its tensors, and a file that holds nothing but the
/// vocabulary of 150,000 words stays below.
///
/// Bytes are those asked of the allocator. They are taken before they are asked for where that can be
/// told, and no later than one string after it.
class memory_budget {
 public:
  /// A megabyte below the 16 that are promised, for what is not worth counting.
  static constexpr std::uint64_t base_bytes = 15'000'000;
  static constexpr std::uint64_t bytes_per_file_byte = 4;

  /// Without end.
  memory_budget() = default;
  /// Of a file of `file_bytes`.
  explicit memory_budget(std::uint64_t file_bytes) noexcept {
    const auto scaled = checked_multiply(file_bytes, bytes_per_file_byte);
    const auto sum = scaled ? checked_add(*scaled, base_bytes) : std::nullopt;
    limit_bytes_ = sum.value_or(limit_bytes_);
  }

  /// Throws directory_too_large, naming the field, where less than `bytes` are left.
  void take(std::uint64_t bytes, std::string_view field) {
    if (bytes > limit_bytes_ - taken_bytes_) refuse(bytes, field);
    taken_bytes_ += bytes;
  }
  void take(std::uint64_t count, std::uint64_t bytes, std::string_view field) {
    take(checked_multiply(count, bytes).value_or(std::numeric_limits<std::uint64_t>::max()), field);
  }
  /// What a string of that many bytes has outside itself.
  [[nodiscard]] static std::uint64_t string_bytes(std::size_t size) noexcept {
    static const std::size_t inside = std::string().capacity();
    return size <= inside ? 0 : std::uint64_t{size} + 1;
  }
  /// What an entry of a map has beside key and value: three pointers and a colour.
  static constexpr std::uint64_t map_entry_bytes = 4 * sizeof(void*);

 private:
  [[noreturn]] void refuse(std::uint64_t bytes, std::string_view field) const {
    throw error(error_code::directory_too_large,
                {.field = std::string(field),
                 .found = join_text({bytes, " bytes of memory behind ", taken_bytes_}),
                 .expected = join_text({"at most ", limit_bytes_,
                                        " for a file of this size: four times the file and 15 MB"})});
  }

  std::uint64_t limit_bytes_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t taken_bytes_ = 0;
};

/// A string that is filled again and again, whose memory a budget covers.
struct reused_string {
  std::string text{};

  void cover(memory_budget& budget, std::string_view field) {
    // While it grows, the old bytes stand beside the new ones.
    const std::uint64_t needed = 2 * std::uint64_t{text.capacity()};
    if (needed <= covered_bytes_) return;
    budget.take(needed - covered_bytes_, field);
    covered_bytes_ = needed;
  }

 private:
  std::uint64_t covered_bytes_ = 0;
};

}  // namespace nibble
