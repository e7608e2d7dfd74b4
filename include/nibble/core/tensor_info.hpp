#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>

namespace nibble {

/// What a container's directory says of one tensor. The encoding is resolved, and the size was checked
/// against it. Holds no bytes.
struct tensor_info {
  std::string name{};                          ///< UTF-8
  std::optional<nibble::encoding> encoding{};  ///< nothing where the dtype is not known here
  std::optional<std::uint32_t> dtype_id{};     ///< as on disk; nothing where dtypes are names
  std::string dtype{};                         ///< as on disk, where dtypes are names
  nibble::shape shape{};                       ///< outermost dimension first
  std::uint64_t file_offset_bytes = 0;         ///< absolute
  std::uint64_t size_bytes = 0;                ///< of the stored bytes
  std::optional<std::uint32_t> crc32{};        ///< recorded, over the stored bytes
};

}  // namespace nibble
