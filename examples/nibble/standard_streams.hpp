#pragma once

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
extern "C" __declspec(dllimport) int __stdcall SetConsoleOutputCP(unsigned);
#else
#include <fcntl.h>
#include <unistd.h>
#endif

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>

#include "mapped_inputs.hpp"

namespace nibble_command {

/// Throws `code` for a call of the C library that has failed with this errno, naming file and call.
[[noreturn]] inline void throw_stream_error(nibble::error_code code, std::string_view file,
                                            std::string_view call, int number) {
  throw nibble::error(code, {.file = std::string(file),
                             .field = std::string(call),
                             .found = std::generic_category().message(number)});
}

#if defined(_WIN32)
/// Makes standard output take bytes as they are, without a carriage return before each line's end, and
/// a terminal show them as UTF-8.
inline void prepare_standard_streams() {
  constexpr unsigned utf8 = 65001;
  ::SetConsoleOutputCP(utf8);
  for (std::FILE* const stream : {stdout, stderr}) ::_setmode(::_fileno(stream), _O_BINARY);
}
#else
/// Occupies the standard descriptors that the caller left closed, so that no file opened later becomes
/// standard output by accident; writing to one of these fails. Makes a closed pipe an error, too, where
/// it would be a signal.
inline void prepare_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) == -1 && errno == EBADF) {
      static_cast<void>(::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY));
    }
  }
  std::signal(SIGPIPE, SIG_IGN);
}
#endif

/// Thrown where whoever read standard output wanted no more of it, as `head` does.
struct reader_left {};

/// Writes to standard output. Throws write_failed, also where only the flush fails; reader_left; what
/// mapped_inputs::require_whole() throws, for what was read is not true then.
inline void print_out(std::string_view text) {
  mapped_inputs::require_whole();
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    if (errno == EPIPE) throw reader_left{};
    throw_stream_error(nibble::error_code::write_failed, "standard output", "write", errno);
  }
}

/// A document as text; bytes that are not UTF-8 (a path may have them) become U+FFFD.
[[nodiscard]] inline std::string json_text(const nlohmann::json& document) {
  return document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Writes a document and a line's end to standard output. Throws write_failed.
inline void print_json(const nlohmann::json& document) { print_out(json_text(document) + "\n"); }

/// As above, an object that is not empty, with "version" before everything else: a JSON object of the
/// library's is sorted, and one that keeps its order is too slow for metadata of many keys.
inline void print_json(unsigned version, const nlohmann::json& document) {
  print_out(fmt::format("{{\n \"version\": {},{}\n", version, json_text(document).substr(1)));
}

/// Writes the command's one line about what went wrong, to standard error. Where nobody takes it, the exit
/// code still says what there is to say.
inline void print_error(std::string_view message) {
  const std::string line = fmt::format("nibble: {}\n", message);
  static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

}  // namespace nibble_command
