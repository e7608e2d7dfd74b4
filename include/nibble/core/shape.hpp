#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// Up to eight dimensions, outermost first (row-major). As a matrix, cols is the last dimension and
/// rows the product of the others; a scalar (no dimensions) is 1 x 1.
class shape {
 public:
  /// The most dimensions.
  static constexpr std::size_t max_rank = 8;
  /// The most elements, 2^63.
  static constexpr std::uint64_t max_elements = std::uint64_t{1} << 63U;

  /// A scalar.
  constexpr shape() noexcept = default;

  /// Throws bad_shape for more than eight dimensions or a product over 2^63.
  shape(std::initializer_list<std::uint64_t> dimensions)
      : shape(std::span<const std::uint64_t>(dimensions.begin(), dimensions.size())) {}

  /// As above.
  explicit shape(std::span<const std::uint64_t> dimensions) {
    if (dimensions.size() > max_rank) {
      throw error(error_code::bad_shape, {.field = "shape",
                                          .found = join_text({dimensions.size(), " dimensions"}),
                                          .expected = join_text({"at most ", max_rank})});
    }
    for (std::size_t i = 0; i < dimensions.size(); ++i) dimensions_[i] = dimensions[i];
    rank_ = static_cast<std::uint8_t>(dimensions.size());
    const auto product = product_of(dimensions);
    if (!product) {
      throw error(error_code::bad_shape,
                  {.field = "shape", .found = to_string(), .expected = "at most 2^63 elements"});
    }
    elements_ = *product;
  }

  /// Number of dimensions.
  [[nodiscard]] constexpr std::size_t rank() const noexcept { return rank_; }
  /// Dimension i, which is less than max_rank; 0 from rank() on.
  [[nodiscard]] constexpr std::uint64_t operator[](std::size_t i) const noexcept {
    return dimensions_[i];
  }
  /// All dimensions, outermost first; valid as long as the shape.
  [[nodiscard]] std::span<const std::uint64_t> dimensions() const noexcept {
    return std::span<const std::uint64_t>(dimensions_.data(), rank_);
  }
  /// The product of all dimensions, 1 for a scalar.
  [[nodiscard]] constexpr std::uint64_t elements() const noexcept { return elements_; }

  /// The last dimension, 1 for a scalar.
  [[nodiscard]] constexpr std::uint64_t cols() const noexcept {
    return rank_ == 0 ? 1 : dimensions_[rank_ - 1U];
  }
  /// The product of all dimensions but the last, at most 2^63 (which only rows without columns reach).
  [[nodiscard]] std::uint64_t rows() const noexcept {
    if (rank_ < 2) return 1;
    return product_of(dimensions().first(rank_ - 1U)).value_or(max_elements);
  }

  /// "576x576"; a scalar is "scalar".
  [[nodiscard]] std::string to_string() const {
    return rank_ == 0 ? "scalar" : list_text(dimensions(), "x");
  }

  /// Whether number and sizes of the dimensions are the same.
  friend bool operator==(const shape& a, const shape& b) noexcept {
    return a.rank_ == b.rank_ && a.dimensions_ == b.dimensions_;
  }

 private:
  static std::optional<std::uint64_t> product_of(std::span<const std::uint64_t> dimensions) noexcept {
    for (const std::uint64_t dimension : dimensions) {
      if (dimension == 0) return 0;
    }
    std::uint64_t product = 1;
    for (const std::uint64_t dimension : dimensions) {
      const auto next = checked_multiply(product, dimension);
      if (!next || *next > max_elements) return std::nullopt;
      product = *next;
    }
    return product;
  }

  std::array<std::uint64_t, max_rank> dimensions_{};
  std::uint64_t elements_ = 1;
  std::uint8_t rank_ = 0;
};

}  // namespace nibble
