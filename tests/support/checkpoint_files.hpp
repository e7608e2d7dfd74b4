#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <support/bytes.hpp>
#include <support/files.hpp>

/// Files as model hubs serve them, written from the formats' descriptions.
namespace nibble_test {

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  write_file(path, bytes_of(text));
}

/// A tensor of bytes.
struct byte_tensor {
  std::string name;
  std::vector<std::byte> bytes;
};

/// Writes a safetensors file of U8 vectors.
inline void write_byte_tensors(const std::filesystem::path& path,
                               const std::vector<byte_tensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::vector<std::byte> data;
  for (const byte_tensor& tensor : tensors) {
    header += fmt::format(R"(,"{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                          tensor.bytes.size(), data.size(), data.size() + tensor.bytes.size());
    data.insert(data.end(), tensor.bytes.begin(), tensor.bytes.end());
  }
  header += "}";
  std::vector<std::byte> file;
  append_number(file, std::uint64_t{header.size()});
  const auto text = bytes_of(header);
  file.insert(file.end(), text.begin(), text.end());
  file.insert(file.end(), data.begin(), data.end());
  std::filesystem::create_directories(path.parent_path());
  write_file(path, file);
}

}  // namespace nibble_test
