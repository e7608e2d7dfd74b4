#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <nibble/file/byte_source.hpp>

#include <support/catch.hpp>

namespace nibble_test {

/// Bytes in memory that note what was read of them.
class noted_source final : public nibble::byte_source {
 public:
  explicit noted_source(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return bytes_.size(); }
  void read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    REQUIRE(offset <= bytes_.size());
    REQUIRE(to.size() <= bytes_.size() - offset);
    REQUIRE_FALSE(to.empty());
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), to.size(), to.begin());
    read_bytes_ += to.size();
    is_read_in_order_ = is_read_in_order_ && offset == end_;
    end_ = offset + to.size();
  }

  /// Bytes read since the last call.
  [[nodiscard]] std::uint64_t take_count() const { return std::exchange(read_bytes_, 0); }
  /// Whether all that was read was read once, from the first byte on, without a gap.
  [[nodiscard]] bool is_read_in_order() const noexcept { return is_read_in_order_; }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  mutable std::uint64_t read_bytes_ = 0;
  mutable std::uint64_t end_ = 0;  ///< of the last bytes that were read
  mutable bool is_read_in_order_ = true;
};

}  // namespace nibble_test
