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

/// The kinds of file that there are readers for.
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

/// All that a container says before its tensors' bytes, proved against the file: every tensor lies
/// inside it, overlaps no other and has exactly the bytes that its encoding and shape need. Json is a
/// specialization of nlohmann::basic_json, a parameter so that what is done with it is compiled where
/// it is used.
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

/// How many keys the metadata of a GGUF or safetensors file may have; models have a few dozen. (An .apr
/// file's may nest, and is held to its size alone.)
inline constexpr std::uint64_t max_metadata_keys = 32'768;

/// What a tensor takes of memory in an open file, its name aside: what is known of it, its view, and
/// what parsing and sorting list of it.
inline constexpr std::uint64_t directory_bytes_per_tensor =
    sizeof(tensor_info) + sizeof(tensor_view) + 80;

}  // namespace nibble
