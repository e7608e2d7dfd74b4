#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/text.hpp>

namespace nibble::gguf {

/// The first bytes of a file.
inline constexpr std::string_view magic = "GGUF";
/// The oldest version that is read.
inline constexpr std::uint32_t oldest_version = 2;
/// The newest version that is read, and the one that is written. Version 2 has the same bytes.
inline constexpr std::uint32_t newest_version = 3;

/// The key whose value, a u32, says what the offsets of tensors are multiples of.
inline constexpr std::string_view alignment_key = "general.alignment";
/// The alignment of a file without that key.
inline constexpr std::uint64_t default_alignment_bytes = 32;
/// The most that it may be in files that this library takes.
inline constexpr std::uint64_t max_alignment_bytes = std::uint64_t{1} << 20U;

/// The most that all keys and values may take.
inline constexpr std::uint64_t max_metadata_bytes = std::uint64_t{64} << 20U;
/// The longest key that the format allows.
inline constexpr std::size_t max_key_bytes = 65535;
/// The longest name of a tensor that the format allows. ggml puts a zero byte behind a name into the
/// same room, and so takes one byte less.
inline constexpr std::size_t max_name_bytes = 64;
/// The most dimensions that a tensor may have.
inline constexpr std::size_t max_rank = 4;

/// Whether a file starts with the magic of GGUF files.
[[nodiscard]] inline bool has_magic(std::span<const std::byte> file) noexcept {
  return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
}

/// Whether general.alignment may be `bytes`: a power of two up to max_alignment_bytes.
[[nodiscard]] constexpr bool is_alignment(std::uint64_t bytes) noexcept {
  return bytes != 0 && (bytes & (bytes - 1)) == 0 && bytes <= max_alignment_bytes;
}

/// The first 24 bytes of a file; everything in it is little-endian:
///
///   0 magic "GGUF" · 4 u32 version · 8 u64 tensor_count · 16 u64 metadata_count
///
/// Behind them, without padding, are
///   metadata_count times  string key · u32 value type · value
///   tensor_count times    string name · u32 dimension count · u64 dimensions, innermost first ·
///                         u32 ggml type · u64 offset from the start of the data
/// where a string is its length as a u64 and that many bytes, and the value of an array is the u32 type
/// of its elements, their number as a u64, and the elements. The data starts at the next multiple of
/// general.alignment, or of 32 where there is no such key.
struct header {
  /// The size of a header.
  static constexpr std::size_t bytes = 24;

  std::uint32_t version = newest_version;  ///< 2 or 3
  std::uint64_t tensor_count = 0;          ///< entries of the tensor list
  std::uint64_t metadata_count = 0;        ///< keys

  /// Reads and checks the first 24 bytes of `file`. Throws unknown_container, truncated,
  /// unsupported_feature (a big-endian file), unsupported_version.
  [[nodiscard]] static header parse(std::span<const std::byte> file) {
    if (!has_magic(file)) {
      throw error(error_code::unknown_container,
                  {.field = "header.magic", .expected = "the bytes 47 47 55 46"});
    }
    if (file.size() < bytes) {
      throw error(error_code::truncated, {.field = "header",
                                          .found = join_text({"a file of ", file.size(), " bytes"}),
                                          .expected = join_text({bytes, " bytes of header"})});
    }
    const header parsed{.version = load_number<std::uint32_t>(file, 4),
                        .tensor_count = load_number<std::uint64_t>(file, 8),
                        .metadata_count = load_number<std::uint64_t>(file, 16)};
    if (parsed.version != 0 && (parsed.version & 0xFFFFU) == 0) {
      throw error(error_code::unsupported_feature,
                  {.field = "header.version",
                   .found = join_text({"0x", hex_text(parsed.version, 8), ", a big-endian file"}),
                   .expected = "a little-endian file"});
    }
    if (parsed.version < oldest_version || parsed.version > newest_version) {
      throw error(error_code::unsupported_version,
                  {.field = "header.version",
                   .found = std::to_string(parsed.version),
                   .expected = join_text({oldest_version, " or ", newest_version})});
    }
    return parsed;
  }

  /// Writes the 24 bytes.
  void store(std::span<std::byte> to) const noexcept {
    std::memcpy(to.data(), magic.data(), magic.size());
    store_number(to, 4, version);
    store_number(to, 8, tensor_count);
    store_number(to, 16, metadata_count);
  }
};

}  // namespace nibble::gguf
