#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>

#include <fmt/format.h>
#include <openssl/evp.h>

namespace nibble_command {

/// SHA-256 (FIPS 180-4, by OpenSSL) of bytes, in lower-case hexadecimal.
[[nodiscard]] inline std::string sha256_text(std::span<const std::byte> bytes) {
  struct closer {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, closer> context(EVP_MD_CTX_new());
  if (!context) throw std::bad_alloc();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned digest_bytes = 0;
  bool is_fine = EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  is_fine = is_fine && EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1;
  is_fine = is_fine && EVP_DigestFinal_ex(context.get(), digest.data(), &digest_bytes) == 1;
  if (!is_fine) throw std::runtime_error("OpenSSL refused to compute SHA-256");
  std::string text;
  for (const unsigned char byte : std::span(digest).first(digest_bytes)) {
    text += fmt::format("{:02x}", byte);
  }
  return text;
}

}  // namespace nibble_command
