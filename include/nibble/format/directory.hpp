#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/name_index.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/format/finding.hpp>

namespace nibble {

/// The kinds of file that can be read.
enum class container : std::uint8_t { apr, gguf, safetensors };

/// "apr", "gguf", "safetensors".
[[nodiscard]] constexpr std::string_view to_string(container which) noexcept {
  switch (which) {
    case container::apr: return "apr";
    case container::gguf: return "gguf";
    case container::safetensors: return "safetensors";
  }
  return "unknown";
}

/// All that a file says before the bytes of its tensors, validated: every tensor lies inside the file,
/// overlaps no other, and has exactly the bytes that its encoding and shape need. Json is a
/// specialization of nlohmann::basic_json; because it is a parameter, functions that use it are
/// compiled only where they are called.
template <class Json>
struct basic_directory {
  nibble::container container{};                ///< which kind of file it is
  std::string_view metadata_text{};             ///< the file's own JSON, where it has any: its bytes
  Json metadata{};                              ///< an object
  std::vector<tensor_info> tensors{};           ///< in the order of the file's own list
  name_index names{};                           ///< of tensors, where parsing needed it
  std::optional<std::uint32_t> footer_crc32{};  ///< over every byte before it, where the file has one
  std::vector<finding> notes{};                 ///< what was unusual and not refused
};
/// A directory whose metadata is nlohmann::json.
using directory = basic_directory<nlohmann::json>;

/// The most keys that the metadata of a GGUF or safetensors file may have; models have a few dozen.
/// (Those of an .apr file may nest, and only their size is limited.)
inline constexpr std::uint64_t max_metadata_keys = 32'768;

/// Memory that a tensor takes in an open file, without its name: its tensor_info, its view, and its
/// share of the lists by which tensors are parsed and sorted.
inline constexpr std::uint64_t directory_bytes_per_tensor =
    sizeof(tensor_info) + sizeof(tensor_view) + 80;

}  // namespace nibble
