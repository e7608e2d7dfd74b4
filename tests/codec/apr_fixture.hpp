#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/files.hpp>

namespace nibble_test {

inline std::vector<float> read_floats(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_file(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

/// A tensor as the reference implementation wrote it and read it back.
struct fixture_tensor {
  std::string name;
  std::string dtype;  ///< the reference's own name: q4 and q8 are this library's apr_q4 and apr_q8
  std::vector<std::uint64_t> dimensions;
  std::vector<std::byte> bytes;
  std::vector<float> source;  ///< what was quantized; empty where none was kept
  bool has_source = false;
  std::vector<float> values;  ///< what the reference decodes, or the first 1,024 of it
  bool has_values = false;
};

/// The tensors of fixtures/apr/`file`, by the JSON beside it and not by this library's reader.
inline std::vector<fixture_tensor> read_apr_fixture(const std::filesystem::path& shared,
                                                    const std::string& file) {
  const std::filesystem::path folder = shared / "fixtures" / "apr";
  const std::vector<std::byte> container = read_file(folder / file);
  const std::vector<std::byte> text = read_file(folder / (file + ".json"));
  const auto* const first = reinterpret_cast<const char*>(text.data());
  const auto listing = nlohmann::json::parse(first, first + text.size());
  std::vector<fixture_tensor> tensors;
  for (const auto& entry : listing.at("tensors")) {
    fixture_tensor tensor;
    tensor.name = entry.at("name").get<std::string>();
    tensor.dtype = entry.at("dtype").get<std::string>();
    tensor.dimensions = entry.at("shape").get<std::vector<std::uint64_t>>();
    tensor.bytes.resize(entry.at("size").get<std::size_t>());
    const auto offset = entry.at("file_offset").get<std::ptrdiff_t>();
    std::copy_n(container.begin() + offset, tensor.bytes.size(), tensor.bytes.begin());
    if (entry.contains("src_file")) {
      const std::string source = entry.at("src_file").get<std::string>();
      tensor.source = read_floats(folder / source.substr(0, source.find(' ')));
      tensor.has_source = true;
    }
    if (entry.contains("f32") && entry.at("f32").contains("dump")) {
      tensor.values = read_floats(folder / entry.at("f32").at("dump").at("file").get<std::string>());
      tensor.has_values = true;
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace nibble_test
