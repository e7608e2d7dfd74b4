#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/directory.hpp>

namespace nibble {

/// A dtype that the table of encodings lacks, as files of one container call it: nobody here can decode
/// it, and other containers have no word for it, but its bytes can be kept.
struct unlisted_dtype {
  nibble::container container;  ///< whose files have it
  std::uint32_t id = 0;         ///< GGUF's ggml type
  std::string name{};           ///< safetensors' dtype
};

/// A tensor that a file is to hold, before its bytes exist.
struct planned_tensor {
  std::string name;           ///< UTF-8
  nibble::encoding encoding;  ///< of an unlisted dtype u8, for its bytes
  nibble::shape shape;        ///< outermost dimension first
  std::uint64_t size_bytes;   ///< stored_bytes(encoding, shape), unless the dtype is unlisted
  std::optional<unlisted_dtype> unlisted{};  ///< the dtype, where the table of encodings lacks it

  /// What messages call its dtype.
  [[nodiscard]] std::string dtype_text() const {
    if (!unlisted) return std::string(to_string(encoding));
    return unlisted->name.empty() ? join_text({"id ", unlisted->id}) : unlisted->name;
  }
  /// Whether a file of `which` may hold its dtype under the name that it has there already.
  [[nodiscard]] bool is_unlisted_in(nibble::container which) const noexcept {
    return unlisted && unlisted->container == which;
  }
};

}  // namespace nibble
