#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <support/bytes.hpp>
#include <support/random_values.hpp>

/// safetensors files built byte by byte from the written format, sharing nothing with the library.
namespace nibble_test {

/// A file: the header's length in 8 bytes, the header as it is, and data of any value.
[[nodiscard]] inline std::vector<std::byte> with_header(std::string_view header,
                                                        std::size_t data_bytes) {
  std::vector<std::byte> file;
  append_number(file, std::uint64_t{header.size()});
  const auto text = bytes_of(header);
  file.insert(file.end(), text.begin(), text.end());
  const auto data = random_bytes(data_bytes, 1);
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

/// A header of one tensor, "w", whose entry is given.
[[nodiscard]] inline std::string lone(std::string_view entry) {
  return "{\"w\":" + std::string(entry) + "}";
}

}  // namespace nibble_test
