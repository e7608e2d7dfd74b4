#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#if defined(_WIN32)
#include <random>
#else
#include <unistd.h>
#endif

#include <nibble/file/path_text.hpp>
#if defined(_WIN32)
#include <nibble/file/system_calls.hpp>
#endif

#if defined(_WIN32)
extern "C" __declspec(dllimport) int __stdcall CreateDirectoryW(const wchar_t*, _SECURITY_ATTRIBUTES*);
extern "C" __declspec(dllimport) int __stdcall RemoveDirectoryW(const wchar_t*);
#endif

namespace nibble_test {

/// Makes a directory, also where its path is too long for Windows's older calls.
inline void make_directory(const std::string& path) {
#if defined(_WIN32)
  if (::CreateDirectoryW(nibble::windows::native_path(path).c_str(), nullptr) == 0) {
    throw std::runtime_error("cannot make " + path);
  }
#else
  std::filesystem::create_directory(path);
#endif
}
/// Removes a directory and what is in it, as above.
inline void remove_tree(const std::filesystem::path& path, std::error_code& failure) {
#if defined(_WIN32)
  std::vector<std::filesystem::path> inside;
  nibble::system_calls::for_each_name(path, [&](const std::string& name, const auto&) {
    inside.push_back(path / nibble::path_of_text(name));
  });
  for (const std::filesystem::path& each : inside) remove_tree(each, failure);
  const std::wstring native = nibble::windows::full_native_path(path.native());
  if (::DeleteFileW(native.c_str()) == 0 && ::RemoveDirectoryW(native.c_str()) == 0) {
    failure.assign(nibble::system_calls::last_reason(), std::system_category());
  }
#else
  std::filesystem::remove_all(path, failure);
#endif
}

/// A directory of its own that goes with the object.
class temporary_directory {
 public:
  temporary_directory() {
#if defined(_WIN32)
    std::random_device random;
    do {
      path_ = std::filesystem::temp_directory_path() / ("nibble-test-" + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
#else
    std::string pattern = (std::filesystem::temp_directory_path() / "nibble-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
#endif
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;
  ~temporary_directory() {
    std::error_code ignored;
    remove_tree(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// The path of a file in it.
  [[nodiscard]] std::string operator/(const std::string& name) const {
    return nibble::text_of_path(path_ / nibble::path_of_text(name));
  }

 private:
  std::filesystem::path path_;
};

/// Names of what is in a folder, in order.
inline std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

inline std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const auto view = std::as_bytes(std::span(bytes));
  return {view.begin(), view.end()};
}

inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

/// The folder of fixtures that other programs wrote, beside the checkout; empty where there is none.
inline std::filesystem::path shared_folder() {
  const char* const from_environment = std::getenv("NIBBLE_SHARED");
#if defined(NIBBLE_SHARED_FOLDER)
  const char* const beside_checkout = NIBBLE_SHARED_FOLDER;
#else
  const char* const beside_checkout = "../shared";
#endif
  const std::filesystem::path folder = from_environment != nullptr ? from_environment : beside_checkout;
  return std::filesystem::is_directory(folder / "fixtures") ? folder : std::filesystem::path();
}

}  // namespace nibble_test

/// Leaves a test that needs the shared fixtures where they are not there, saying so.
#define NIBBLE_REQUIRE_SHARED_OR_PASS_BY(folder)                        \
  const std::filesystem::path folder = nibble_test::shared_folder();    \
  if (folder.empty()) {                                                 \
    WARN("passed by: the shared fixtures are not beside the checkout"); \
    return;                                                             \
  }                                                                     \
  static_assert(true)
