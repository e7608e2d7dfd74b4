#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>

// Declared as <bcrypt.h> does, without the macros of <windows.h>.
extern "C" {
__declspec(dllimport) long __stdcall BCryptOpenAlgorithmProvider(void**, const wchar_t*, const wchar_t*,
                                                                 unsigned long);
__declspec(dllimport) long __stdcall BCryptCloseAlgorithmProvider(void*, unsigned long);
__declspec(dllimport) long __stdcall BCryptCreateHash(void*, void**, unsigned char*, unsigned long,
                                                      unsigned char*, unsigned long, unsigned long);
__declspec(dllimport) long __stdcall BCryptHashData(void*, unsigned char*, unsigned long,
                                                    unsigned long);
__declspec(dllimport) long __stdcall BCryptFinishHash(void*, unsigned char*, unsigned long,
                                                      unsigned long);
__declspec(dllimport) long __stdcall BCryptDestroyHash(void*);
}

namespace nibble_command {

/// SHA-256 of bytes, by Windows's own cryptography (CNG).
[[nodiscard]] inline std::array<unsigned char, 32> sha256(std::span<const std::byte> bytes) {
  const auto require = [](long status) {
    if (status < 0) throw std::runtime_error("Windows refused to compute SHA-256");
  };
  struct provider_closer {
    void operator()(void* provider) const { ::BCryptCloseAlgorithmProvider(provider, 0); }
  };
  struct hash_closer {
    void operator()(void* hash) const { ::BCryptDestroyHash(hash); }
  };
  void* opened = nullptr;
  require(::BCryptOpenAlgorithmProvider(&opened, L"SHA256", nullptr, 0));
  const std::unique_ptr<void, provider_closer> provider(opened);
  void* created = nullptr;
  require(::BCryptCreateHash(provider.get(), &created, nullptr, 0, nullptr, 0, 0));
  const std::unique_ptr<void, hash_closer> hash(created);
  while (!bytes.empty()) {
    // Sizes have 32 bits; what is hashed is only read.
    const auto part = bytes.first(std::min(bytes.size(), std::size_t{1} << 30U));
    auto* const data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(part.data()));
    require(::BCryptHashData(hash.get(), data, static_cast<unsigned long>(part.size()), 0));
    bytes = bytes.subspan(part.size());
  }
  std::array<unsigned char, 32> digest{};
  require(::BCryptFinishHash(hash.get(), digest.data(), static_cast<unsigned long>(digest.size()), 0));
  return digest;
}

}  // namespace nibble_command
