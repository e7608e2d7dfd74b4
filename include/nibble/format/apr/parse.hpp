#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/apr/index.hpp>
#include <nibble/format/apr/layout.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/resolve_encoding.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/extents.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble::apr {

/// Whether a file starts with the magic of .apr files.
[[nodiscard]] inline bool has_magic(std::span<const std::byte> file) noexcept {
  return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
}

namespace detail {

/// Throws bad_layout unless the sections follow each other in order, truncated unless they lie inside
/// the file, bad_metadata for more than 64 MiB of them.
inline void check_sections(const header& head, std::uint64_t file_bytes) {
  const auto metadata_end = checked_add(head.metadata_offset, head.metadata_bytes);
  const auto refuse = [](std::string_view field, std::uint64_t found, std::string expected) {
    throw error(
        error_code::bad_layout,
        {.field = std::string(field), .found = std::to_string(found), .expected = std::move(expected)});
  };
  if (head.metadata_offset < header_bytes) {
    refuse("header.metadata_offset", head.metadata_offset, "at least 64, behind the header");
  }
  if (head.metadata_bytes > max_metadata_bytes) {
    throw error(error_code::bad_metadata, {.field = "header.metadata_size",
                                           .found = join_text({head.metadata_bytes, " bytes"}),
                                           .expected = join_text({"at most ", max_metadata_bytes})});
  }
  if (!metadata_end) {
    refuse("header.metadata_offset", head.metadata_offset,
           join_text({"an end of ", head.metadata_bytes, " bytes of metadata below 2^64"}));
  }
  if (head.index_offset < *metadata_end) {
    refuse("header.tensor_index_offset", head.index_offset,
           join_text({"at least ", *metadata_end, ", behind the metadata"}));
  }
  if (head.data_offset < head.index_offset) {
    refuse("header.data_offset", head.data_offset,
           join_text({"at least ", head.index_offset, ", behind the index"}));
  }
  const auto require_inside = [&](std::string_view section, std::uint64_t end) {
    if (end <= file_bytes) return;
    throw error(error_code::truncated, {.field = std::string(section),
                                        .found = join_text({"a file of ", file_bytes, " bytes"}),
                                        .expected = join_text({"at least ", end})});
  };
  require_inside("metadata", *metadata_end);
  require_inside("index", head.data_offset);
}

/// The footer behind the padded data, or nothing where the file ends with the padding. Throws truncated
/// where the file ends before, bad_layout where anything but a footer is behind the padding.
inline std::optional<std::uint32_t> find_footer(std::span<const std::byte> last_bytes,
                                                std::uint64_t file_bytes, std::uint64_t data_end) {
  const auto padded_end = checked_round_up(data_end, alignment_bytes);
  if (!padded_end || *padded_end > file_bytes) {
    throw error(error_code::truncated,
                {.field = "padding behind the data",
                 .found = join_text({"a file of ", file_bytes, " bytes"}),
                 .expected = join_text({"at least ", padded_end.value_or(data_end)})});
  }
  const std::uint64_t left = file_bytes - *padded_end;
  if (left == 0) return std::nullopt;
  if (left == footer_bytes) {
    return load_number<std::uint32_t>(last_bytes.last(footer_bytes), 0);
  }
  if (left < footer_bytes) {
    throw error(error_code::truncated, {.field = "footer",
                                        .found = join_text({left, " bytes"}),
                                        .expected = join_text({footer_bytes, " or none"})});
  }
  throw error(error_code::bad_layout, {.field = "footer",
                                       .found = join_text({left, " bytes behind the data"}),
                                       .expected = join_text({footer_bytes, " or none"})});
}

/// Notes what is unusual in a header that can be read.
inline void note_header(const header& head, std::vector<finding>& notes) {
  const auto note = [&](std::string_view field, std::string text) {
    notes.push_back({.field = std::string(field), .text = std::move(text)});
  };
  if (head.minor_version != 0) {
    note("header.version", join_text({"minor version ", head.minor_version, ", this library knows 0"}));
  }
  if (!head.reserved_are_zero) note("header.reserved", "not zero");
  if ((head.flags & ~flag::all_known) != 0) {
    note("header.flags", join_text({"0x", hex_text(head.flags, 4), " has bits that are not known"}));
  }
  if ((head.flags & flag::row_major) == 0) note("header.flags", "the row-major flag is absent");
  if ((head.flags & flag::is_signed) != 0) {
    note("header.flags", "a signature is present and is not checked");
  }
}

/// Notes empty names, tensors that are not aligned, and sections or tensors that are not where
/// lay_out() puts them.
inline void note_placement(const header& head, const std::vector<tensor_info>& tensors,
                           std::uint64_t index_bytes, std::vector<finding>& notes) {
  std::vector<std::uint64_t> sizes;
  sizes.reserve(tensors.size());
  for (const tensor_info& tensor : tensors) sizes.push_back(tensor.size_bytes);
  const auto expected = lay_out(head.metadata_bytes, index_bytes, sizes);
  bool is_as_laid_out = expected && expected->metadata_offset == head.metadata_offset &&
                        expected->index_offset == head.index_offset &&
                        expected->data_offset == head.data_offset;
  note_series misaligned(notes);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const tensor_info& tensor = tensors[i];
    if (tensor.name.empty()) {
      notes.push_back({.field = join_text({"index entry ", i}), .text = "the name is empty"});
    }
    if (tensor.file_offset_bytes % alignment_bytes != 0) {
      misaligned.add(
          {.tensor = tensor.name,
           .field = "offset",
           .text = join_text({tensor.file_offset_bytes, " is no multiple of ", alignment_bytes})});
    }
    is_as_laid_out = is_as_laid_out && tensor.file_offset_bytes == expected->tensor_offsets[i];
  }
  std::move(misaligned).finish();
  if (!is_as_laid_out) {
    notes.push_back(
        {.field = "layout", .text = "sections or tensors do not follow each other in index order"});
  }
}

}  // namespace detail

/// How many bytes are before the tensors of a file of `file_bytes`, read from its first header_bytes.
/// Throws as parse() does for the header and the order of sections, bad_index for an index larger than
/// its entries can be.
[[nodiscard]] inline std::uint64_t front_bytes(std::span<const std::byte> first,
                                               std::uint64_t file_bytes) {
  const header head = header::parse(first);
  detail::check_sections(head, file_bytes);
  const std::uint64_t most = std::uint64_t{head.tensor_count} * max_index_entry_bytes + alignment_bytes;
  if (head.data_offset - head.index_offset > most) {
    throw error(error_code::bad_index,
                {.field = "index",
                 .found = join_text({head.data_offset - head.index_offset, " bytes"}),
                 .expected = join_text({"at most ", most, " for ", head.tensor_count, " tensors"})});
  }
  return head.data_offset;
}

/// The directory of an .apr file of version 2, made from `front`, the bytes before its tensors (or
/// more), from its size, and from its last footer_bytes (fewer in a smaller file). The directory refers
/// to `front`.
///
/// Throws, naming section, tensor and field but no file: unknown_container, truncated,
/// unsupported_version, unsupported_feature, header_checksum, bad_layout, bad_metadata, bad_record,
/// bad_index, bad_name, bad_shape, size_mismatch, missing_footer, directory_too_large (see
/// memory_budget).
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse(std::span<const std::byte> front, std::uint64_t file_bytes,
                                          std::span<const std::byte> last_bytes) {
  const header head = header::parse(front);
  detail::check_sections(head, file_bytes);

  basic_directory<Json> parsed{.container = container::apr};
  detail::note_header(head, parsed.notes);

  const auto raw = front.subspan(static_cast<std::size_t>(head.metadata_offset), head.metadata_bytes);
  const std::string_view text = trim_json({reinterpret_cast<const char*>(raw.data()), raw.size()});
  memory_budget budget(file_bytes);
  parsed.metadata = parse_json_object<Json>(text, "metadata", budget);
  parsed.metadata_text = text;

  const auto index = front.subspan(static_cast<std::size_t>(head.index_offset),
                                   static_cast<std::size_t>(head.data_offset - head.index_offset));
  if (head.tensor_count > index.size() / min_index_entry_bytes) {
    throw error(error_code::bad_index,
                {.field = "header.tensor_count",
                 .found = std::to_string(head.tensor_count),
                 .expected = join_text({"at most ", index.size() / min_index_entry_bytes,
                                        " in an index of ", index.size(), " bytes"})});
  }
  const auto record = basic_packing_record<Json>::find(parsed.metadata, head.tensor_count);

  index_cursor cursor(index, head.data_offset, record ? empty_name::refused : empty_name::taken);
  const std::size_t whole_entries = cursor.count_whole_entries(head.tensor_count);
  budget.take(index.size(), "index");  // for the names
  budget.take(whole_entries, directory_bytes_per_tensor, "index");
  parsed.tensors.reserve(whole_entries);
  for (std::size_t i = 0; i < head.tensor_count; ++i) {
    tensor_info& info = parsed.tensors.emplace_back();
    const std::uint8_t id = cursor.next(info);
    if (record) {
      info.encoding = check_recorded_encoding(info.name, record->tensor_encodings[i], id, info.shape,
                                              info.size_bytes);
      info.crc32 = record->tensor_crc32[i];
    } else {
      info.encoding = infer_encoding(info.name, id, info.shape, info.size_bytes);
    }
  }
  cursor.finish();

  const std::uint64_t data_end = check_extents(parsed.tensors, head.data_offset, file_bytes);
  parsed.footer_crc32 = detail::find_footer(last_bytes, file_bytes, data_end);
  if (record && !parsed.footer_crc32) {
    throw error(error_code::missing_footer,
                {.field = "footer",
                 .found = "none",
                 .expected = "a checksum, as in every file that records its packing"});
  }
  detail::note_placement(head, parsed.tensors, index.size(), parsed.notes);
  if (!parsed.footer_crc32) {
    parsed.notes.push_back({.field = "footer", .text = "absent: nothing guards the file as a whole"});
  }
  return parsed;
}

/// As above, of a file whose bytes are all there.
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse(std::span<const std::byte> file) {
  return parse<Json>(file, file.size(), file.last(std::min(file.size(), footer_bytes)));
}

}  // namespace nibble::apr
