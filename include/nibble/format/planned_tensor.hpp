#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/directory.hpp>

namespace nibble {

/// A dtype that the table of encodings does not have, by the name that one container gives it. Such a
/// tensor cannot be decoded, and no other container can hold it; its bytes can be copied into a file of
/// the same kind.
struct unknown_dtype {
  nibble::container container;  ///< the kind of file that has a name for it
  std::uint32_t id = 0;         ///< in GGUF: the ggml type
  std::string name{};           ///< in safetensors: the dtype
};

/// A tensor that a file is going to hold, before its bytes exist.
struct planned_tensor {
  std::string name;           ///< UTF-8
  nibble::encoding encoding;  ///< u8 where the dtype is unknown
  nibble::shape shape;        ///< outermost dimension first
  std::uint64_t size_bytes;   ///< stored_bytes(encoding, shape), unless the dtype is unknown
  std::optional<nibble::unknown_dtype> unknown_dtype{};  ///< nothing where the encoding says it

  /// The dtype as messages name it: the encoding's name, or of an unknown dtype its name or id.
  [[nodiscard]] std::string dtype_text() const {
    if (!unknown_dtype) return std::string(to_string(encoding));
    return unknown_dtype->name.empty() ? join_text({"id ", unknown_dtype->id}) : unknown_dtype->name;
  }
  /// Whether the dtype is unknown and files of this kind have a name for it.
  [[nodiscard]] bool has_unknown_dtype_of(nibble::container kind) const noexcept {
    return unknown_dtype && unknown_dtype->container == kind;
  }
};

}  // namespace nibble
