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
#include <nibble/format/apr/layout.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/resolve_encoding.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/extents.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble::apr {

/// Whether a file starts as .apr files do.
[[nodiscard]] inline bool has_magic(std::span<const std::byte> file) noexcept {
  return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
}

namespace detail {

/// Throws bad_layout unless the sections stand in order, truncated unless they lie inside the file.
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

/// The reference writer lets a tensor have no name; files that record their packing do not.
enum class empty_name : std::uint8_t { refused, taken };

/// The smallest index entry there is: no name and no dimensions.
inline constexpr std::size_t min_entry_bytes = 2 + 1 + 1 + 8 + 8;

/// Reads index entries one after the other, each bound checked before it is read.
class index_cursor {
 public:
  index_cursor(std::span<const std::byte> index, std::uint64_t data_offset, empty_name empty)
      : index_(index), data_offset_(data_offset), empty_name_(empty) {}

  /// How many of `count` entries stand whole in the index, by their lengths alone.
  [[nodiscard]] std::size_t count_whole_entries(std::size_t count) const noexcept {
    std::size_t at = 0;
    for (std::size_t entry = 0; entry < count; ++entry) {
      const std::size_t left = index_.size() - at;
      if (left < min_entry_bytes) return entry;
      const auto name_bytes = load_number<std::uint16_t>(index_, at);
      if (left - min_entry_bytes < name_bytes) return entry;
      const auto rank = load_number<std::uint8_t>(index_, at + 2 + name_bytes + 1);
      const std::size_t dimension_bytes = std::size_t{rank} * sizeof(std::uint64_t);
      if (left - min_entry_bytes - name_bytes < dimension_bytes) return entry;
      at += min_entry_bytes + name_bytes + dimension_bytes;
    }
    return count;
  }

  /// Reads an entry into `info`, all but the encoding, and returns its dtype id.
  std::uint8_t next(tensor_info& info) {
    const auto name_bytes = take<std::uint16_t>("name length");
    const std::uint16_t least_name_bytes = empty_name_ == empty_name::refused ? 1 : 0;
    if (name_bytes < least_name_bytes || name_bytes > max_name_bytes) {
      throw error(error_code::bad_name,
                  {.field = join_text({"index entry ", entry_}),
                   .found = join_text({"a name of ", name_bytes, " bytes"}),
                   .expected = join_text({least_name_bytes, " to ", max_name_bytes})});
    }
    const auto name = take_bytes(name_bytes, "name");
    info.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
    if (find_invalid_utf8(info.name) != std::string_view::npos) {
      throw error(error_code::bad_name, {.tensor = info.name,
                                         .field = join_text({"index entry ", entry_}),
                                         .found = "a name with bytes that are not UTF-8",
                                         .expected = "UTF-8"});
    }
    if (entry_ != 0 && info.name.compare(previous_name_) <= 0) {
      throw error(error_code::bad_index,
                  {.tensor = info.name,
                   .field = join_text({"index entry ", entry_}),
                   .found = join_text({"'", info.name, "' behind '", previous_name_, "'"}),
                   .expected = "names strictly increasing"});
    }
    const auto dtype_id = take<std::uint8_t>("dtype id");
    const auto rank = take<std::uint8_t>("dimension count");
    if (rank > shape::max_rank) {
      throw error(error_code::bad_shape, {.tensor = info.name,
                                          .field = "dimension count",
                                          .found = std::to_string(rank),
                                          .expected = join_text({"at most ", shape::max_rank})});
    }
    std::array<std::uint64_t, shape::max_rank> dimensions{};
    for (std::size_t i = 0; i < rank; ++i) dimensions[i] = take<std::uint64_t>("dimension");
    try {
      info.shape = shape(std::span(dimensions).first(rank));
    } catch (const error& problem) {
      throw problem.in_tensor(info.name);
    }
    const auto offset = take<std::uint64_t>("offset");
    info.size_bytes = take<std::uint64_t>("size");
    const auto absolute = checked_add(offset, data_offset_);
    if (!absolute || !checked_add(*absolute, info.size_bytes)) {
      throw error(error_code::truncated, {.tensor = info.name,
                                          .field = "offset and size",
                                          .found = join_text({offset, " and ", info.size_bytes}),
                                          .expected = "an end below 2^64"});
    }
    info.file_offset_bytes = *absolute;
    info.dtype_id = dtype_id;
    previous_name_ = {reinterpret_cast<const char*>(name.data()), name.size()};
    ++entry_;
    return dtype_id;
  }

  /// Throws bad_index unless nothing but padding is left.
  void finish() const {
    const bool is_zero = std::ranges::all_of(index_, [](std::byte b) { return b == std::byte{0}; });
    if (is_zero && index_.size() < alignment_bytes) return;
    throw error(error_code::bad_index,
                {.field = "index",
                 .found = join_text({index_.size(), " bytes behind entry ", entry_}),
                 .expected = join_text({"zero padding to a multiple of ", alignment_bytes})});
  }

 private:
  [[nodiscard]] std::span<const std::byte> take_bytes(std::size_t count, std::string_view field) {
    if (index_.size() < count) {
      throw error(error_code::bad_index,
                  {.field = join_text({"index entry ", entry_, ", ", field}),
                   .found = join_text({index_.size(), " bytes left before the data"}),
                   .expected = join_text({"at least ", count})});
    }
    const auto taken = index_.first(count);
    index_ = index_.subspan(count);
    return taken;
  }
  template <class Number>
  [[nodiscard]] Number take(std::string_view field) {
    return load_number<Number>(take_bytes(sizeof(Number), field), 0);
  }

  std::span<const std::byte> index_;
  std::uint64_t data_offset_;
  empty_name empty_name_;
  std::string_view previous_name_;
  std::size_t entry_ = 0;
};

/// The footer behind the padded data, or nothing where the file ends there. Throws truncated,
/// bad_layout.
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

/// Bytes in front of the tensors, from the first header_bytes of a file of `file_bytes`. Throws as
/// parse does for the header and the order of sections, bad_index for an index larger than its entries
/// can be.
[[nodiscard]] inline std::uint64_t front_bytes(std::span<const std::byte> first,
                                               std::uint64_t file_bytes) {
  const header head = header::parse(first);
  detail::check_sections(head, file_bytes);
  constexpr std::uint64_t max_entry_bytes =
      detail::min_entry_bytes + max_name_bytes + shape::max_rank * sizeof(std::uint64_t);
  const std::uint64_t most = head.tensor_count * max_entry_bytes + alignment_bytes;
  if (head.data_offset - head.index_offset > most) {
    throw error(error_code::bad_index,
                {.field = "index",
                 .found = join_text({head.data_offset - head.index_offset, " bytes"}),
                 .expected = join_text({"at most ", most, " for ", head.tensor_count, " tensors"})});
  }
  return head.data_offset;
}

/// The directory of an .apr file of version 2, from the bytes in front of its tensors (or more), its
/// size and its last footer_bytes (fewer in a smaller file). What it gives refers to `front`. Throws an
/// error that names section, tensor and field, without a file's name; directory_too_large (see
/// memory_budget) among others.
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
  if (head.tensor_count > index.size() / detail::min_entry_bytes) {
    throw error(error_code::bad_index,
                {.field = "header.tensor_count",
                 .found = std::to_string(head.tensor_count),
                 .expected = join_text({"at most ", index.size() / detail::min_entry_bytes,
                                        " in an index of ", index.size(), " bytes"})});
  }
  const auto record = basic_packing_record<Json>::find(parsed.metadata, head.tensor_count);

  detail::index_cursor cursor(index, head.data_offset,
                              record ? detail::empty_name::refused : detail::empty_name::taken);
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
