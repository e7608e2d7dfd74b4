#pragma once

#include <string_view>

/// The version of nibble. Before 1.0 a minor version may change the interface; a patch does not. CMake
/// reads it from here.
#define NIBBLE_VERSION_MAJOR 0
#define NIBBLE_VERSION_MINOR 2
#define NIBBLE_VERSION_PATCH 0

/// The same as a string: "0.2.0".
#define NIBBLE_VERSION_TEXT_OF(number) #number
#define NIBBLE_VERSION_TEXT(major, minor, patch) \
  NIBBLE_VERSION_TEXT_OF(major) "." NIBBLE_VERSION_TEXT_OF(minor) "." NIBBLE_VERSION_TEXT_OF(patch)
#define NIBBLE_VERSION_STRING \
  NIBBLE_VERSION_TEXT(NIBBLE_VERSION_MAJOR, NIBBLE_VERSION_MINOR, NIBBLE_VERSION_PATCH)

namespace nibble {

inline constexpr int version_major = NIBBLE_VERSION_MAJOR;          ///< the interface's
inline constexpr int version_minor = NIBBLE_VERSION_MINOR;          ///< the interface's, before 1.0
inline constexpr int version_patch = NIBBLE_VERSION_PATCH;          ///< mends what was wrong
inline constexpr std::string_view version = NIBBLE_VERSION_STRING;  ///< all of them: "0.2.0"

}  // namespace nibble
