#pragma once

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
// A field of the library's errors.
#undef ERROR
#else
#include <fcntl.h>
#include <spawn.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <nibble/file/input_file.hpp>

#include "../support/files.hpp"

namespace nibble_test {

/// The program under test: NIBBLE_COMMAND in the environment, or what the build names.
inline std::string command_path() {
  if (const char* const path = std::getenv("NIBBLE_COMMAND")) return path;
#if defined(NIBBLE_COMMAND_PATH)
  return NIBBLE_COMMAND_PATH;
#else
  throw std::runtime_error("NIBBLE_COMMAND names no program");
#endif
}

/// Where a process is told to write, other than into a file of ours.
struct redirection {
  std::optional<std::string> standard_output{};
  std::optional<std::string> standard_error{};
  bool closes_standard_output = false;
};

#if defined(_WIN32)

/// A running `nibble` with these arguments.
class process {
 public:
  explicit process(const std::vector<std::string>& arguments, const redirection& to = {})
      : out_(to.standard_output.value_or(files_ / "out")),
        err_(to.standard_error.value_or(files_ / "err")) {
    const std::string program = command_path();
    std::wstring line = quoted(program);
    for (const std::string& argument : arguments) line += L' ' + quoted(argument);
    const nibble::file_handle in = open("NUL", GENERIC_READ, OPEN_EXISTING);
    const nibble::file_handle out = open(out_, GENERIC_WRITE, OPEN_ALWAYS);
    const nibble::file_handle err = open(err_, GENERIC_WRITE, OPEN_ALWAYS);
    STARTUPINFOW start{};
    start.cb = sizeof(start);
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = in.get();
    start.hStdOutput = to.closes_standard_output ? nullptr : out.get();
    start.hStdError = err.get();
    PROCESS_INFORMATION made{};
    if (::CreateProcessW(nibble::windows::native_path(program).c_str(), line.data(), nullptr, nullptr,
                         TRUE, CREATE_NEW_PROCESS_GROUP, nullptr, nullptr, &start, &made) == 0) {
      throw std::runtime_error("cannot run " + program);
    }
    ::CloseHandle(made.hThread);
    process_ = nibble::file_handle(made.hProcess);
  }
  process(const process&) = delete;
  process& operator=(const process&) = delete;
  ~process() {
    if (!process_.is_open()) return;
    ::TerminateProcess(process_.get(), 1);
    ::WaitForSingleObject(process_.get(), INFINITE);
  }

  /// Its exit code.
  int wait() {
    DWORD code = 0;
    ::WaitForSingleObject(process_.get(), INFINITE);
    ::GetExitCodeProcess(process_.get(), &code);
    process_ = nibble::file_handle();
    return static_cast<int>(code);
  }

  [[nodiscard]] std::string out() const { return text_of(out_); }
  [[nodiscard]] std::string err() const { return text_of(err_); }

 private:
  /// A file that the process inherits.
  static nibble::file_handle open(const std::string& path, DWORD access, DWORD how) {
    SECURITY_ATTRIBUTES inherited{sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
    return nibble::file_handle(::CreateFileW(nibble::windows::native_path(path).c_str(), access,
                                             FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited, how, 0,
                                             nullptr));
  }

  /// An argument as it stands in a line that CommandLineToArgvW takes apart.
  static std::wstring quoted(const std::string& argument) {
    std::wstring text = L"\"";
    std::size_t backslashes = 0;
    for (const wchar_t unit : nibble::windows::utf16_of(argument)) {
      if (unit == L'"') text.append(backslashes + 1, L'\\');
      text += unit;
      backslashes = unit == L'\\' ? backslashes + 1 : 0;
    }
    return text.append(backslashes, L'\\') + L'"';
  }

  static std::string text_of(const std::string& path) {
    const nibble::input_file file(path, nibble::file_access::read);
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }

  temporary_directory files_;
  std::string out_;
  std::string err_;
  nibble::file_handle process_;
};

#else

/// A running `nibble` with these arguments.
class process {
 public:
  explicit process(const std::vector<std::string>& arguments, const redirection& to = {})
      : out_(to.standard_output.value_or(files_ / "out")),
        err_(to.standard_error.value_or(files_ / "err")) {
    std::vector<std::string> words{command_path()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_WRONLY | O_CREAT, 0600);
    ::posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_WRONLY | O_CREAT | O_NOCTTY, 0600);
    if (to.closes_standard_output) ::posix_spawn_file_actions_addclose(&actions, 1);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGTERM);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    const int failure = ::posix_spawn(&id_, argv[0], &actions, &attributes, argv.data(), environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failure != 0) throw std::runtime_error("cannot run " + words[0]);
  }
  process(const process&) = delete;
  process& operator=(const process&) = delete;
  ~process() {
    if (id_ > 0) {
      ::kill(id_, SIGKILL);
      wait();
    }
  }

  void send(int signal) const { ::kill(id_, signal); }

  /// Its exit code, or 256 + the signal that ended it.
  int wait() {
    int status = 0;
    while (::waitpid(id_, &status, 0) < 0 && errno == EINTR) continue;
    id_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
  }

  [[nodiscard]] std::string out() const { return text_of(out_); }
  [[nodiscard]] std::string err() const { return text_of(err_); }

 private:
  static std::string text_of(const std::string& path) {
    if (!std::filesystem::is_regular_file(path)) return {};
    const std::vector<std::byte> bytes = read_file(path);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  temporary_directory files_;
  std::string out_;
  std::string err_;
  pid_t id_ = -1;
};

#endif

/// What came of a process.
struct outcome {
  int exit_code;
  std::string out;
  std::string err;
};

inline outcome run(const std::vector<std::string>& arguments, const redirection& to = {}) {
  process running(arguments, to);
  const int exit_code = running.wait();
  return {exit_code, running.out(), running.err()};
}

}  // namespace nibble_test
