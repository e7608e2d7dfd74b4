#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>

#include <openssl/evp.h>

namespace nibble_command {

/// SHA-256 of bytes, by OpenSSL.
[[nodiscard]] inline std::array<unsigned char, 32> sha256(std::span<const std::byte> bytes) {
  struct closer {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD_CTX, closer> context(EVP_MD_CTX_new());
  if (!context) throw std::bad_alloc();
  std::array<unsigned char, 32> digest{};
  bool is_fine = EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  is_fine = is_fine && EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()) == 1;
  is_fine = is_fine && EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  if (!is_fine) throw std::runtime_error("OpenSSL refused to compute SHA-256");
  return digest;
}

}  // namespace nibble_command
