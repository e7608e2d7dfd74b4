#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <fmt/format.h>

#if defined(_WIN32)
#include "cng_sha256.hpp"
#else
#include "openssl_sha256.hpp"
#endif

namespace nibble_command {

/// SHA-256 (FIPS 180-4) of bytes, in lower-case hexadecimal.
[[nodiscard]] inline std::string sha256_text(std::span<const std::byte> bytes) {
  std::string text;
  for (const unsigned char byte : sha256(bytes)) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace nibble_command
