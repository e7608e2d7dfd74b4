#pragma once

#include <stdexcept>

#include <nibble/core/error.hpp>

namespace nibble_command {

/// What the command tells the shell.
enum class exit_code : int {
  fine = 0,
  answer_is_no = 1,         ///< damage was found, or an error above the bound
  wrong_usage = 2,          ///< what was asked for cannot be done, with this file or at all
  not_what_it_claims = 3,   ///< a file is malformed, or holds what was not expected of it
  input_output_failed = 4,  ///< the system refused to read or write
  interrupted = 130,        ///< SIGINT
  reader_left = 141,        ///< standard output was closed before all was written, as by `head`
  terminated = 143,         ///< SIGTERM
};

/// Options that disagree with each other or with the file; the message is one line.
class usage_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The exit code that stands for a library error.
[[nodiscard]] constexpr exit_code exit_code_of(nibble::error_code code) noexcept {
  using nibble::error_code;
  switch (code) {
    case error_code::invalid_argument:
    case error_code::out_of_range:
    case error_code::unsupported_architecture:
    case error_code::no_such_tensor:
    case error_code::several_models:
    case error_code::unsupported_encoding: return exit_code::wrong_usage;
    case error_code::file_not_found:
    case error_code::read_failed:
    case error_code::write_failed:
    case error_code::already_being_written: return exit_code::input_output_failed;
    case error_code::unknown_container:
    case error_code::unsupported_version:
    case error_code::unsupported_feature:
    case error_code::header_checksum:
    case error_code::truncated:
    case error_code::bad_layout:
    case error_code::bad_metadata:
    case error_code::bad_record:
    case error_code::bad_index:
    case error_code::bad_name:
    case error_code::bad_shape:
    case error_code::size_mismatch:
    case error_code::missing_footer:
    case error_code::duplicate_name:
    case error_code::directory_too_large:
    case error_code::bad_shard:
    case error_code::bad_scheme:
    case error_code::bad_importance:
    case error_code::not_representable: return exit_code::not_what_it_claims;
    case error_code::damaged: return exit_code::answer_is_no;
    case error_code::cancelled: return exit_code::interrupted;
  }
  return exit_code::input_output_failed;
}

}  // namespace nibble_command
