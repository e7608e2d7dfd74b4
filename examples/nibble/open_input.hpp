#pragma once

#include <string>

#include <nibble/file/input_file.hpp>
#include <nibble/format/safetensors/index.hpp>
#include <nibble/reader.hpp>

namespace nibble_command {

/// Opens what the user named: a set of files where it is an index, or the first of several files and
/// `single` is not asked for; otherwise the one file. Throws as opening does.
[[nodiscard]] inline nibble::reader open_input(const std::string& path, bool single) {
  if (single) return nibble::reader(path);
  const nibble::input_file file(path, nibble::file_access::mapped);
  if (nibble::safetensors::is_index(file.bytes())) return nibble::reader::open_set(path);
  nibble::reader alone(path);
  const auto at = alone.shard();
  if (at && at->index == 0) return nibble::reader::open_set(path);
  return alone;
}

}  // namespace nibble_command
