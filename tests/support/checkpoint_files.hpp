#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <support/bytes.hpp>
#include <support/files.hpp>

/// Files as model hubs serve them, written from the formats' descriptions.
namespace nibble_test {

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  write_file(path, bytes_of(text));
}

/// A tensor of a file that a hub serves.
struct hub_tensor {
  std::string name;
  std::string dtype;  ///< safetensors' name of it
  std::vector<std::uint64_t> shape;
  std::vector<std::byte> bytes;
};

/// Writes a safetensors file, tensors in the order given.
inline void write_hub_tensors(const std::filesystem::path& path,
                              const std::vector<hub_tensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::vector<std::byte> data;
  for (const hub_tensor& tensor : tensors) {
    header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                          tensor.dtype, fmt::join(tensor.shape, ","), data.size(),
                          data.size() + tensor.bytes.size());
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

/// A tensor of bytes.
struct byte_tensor {
  std::string name;
  std::vector<std::byte> bytes;
};

/// Writes a safetensors file of U8 vectors.
inline void write_byte_tensors(const std::filesystem::path& path,
                               const std::vector<byte_tensor>& tensors) {
  std::vector<hub_tensor> vectors;
  for (const byte_tensor& tensor : tensors) {
    vectors.push_back({tensor.name, "U8", {tensor.bytes.size()}, tensor.bytes});
  }
  write_hub_tensors(path, vectors);
}

}  // namespace nibble_test
