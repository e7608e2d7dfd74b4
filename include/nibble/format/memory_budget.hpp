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

/// The memory that the directory of a file may take: four times the file and 15 MB. A short file can
/// need many times its size (an empty JSON array has two bytes in a text and forty in memory). A model
/// never does: its directory is small beside its tensors, and a file that holds nothing but a
/// vocabulary of 150,000 words stays below.
///
/// What counts is what is asked of the allocator. Memory is taken from the budget before it is
/// allocated where its size is known before, and else one string later at most.
class memory_budget {
 public:
  /// A megabyte below the 16 that reader.hpp promises, for what is not counted one by one.
  static constexpr std::uint64_t base_bytes = 15'000'000;
  static constexpr std::uint64_t bytes_per_file_byte = 4;

  /// A budget without a limit.
  memory_budget() = default;
  /// The budget of a file of `file_bytes`: `factor` times that and base_bytes.
  explicit memory_budget(std::uint64_t file_bytes, std::uint64_t factor = bytes_per_file_byte) noexcept
      : factor_(factor) {
    const auto scaled = checked_multiply(file_bytes, factor);
    const auto sum = scaled ? checked_add(*scaled, base_bytes) : std::nullopt;
    limit_bytes_ = sum.value_or(limit_bytes_);
  }

  /// Takes `bytes` for what is read from `field`. Throws directory_too_large where less are left.
  void take(std::uint64_t bytes, std::string_view field) {
    if (bytes > limit_bytes_ - taken_bytes_) refuse(bytes, field);
    taken_bytes_ += bytes;
  }
  /// Takes `count` times `bytes`.
  void take(std::uint64_t count, std::uint64_t bytes, std::string_view field) {
    take(checked_multiply(count, bytes).value_or(std::numeric_limits<std::uint64_t>::max()), field);
  }
  /// What a string of `size` bytes allocates: nothing where it fits into the string object.
  [[nodiscard]] static std::uint64_t string_bytes(std::size_t size) noexcept {
    static const std::size_t inside = std::string().capacity();
    return size <= inside ? 0 : std::uint64_t{size} + 1;
  }
  /// What an entry of a map takes beside key and value: three pointers and a colour.
  static constexpr std::uint64_t map_entry_bytes = 4 * sizeof(void*);

 private:
  [[noreturn]] void refuse(std::uint64_t bytes, std::string_view field) const {
    throw error(error_code::directory_too_large,
                {.field = std::string(field),
                 .found = join_text({bytes, " bytes of memory behind ", taken_bytes_}),
                 .expected = join_text({"at most ", limit_bytes_, " for a file of this size: ", factor_,
                                        " times the file and 15 MB"})});
  }

  std::uint64_t factor_ = bytes_per_file_byte;
  std::uint64_t limit_bytes_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t taken_bytes_ = 0;
};

/// A string that is filled again and again, and whose memory is taken from a budget.
struct reused_string {
  std::string text{};

  /// Takes from `budget` what the string has grown by. Throws directory_too_large.
  void cover(memory_budget& budget, std::string_view field) {
    // While it grows, old and new bytes are there at once.
    const std::uint64_t needed = 2 * std::uint64_t{text.capacity()};
    if (needed <= covered_bytes_) return;
    budget.take(needed - covered_bytes_, field);
    covered_bytes_ = needed;
  }

 private:
  std::uint64_t covered_bytes_ = 0;
};

}  // namespace nibble
