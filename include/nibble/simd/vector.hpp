#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <xsimd/xsimd.hpp>

#include <nibble/core/architecture.hpp>

#if XSIMD_VERSION_MAJOR * 100 + XSIMD_VERSION_MINOR < 801
#error "nibble needs xsimd 8.1 or later"
#endif

namespace nibble::simd {
inline namespace NIBBLE_ARCHITECTURE {

/// The architecture of hosts for which xsimd has no batches, and the twin that every intrinsic is held
/// against: eight lanes in an array.
struct portable {};

/// Eight lanes with the part of xsimd::batch's interface that kernels use.
template <class T>
struct portable_vector {
  static constexpr std::size_t size = 8;
  using value_type = T;

  portable_vector() = default;
  explicit portable_vector(T value) noexcept { lanes.fill(value); }

  [[nodiscard]] static portable_vector load_unaligned(const T* from) noexcept {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = from[i];
    return out;
  }
  void store_unaligned(T* to) const noexcept {
    for (std::size_t i = 0; i < size; ++i) to[i] = lanes[i];
  }

  friend portable_vector operator+(portable_vector a, portable_vector b) noexcept {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x + y); });
  }
  friend portable_vector operator-(portable_vector a, portable_vector b) noexcept {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x - y); });
  }
  friend portable_vector operator*(portable_vector a, portable_vector b) noexcept {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x * y); });
  }
  friend portable_vector operator&(portable_vector a,
                                   portable_vector b) noexcept requires std::is_integral_v<T> {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x & y); });
  }
  friend portable_vector operator>>(portable_vector a,
                                    int bits) noexcept requires std::is_integral_v<T> {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = static_cast<T>(a.lanes[i] >> bits);
    return out;
  }

  friend portable_vector fma(portable_vector a, portable_vector b, portable_vector c) noexcept {
    return a * b + c;
  }
  friend portable_vector<float> to_float(portable_vector a) noexcept {
    portable_vector<float> out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = static_cast<float>(a.lanes[i]);
    return out;
  }

  std::array<T, size> lanes{};

 private:
  template <class Operation>
  static portable_vector zip_with(const portable_vector& a, const portable_vector& b,
                                  Operation operation) noexcept {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = operation(a.lanes[i], b.lanes[i]);
    return out;
  }
};

/// The vector of T on an architecture.
template <class T, class Architecture>
struct vector_of {
  using type = xsimd::batch<T, Architecture>;
};
template <class T>
struct vector_of<T, portable> {
  using type = portable_vector<T>;
};
template <class T, class Architecture>
using vector = typename vector_of<T, Architecture>::type;

/// Lanes of 32 bits.
template <class Architecture>
inline constexpr std::size_t lanes = vector<float, Architecture>::size;

/// What this translation unit is compiled for: the best that xsimd has, or portable.
using best_architecture = std::conditional_t<std::is_same_v<xsimd::default_arch, xsimd::unavailable>,
                                             portable, xsimd::default_arch>;

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load(const float* from) noexcept {
  return vector<float, Architecture>::load_unaligned(from);
}

/// Converts an architecture tag with less ease than a tag's own bases, so that an overload for an
/// instruction set wins over the portable one wherever it applies.
struct any_architecture {
  template <class Architecture>
  constexpr any_architecture(Architecture) noexcept {}  // NOLINT: implicit by purpose
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd
