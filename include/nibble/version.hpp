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

/// The version's parts, and all of them: "0.2.0".
inline constexpr int version_major = NIBBLE_VERSION_MAJOR;
inline constexpr int version_minor = NIBBLE_VERSION_MINOR;
inline constexpr int version_patch = NIBBLE_VERSION_PATCH;
inline constexpr std::string_view version = NIBBLE_VERSION_STRING;

}  // namespace nibble
