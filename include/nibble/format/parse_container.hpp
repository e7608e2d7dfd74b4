#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/gguf/read_front.hpp>
#include <nibble/format/safetensors/parse.hpp>

namespace nibble {

/// Throws unknown_container, showing how a file starts: at most nine of `first` bytes.
[[noreturn]] inline void refuse_container(std::span<const std::byte> first) {
  constexpr std::size_t max_shown_bytes = 9;
  std::string shown;
  for (const std::byte byte : first.first(std::min(first.size(), max_shown_bytes))) {
    shown += join_text({shown.empty() ? "" : " ", hex_text(std::to_integer<unsigned>(byte), 2)});
  }
  throw error(error_code::unknown_container,
              {.field = "first bytes",
               .found = shown.empty() ? "an empty file" : shown,
               .expected = ".apr (41 50 52 00), GGUF (47 47 55 46) or safetensors (a header "
                           "length, then '{')"});
}

/// The directory of a container of any kind whose bytes are all at hand; the first of them say which it
/// is. What it gives refers to `file`. Throws unknown_container, and whatever apr::parse, gguf::parse
/// and safetensors::parse throw, without a file's name.
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse_container(std::span<const std::byte> file) {
  if (apr::has_magic(file)) return apr::parse<Json>(file);
  if (gguf::has_magic(file)) return gguf::parse<Json>(file);
  if (safetensors::has_magic(file)) return safetensors::parse<Json>(file);
  refuse_container(file);
}

/// As above, reading from a source what stands in front of the tensors (of GGUF up to 64 KiB more, for
/// it does not say where that ends) and an .apr file's footer. metadata_text is empty, for the bytes
/// are gone. Throws whatever the source throws, too.
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse_container(const byte_source& from) {
  const std::uint64_t file_bytes = from.size_bytes();
  const auto read = [&](std::uint64_t offset, std::uint64_t size_bytes) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(size_bytes));
    if (!bytes.empty()) from.read_at(offset, bytes);
    return bytes;
  };
  const auto first = read(0, std::min<std::uint64_t>(file_bytes, apr::header_bytes));
  basic_directory<Json> parsed;
  if (apr::has_magic(first)) {
    const auto front =
        read(0, first.size() < apr::header_bytes ? first.size() : apr::front_bytes(first, file_bytes));
    const std::uint64_t last_bytes = std::min<std::uint64_t>(file_bytes, apr::footer_bytes);
    parsed = apr::parse<Json>(front, file_bytes, read(file_bytes - last_bytes, last_bytes));
  } else if (gguf::has_magic(first)) {
    parsed = gguf::parse<Json>(gguf::read_front(from, file_bytes), file_bytes);
  } else if (safetensors::has_magic(first)) {
    const auto front = read(0, safetensors::front_bytes(first, file_bytes));
    parsed = safetensors::parse<Json>(front, file_bytes);
  } else {
    refuse_container(first);
  }
  parsed.metadata_text = {};
  return parsed;
}

}  // namespace nibble
