#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/text.hpp>

namespace nibble {

/// Why an operation failed. The name is what to_string() gives and what messages carry.
enum class error_code : std::uint8_t {
  invalid_argument,       ///< a span, shape or option of the caller's disagrees with another
  out_of_range,           ///< rows or elements beyond the tensor's
  file_not_found,         ///< nothing exists at the path
  read_failed,            ///< the operating system refused to open, map or read a file
  write_failed,           ///< the operating system refused to create, write, sync or rename
  already_being_written,  ///< another writer holds the partial file of this path
  unknown_container,      ///< the first bytes are those of no container this library reads
  unsupported_version,    ///< the container's major version, or the packing record's, is not known
  unsupported_feature,    ///< compression, encryption or column-major layout
  header_checksum,        ///< the header's CRC-32 is not that of its bytes
  truncated,              ///< a section or a tensor reaches past the end of the file
  bad_layout,             ///< sections or tensors overlap or are out of order, or bytes are left over
  bad_metadata,           ///< metadata is not UTF-8, not a JSON object, too deep, too large
  bad_record,             ///< a record of packing or of GGUF's values disagrees or is malformed
  bad_index,              ///< index entries are malformed, unsorted, too few or too many
  bad_name,               ///< a tensor's name is empty, too long for the container, or not UTF-8
  bad_shape,              ///< over 2^63 elements, or dimensions that the container cannot hold
  size_mismatch,          ///< a tensor's bytes are not what its encoding and shape need
  missing_footer,         ///< a file that records its packing lacks the footer checksum
  duplicate_name,         ///< two tensors of one name
  no_such_tensor,         ///< look-up of a name that the file does not hold
  unsupported_encoding,   ///< the tensor's dtype cannot be decoded or packed
  not_representable,      ///< a value that the encoding cannot hold: NaN, infinity, f16 overflow
  directory_too_large,    ///< opening would take more memory than four times the file and 16 MB
  bad_shard,              ///< a set lacks a shard, has one twice, or shards or index disagree
  several_models,         ///< a folder holds more than one model, each of which opens by its own path
  bad_scheme,      ///< of a weight in several tensors one is missing or fits no rule of its scheme
  bad_importance,  ///< importance is negative, NaN or infinite, or of another model's columns
  damaged,         ///< verify() found checksums, scales or values that are wrong
  cancelled,       ///< the progress callback said stop
  unsupported_architecture,  ///< NIBBLE_ARCH names kernels that the program or the machine lacks
};

/// The enumerator's name.
[[nodiscard]] constexpr std::string_view to_string(error_code code) noexcept {
  switch (code) {
    case error_code::invalid_argument: return "invalid_argument";
    case error_code::out_of_range: return "out_of_range";
    case error_code::file_not_found: return "file_not_found";
    case error_code::read_failed: return "read_failed";
    case error_code::write_failed: return "write_failed";
    case error_code::already_being_written: return "already_being_written";
    case error_code::unknown_container: return "unknown_container";
    case error_code::unsupported_version: return "unsupported_version";
    case error_code::unsupported_feature: return "unsupported_feature";
    case error_code::header_checksum: return "header_checksum";
    case error_code::truncated: return "truncated";
    case error_code::bad_layout: return "bad_layout";
    case error_code::bad_metadata: return "bad_metadata";
    case error_code::bad_record: return "bad_record";
    case error_code::bad_index: return "bad_index";
    case error_code::bad_name: return "bad_name";
    case error_code::bad_shape: return "bad_shape";
    case error_code::size_mismatch: return "size_mismatch";
    case error_code::missing_footer: return "missing_footer";
    case error_code::duplicate_name: return "duplicate_name";
    case error_code::no_such_tensor: return "no_such_tensor";
    case error_code::unsupported_encoding: return "unsupported_encoding";
    case error_code::not_representable: return "not_representable";
    case error_code::directory_too_large: return "directory_too_large";
    case error_code::bad_shard: return "bad_shard";
    case error_code::several_models: return "several_models";
    case error_code::bad_scheme: return "bad_scheme";
    case error_code::bad_importance: return "bad_importance";
    case error_code::damaged: return "damaged";
    case error_code::cancelled: return "cancelled";
    case error_code::unsupported_architecture: return "unsupported_architecture";
  }
  return "unknown";
}

/// Where an error arose and what was there; what is not known stays empty.
struct error_detail {
  std::string file{};      ///< path as the caller gave it
  std::string tensor{};    ///< name, unescaped
  std::string field{};     ///< "header.tensor_count", "index", "metadata.nibble.crc32", ...
  std::string found{};     ///< what was there
  std::string expected{};  ///< what should have been
};

/// The one exception of this library. what() is a single line that names file, tensor, field, what
/// was found and what was expected, with control characters escaped.
class error : public std::runtime_error {
 public:
  /// An error of that code; what() is put together from both.
  error(error_code code, error_detail detail)
      : std::runtime_error(message(code, detail)), code_(code), detail_(std::move(detail)) {}

  /// Why the operation failed.
  [[nodiscard]] error_code code() const noexcept { return code_; }
  /// Where it failed and what was there.
  [[nodiscard]] const error_detail& detail() const noexcept { return detail_; }

  /// The same error, naming the tensor it arose in unless it names one already.
  [[nodiscard]] error in_tensor(std::string_view name) const {
    error_detail named = detail_;
    if (named.tensor.empty()) named.tensor = name;
    return {code_, std::move(named)};
  }

  /// The same error, naming the file it arose in unless it names one already.
  [[nodiscard]] error in_file(std::string_view path) const {
    error_detail named = detail_;
    if (named.file.empty()) named.file = path;
    return {code_, std::move(named)};
  }

 private:
  /// Enough for every message of our own; what a file says may be longer than anybody reads.
  static constexpr std::size_t max_part_bytes = 400;
  static constexpr std::size_t max_path_bytes = 4096;

  static std::string shortened(std::string_view text, std::size_t max_bytes = max_part_bytes) {
    if (text.size() <= max_bytes) return escape_text(text);
    return escape_text(text.substr(0, max_bytes)) + "...";
  }

  static std::string message(error_code code, const error_detail& detail) {
    std::string line;
    if (!detail.file.empty()) line += shortened(detail.file, max_path_bytes) + ": ";
    if (!detail.tensor.empty()) line += "tensor '" + shortened(detail.tensor) + "': ";
    if (!detail.field.empty()) line += escape_text(detail.field) + ": ";
    line += to_string(code);
    if (!detail.found.empty()) line += ": found " + shortened(detail.found);
    if (!detail.expected.empty()) {
      line += (detail.found.empty() ? ": expected " : ", expected ") + shortened(detail.expected);
    }
    return line;
  }

  error_code code_;
  error_detail detail_;
};

}  // namespace nibble
