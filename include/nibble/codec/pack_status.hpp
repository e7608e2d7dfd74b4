#pragma once

#include <cstdint>

namespace nibble {

/// What came of packing a block of finite values.
enum class pack_status : std::uint8_t {
  packed,
  scale_overflow,  ///< no float16 is large enough for the scale
  min_overflow,    ///< no float16 is low enough for the min
};

/// Which of several ways to choose codes for the same bytes.
enum class packing_rule : std::uint8_t {
  best,       ///< least squared error that this library finds; finite values must stay finite
  reference,  ///< byte for byte what the reference .apr implementation writes
};

}  // namespace nibble
