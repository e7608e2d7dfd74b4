#pragma once

#include <cstddef>
#include <limits>
#include <new>
#include <string>
#include <string_view>

#include <nibble/file/windows/declarations.hpp>

namespace nibble::windows {

/// UTF-16 of a text; empty, with the reason in GetLastError(), where it is not UTF-8 or memory is
/// short.
[[nodiscard]] inline std::wstring utf16_of(std::string_view text) noexcept {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    ::SetLastError(error_not_enough_memory);
    return {};
  }
  if (text.empty()) {
    ::SetLastError(error_path_not_found);
    return {};
  }
  const int bytes = static_cast<int>(text.size());
  const int units =
      ::MultiByteToWideChar(utf8_code_page, refuse_invalid_utf8, text.data(), bytes, nullptr, 0);
  if (units <= 0) return {};
  try {
    std::wstring wide(static_cast<std::size_t>(units), L'\0');
    ::MultiByteToWideChar(utf8_code_page, refuse_invalid_utf8, text.data(), bytes, wide.data(), units);
    return wide;
  } catch (const std::bad_alloc&) {
    ::SetLastError(error_not_enough_memory);
    return {};
  }
}

/// UTF-8 of a text; empty where it is not UTF-16, as names of files need not be.
[[nodiscard]] inline std::string utf8_of(std::wstring_view wide) {
  const int units = static_cast<int>(wide.size());
  const int bytes = ::WideCharToMultiByte(utf8_code_page, refuse_invalid_utf16, wide.data(), units,
                                          nullptr, 0, nullptr, nullptr);
  if (bytes <= 0) return {};
  std::string text(static_cast<std::size_t>(bytes), '\0');
  ::WideCharToMultiByte(utf8_code_page, refuse_invalid_utf16, wide.data(), units, text.data(), bytes,
                        nullptr, nullptr);
  return text;
}

/// An absolute path as Windows takes it whatever its length, with \\?\ before one that is longer than
/// MAX_PATH allows (260, and 248 for directories). Empty, with the reason in GetLastError(), where that
/// cannot be done.
[[nodiscard]] inline std::wstring full_native_path(const std::wstring& path) noexcept {
  constexpr std::wstring_view verbatim = L"\\\\?\\";
  constexpr std::wstring_view device = L"\\\\.\\";
  constexpr std::size_t max_plain_units = 247;
  try {
    if (path.starts_with(verbatim) || path.starts_with(device)) return path;
    const unsigned long room = ::GetFullPathNameW(path.c_str(), 0, nullptr, nullptr);
    std::wstring full(room, L'\0');
    full.resize(::GetFullPathNameW(path.c_str(), room, full.data(), nullptr));
    if (full.size() <= max_plain_units || full.starts_with(device)) return full;
    if (full.starts_with(L"\\\\")) return L"\\\\?\\UNC\\" + full.substr(2);
    return std::wstring(verbatim) + full;
  } catch (const std::bad_alloc&) {
    ::SetLastError(error_not_enough_memory);
    return {};
  }
}

/// As above of a text in UTF-8, which is not empty.
[[nodiscard]] inline std::wstring native_path(std::string_view path) noexcept {
  const std::wstring wide = utf16_of(path);
  return wide.empty() ? wide : full_native_path(wide);
}

}  // namespace nibble::windows
