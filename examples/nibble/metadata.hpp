#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/file/system_calls.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/reader.hpp>

#include "standard_streams.hpp"

namespace nibble_command {

/// The metadata of `from` that still holds in another file: without what the library itself writes into
/// .apr files, without the key in which a safetensors file names the framework it was saved from, and
/// without the record of GGUF's types where all values become strings.
[[nodiscard]] inline nlohmann::json portable_metadata(const nibble::reader& from,
                                                      nibble::container to) {
  using nibble::container;
  nlohmann::json metadata = from.metadata();
  if (from.container() == container::apr || to == container::apr) {
    metadata.erase("nibble");
    metadata.erase("quantization");
  }
  if (from.container() == container::safetensors) metadata.erase("format");
  if (to == container::safetensors) metadata.erase(nibble::gguf::value_record::key);
  nibble::shard_record::erase_from(metadata);
  return metadata;
}

/// All bytes of a file, which may be a pipe. Throws file_not_found, read_failed.
[[nodiscard]] inline std::string read_text(const std::string& path) {
  using nibble::error_code;
  struct closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
#if defined(_WIN32)
  const std::unique_ptr<std::FILE, closer> file(
      ::_wfopen(nibble::windows::native_path(path).c_str(), L"rb"));
#else
  const std::unique_ptr<std::FILE, closer> file(std::fopen(path.c_str(), "rb"));
#endif
  if (!file) {
    const int reason = errno;
    throw_stream_error(reason == ENOENT ? error_code::file_not_found : error_code::read_failed, path,
                       "open", reason);
  }
  std::string text;
  std::array<char, 65536> buffer;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    text.append(buffer.data(), count);
  }
  if (std::ferror(file.get()) != 0) {
    throw_stream_error(error_code::read_failed, path, "read", errno);
  }
  return text;
}

/// The JSON object in a file. Throws as read_text does, and bad_metadata.
[[nodiscard]] inline nlohmann::json read_json_object(const std::string& path) {
  const std::string text = read_text(path);
  try {
    return nibble::parse_json_object(nibble::trim_json(text), "JSON");
  } catch (const nibble::error& problem) {
    throw problem.in_file(path);
  }
}

}  // namespace nibble_command
