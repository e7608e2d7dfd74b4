#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/crc32.hpp>

namespace nibble::apr {

/// Size of the header, which is always the same.
inline constexpr std::size_t header_bytes = 64;
/// Size of the footer, a CRC-32.
inline constexpr std::size_t footer_bytes = 4;
/// Sections and tensors start on multiples of it.
inline constexpr std::uint64_t alignment_bytes = 64;
/// The first bytes of a file.
inline constexpr std::string_view magic{"APR\0", 4};
/// The one major version that is read and written.
inline constexpr std::uint8_t major_version = 2;
/// The most that the JSON text may take.
inline constexpr std::uint64_t max_metadata_bytes = std::uint64_t{64} << 20U;
/// The most that the name of a tensor may take.
inline constexpr std::size_t max_name_bytes = 256;

/// Bits of header::flags.
namespace flag {
inline constexpr std::uint16_t lz4 = 0x001;           ///< refused
inline constexpr std::uint16_t zstd = 0x002;          ///< refused
inline constexpr std::uint16_t encrypted = 0x004;     ///< refused
inline constexpr std::uint16_t is_signed = 0x008;     ///< reported, not checked
inline constexpr std::uint16_t sharded = 0x010;       ///< the metadata have "sharding"
inline constexpr std::uint16_t quantized = 0x020;     ///< a tensor is
inline constexpr std::uint16_t filterbank = 0x040;    ///< not looked at
inline constexpr std::uint16_t model_card = 0x080;    ///< not looked at
inline constexpr std::uint16_t streaming = 0x100;     ///< not looked at
inline constexpr std::uint16_t vocabulary = 0x200;    ///< the metadata have a vocabulary
inline constexpr std::uint16_t row_major = 0x400;     ///< always written
inline constexpr std::uint16_t column_major = 0x800;  ///< refused
inline constexpr std::uint16_t all_known = 0xFFF;     ///< all of these
}  // namespace flag

/// The first 64 bytes of a file:
///
///   0 magic "APR\0" · 4 u8 major · 5 u8 minor · 6 u16 flags · 8 u32 tensor_count ·
///   12 u64 metadata_offset · 20 u32 metadata_size · 24 u64 tensor_index_offset · 32 u64 data_offset ·
///   40 u32 CRC-32 of bytes 0..39 and 44..63 · 44 twenty reserved bytes, zero
struct header {
  std::uint8_t minor_version = 0;     ///< 0; any other is noted
  std::uint16_t flags = 0;            ///< see flag
  std::uint32_t tensor_count = 0;     ///< entries of the index
  std::uint64_t metadata_offset = 0;  ///< absolute, as all offsets here
  std::uint32_t metadata_bytes = 0;   ///< of the JSON text, without padding
  std::uint64_t index_offset = 0;     ///< of the first entry
  std::uint64_t data_offset = 0;      ///< of the first tensor
  bool reserved_are_zero = true;      ///< the last twenty bytes, when reading

  /// CRC-32 of the 64 bytes of a header without the four of the checksum.
  [[nodiscard]] static std::uint32_t checksum(std::span<const std::byte> bytes) {
    crc32_sum sum(bytes.first(checksum_offset));
    sum += crc32_sum(bytes.subspan(reserved_offset, header_bytes - reserved_offset));
    return sum.value();
  }

  /// Reads and checks the first 64 bytes of `file`. Throws unknown_container, truncated,
  /// unsupported_version, header_checksum, unsupported_feature.
  [[nodiscard]] static header parse(std::span<const std::byte> file) {
    if (file.size() < magic.size() || std::memcmp(file.data(), magic.data(), magic.size()) != 0) {
      throw error(error_code::unknown_container,
                  {.field = "header.magic", .expected = "the bytes 41 50 52 00"});
    }
    if (file.size() < header_bytes) {
      throw error(error_code::truncated, {.field = "header",
                                          .found = join_text({"a file of ", file.size(), " bytes"}),
                                          .expected = join_text({header_bytes, " bytes of header"})});
    }
    const auto bytes = file.first(header_bytes);
    if (const auto major = load_number<std::uint8_t>(bytes, major_version_offset);
        major != major_version) {
      throw error(error_code::unsupported_version, {.field = "header.version",
                                                    .found = std::to_string(major),
                                                    .expected = std::to_string(major_version)});
    }
    const auto recorded = load_number<std::uint32_t>(bytes, checksum_offset);
    if (const std::uint32_t actual = checksum(bytes); recorded != actual) {
      throw error(error_code::header_checksum, {.field = "header.checksum",
                                                .found = hex_text(recorded, 8),
                                                .expected = hex_text(actual, 8)});
    }
    header parsed;
    for_each_field(parsed, [&](std::size_t offset, auto& field) {
      field = load_number<std::remove_reference_t<decltype(field)>>(bytes, offset);
    });
    for (const std::byte reserved : bytes.subspan(reserved_offset, header_bytes - reserved_offset)) {
      parsed.reserved_are_zero &= reserved == std::byte{0};
    }
    parsed.refuse_unreadable_flags();
    return parsed;
  }

  /// Writes the 64 bytes, checksum included.
  void store(std::span<std::byte> to) const {
    const auto bytes = to.first(header_bytes);
    std::memset(bytes.data(), 0, bytes.size());
    std::memcpy(bytes.data(), magic.data(), magic.size());
    store_number(bytes, major_version_offset, major_version);
    for_each_field(*this,
                   [&](std::size_t offset, const auto& field) { store_number(bytes, offset, field); });
    store_number(bytes, checksum_offset, checksum(bytes));
  }

 private:
  static constexpr std::size_t major_version_offset = magic.size();
  static constexpr std::size_t checksum_offset = 40;
  static constexpr std::size_t reserved_offset = checksum_offset + sizeof(std::uint32_t);

  /// Calls visit(offset in the header, field) for every field between major version and checksum:
  /// parse() and store() both take their places from here.
  template <class Header, class Visit>
  static void for_each_field(Header& fields, const Visit& visit) {
    visit(5, fields.minor_version);
    visit(6, fields.flags);
    visit(8, fields.tensor_count);
    visit(12, fields.metadata_offset);
    visit(20, fields.metadata_bytes);
    visit(24, fields.index_offset);
    visit(32, fields.data_offset);
  }

  void refuse_unreadable_flags() const {
    const auto refuse_if = [&](std::uint16_t bit, std::string_view what) {
      if ((flags & bit) == 0) return;
      throw error(error_code::unsupported_feature,
                  {.field = "header.flags",
                   .found = join_text({"0x", hex_text(flags, 3), ", which says ", what}),
                   .expected = "plain row-major data"});
    };
    refuse_if(flag::lz4, "LZ4 compression");
    refuse_if(flag::zstd, "Zstd compression");
    refuse_if(flag::encrypted, "encryption");
    refuse_if(flag::column_major, "column-major layout");
  }
};

}  // namespace nibble::apr
