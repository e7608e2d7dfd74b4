#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/tensor_view.hpp>
#include <nibble/reader.hpp>

namespace nibble_engine {

/// A hash of what tells files apart without reading their weights: container, metadata, every tensor's
/// name, dtype, shape, place and recorded checksum, and the bytes of vectors (norms, biases), which every
/// rank reads anyway. Files that differ in matrices alone, and record no checksums, have the same one.
///
/// 64-bit FNV-1a (Fowler, Noll and Vo), over each text's length and bytes.
[[nodiscard]] inline std::uint64_t fingerprint_of(const nibble::reader& file) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  const auto add_bytes = [&hash](std::span<const std::byte> bytes) {
    for (const std::byte each : bytes) {
      hash = (hash ^ std::to_integer<std::uint64_t>(each)) * 0x100000001b3U;
    }
  };
  const auto add_number = [&](std::uint64_t number) {
    add_bytes(std::as_bytes(std::span(&number, 1)));
  };
  const auto add_text = [&](std::string_view text) {
    add_number(text.size());
    add_bytes(std::as_bytes(std::span(text)));
  };
  add_text(nibble::to_string(file.container()));
  add_text(file.metadata().dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  for (const nibble::tensor_view& tensor : file) {
    add_text(tensor.name());
    add_text(tensor.dtype_text());
    add_text(tensor.shape().to_string());
    add_number(tensor.file_offset_bytes());
    add_number(tensor.size_bytes());
    if (tensor.crc32()) add_number(*tensor.crc32());
    if (tensor.rows() == 1) add_bytes(tensor.bytes());
  }
  return hash;
}

}  // namespace nibble_engine
