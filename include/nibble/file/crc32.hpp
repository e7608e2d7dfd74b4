#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <zlib.h>

namespace nibble {

/// CRC-32 (IEEE 802.3, zlib's) of a run of bytes, which knows its length so that runs can be joined.
class crc32_sum {
 public:
  /// Of no bytes.
  crc32_sum() = default;

  /// Of these bytes.
  explicit crc32_sum(std::span<const std::byte> bytes)
      : value_(static_cast<std::uint32_t>(
            ::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()))),
        size_bytes_(bytes.size()) {}

  /// Of `count` zero bytes.
  [[nodiscard]] static crc32_sum of_zeros(std::uint64_t count) {
    static constexpr std::byte zeros[64]{};
    crc32_sum sum;
    for (; count >= sizeof(zeros); count -= sizeof(zeros)) sum += crc32_sum(std::span(zeros));
    sum += crc32_sum(std::span(zeros).first(static_cast<std::size_t>(count)));
    return sum;
  }

  /// Joins the bytes of `next` behind these.
  crc32_sum& operator+=(const crc32_sum& next) {
    value_ = static_cast<std::uint32_t>(
        ::crc32_combine(value_, next.value_, static_cast<z_off_t>(next.size_bytes_)));
    size_bytes_ += next.size_bytes_;
    return *this;
  }

  /// The checksum.
  [[nodiscard]] std::uint32_t value() const noexcept { return value_; }
  /// How many bytes it is of.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }

 private:
  std::uint32_t value_ = 0;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace nibble
