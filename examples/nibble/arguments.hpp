#pragma once

#include <string>
#include <vector>

#if defined(_WIN32)
#include <memory>

#include <nibble/file/windows/native_path.hpp>

extern "C" {
__declspec(dllimport) wchar_t* __stdcall GetCommandLineW();
__declspec(dllimport) wchar_t** __stdcall CommandLineToArgvW(const wchar_t*, int*);
__declspec(dllimport) void* __stdcall LocalFree(void*);
}
#endif

namespace nibble_command {

/// What the program was told, its own name first, in UTF-8 on Windows: main's arguments are in the code
/// page of the machine there.
[[nodiscard]] inline std::vector<std::string> arguments_of(int argc, char** argv) {
#if defined(_WIN32)
  struct closer {
    void operator()(wchar_t** words) const { ::LocalFree(words); }
  };
  int count = 0;
  const std::unique_ptr<wchar_t*, closer> words(::CommandLineToArgvW(::GetCommandLineW(), &count));
  if (words) {
    std::vector<std::string> arguments;
    for (int i = 0; i < count; ++i) {
      arguments.push_back(nibble::windows::utf8_of(words.get()[i]));
    }
    return arguments;
  }
#endif
  return {argv, argv + argc};
}

}  // namespace nibble_command
