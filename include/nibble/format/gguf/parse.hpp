#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/extents.hpp>
#include <nibble/format/gguf/byte_cursor.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/layout.hpp>
#include <nibble/format/gguf/read_metadata.hpp>
#include <nibble/format/gguf/tensor_type.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble::gguf {

namespace detail {

/// The smallest entries there are: a key of one byte and a value of one, and a name of one byte and no
/// dimensions.
inline constexpr std::uint64_t min_metadata_bytes = 8 + 1 + 4 + 1;
inline constexpr std::uint64_t min_tensor_bytes = 8 + 1 + 4 + 4 + 8;

/// An entry of the tensor list. Its offset is the one in the file, from the start of the data; its size
/// stays 0 where the type is not known.
[[nodiscard]] inline tensor_info read_tensor(byte_cursor& from) {
  tensor_info tensor;
  const auto name_bytes = from.take<std::uint64_t>("name length");
  if (name_bytes == 0 || name_bytes > max_name_bytes) {
    throw error(error_code::bad_name, {.field = from.place("name"),
                                       .found = join_text({name_bytes, " bytes"}),
                                       .expected = join_text({"1 to ", max_name_bytes})});
  }
  const auto name = from.take_bytes(name_bytes, "name");
  tensor.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  if (find_invalid_utf8(tensor.name) != std::string_view::npos) {
    throw error(error_code::bad_name, {.tensor = tensor.name,
                                       .field = from.place("name"),
                                       .found = "a name with bytes that are not UTF-8",
                                       .expected = "UTF-8"});
  }
  const auto rank = from.take<std::uint32_t>("dimension count");
  if (rank > max_rank) {
    throw error(error_code::bad_shape, {.tensor = tensor.name,
                                        .field = "dimension count",
                                        .found = std::to_string(rank),
                                        .expected = join_text({"at most ", max_rank})});
  }
  std::array<std::uint64_t, max_rank> dimensions{};
  for (std::size_t i = rank; i-- > 0;) {
    dimensions[i] = from.take<std::uint64_t>("dimension");
    require_signed(tensor.name, dimensions[i]);
  }
  try {
    tensor.shape = shape(std::span(dimensions).first(rank));
  } catch (const error& problem) {
    throw problem.in_tensor(tensor.name);
  }
  const auto type = from.take<std::uint32_t>("type");
  tensor.dtype_id = type;
  tensor.file_offset_bytes = from.take<std::uint64_t>("offset");
  tensor.encoding = encoding_of(type);
  if (!tensor.encoding) return tensor;
  require_whole_blocks(tensor.name, *tensor.encoding, tensor.shape);
  const auto size_bytes = stored_bytes(*tensor.encoding, tensor.shape);
  if (!size_bytes) {
    throw error(error_code::bad_shape, {.tensor = tensor.name,
                                        .field = "shape",
                                        .found = tensor.shape.to_string(),
                                        .expected = "bytes below 2^64"});
  }
  tensor.size_bytes = *size_bytes;
  return tensor;
}

/// The index of the tensors' names, from their hashes. Throws duplicate_name.
[[nodiscard]] inline name_index index_names(const std::vector<tensor_info>& tensors,
                                            std::span<const std::size_t> hashes) {
  const auto name_at = [&](std::size_t i) -> const std::string& { return tensors[i].name; };
  name_index names(hashes, name_at);
  if (const auto repeated = names.first_repeated(name_at)) {
    throw error(error_code::duplicate_name, {.tensor = tensors[*repeated].name,
                                             .field = "tensor list",
                                             .found = "the name a second time",
                                             .expected = "every name once"});
  }
  return names;
}

/// Tensors of types that are not known have the bytes up to the next tensor, or to the end of the data.
/// Throws truncated where there are none.
inline void size_unknown_types(std::vector<tensor_info>& tensors, std::uint64_t data_bytes) {
  const auto is_unknown = [](const tensor_info& tensor) {
    return !tensor.encoding && tensor.shape.elements() != 0;
  };
  std::vector<std::uint64_t> starts;
  starts.reserve(tensors.size());
  for (const tensor_info& tensor : tensors) {
    if (tensor.shape.elements() != 0) starts.push_back(tensor.file_offset_bytes);
  }
  std::sort(starts.begin(), starts.end());
  for (tensor_info& tensor : tensors) {
    if (!is_unknown(tensor)) continue;
    const auto next = std::upper_bound(starts.begin(), starts.end(), tensor.file_offset_bytes);
    const std::uint64_t end = next == starts.end() ? data_bytes : std::min(*next, data_bytes);
    if (end <= tensor.file_offset_bytes) {
      throw error(error_code::truncated,
                  {.tensor = tensor.name,
                   .field = "data",
                   .found = join_text({data_bytes, " bytes of data in the file"}),
                   .expected = join_text({"more than ", tensor.file_offset_bytes})});
    }
    tensor.size_bytes = end - tensor.file_offset_bytes;
  }
}

/// The tensor list as it is read.
struct tensor_list {
  std::vector<tensor_info> tensors{};       ///< offsets from the start of the data
  name_index names{};                       ///< of `tensors`
  std::vector<std::uint64_t> size_bytes{};  ///< of each tensor, 0 where its type is not known
  bool has_unknown_types = false;
};

/// Reads `count` entries. Throws truncated, bad_name, bad_shape, duplicate_name, directory_too_large.
[[nodiscard]] inline tensor_list read_tensor_list(byte_cursor& from, std::uint64_t count,
                                                  memory_budget& budget, std::vector<finding>& notes) {
  from.enter("tensor list");
  from.require(count, min_tensor_bytes, "entries");
  budget.take(count, directory_bytes_per_tensor, "tensor list");
  tensor_list list;
  list.tensors.reserve(static_cast<std::size_t>(count));
  list.size_bytes.reserve(list.tensors.capacity());
  // Hashed while the name is in the cache, which does not hold the names of a hundred thousand tensors.
  std::vector<std::size_t> hashes;
  hashes.reserve(list.tensors.capacity());
  note_series long_names(notes);
  for (std::uint64_t i = 0; i < count; ++i) {
    from.enter("tensor", i);
    const tensor_info& tensor = list.tensors.emplace_back(read_tensor(from));
    budget.take(memory_budget::string_bytes(tensor.name.size()), "tensor list");
    hashes.push_back(name_index::hash_of(tensor.name));
    list.size_bytes.push_back(tensor.size_bytes);
    list.has_unknown_types = list.has_unknown_types || !tensor.encoding;
    if (tensor.name.size() == max_name_bytes) {
      long_names.add({.tensor = tensor.name,
                      .field = "name",
                      .text = join_text({max_name_bytes, " bytes; ggml takes names of less"})});
    }
  }
  std::move(long_names).finish();
  if (count != 0) list.names = index_names(list.tensors, hashes);
  return list;
}

/// Where the data start. Throws truncated where the file ends before.
[[nodiscard]] inline std::uint64_t find_data(std::uint64_t front_bytes, std::uint64_t file_bytes,
                                             std::uint64_t alignment_bytes) {
  const auto data_offset = checked_round_up(front_bytes, alignment_bytes);
  if (data_offset && *data_offset <= file_bytes) return *data_offset;
  throw error(error_code::truncated,
              {.field = "padding before the data",
               .found = join_text({"a file of ", file_bytes, " bytes"}),
               .expected = join_text({"at least ", data_offset.value_or(front_bytes)})});
}

/// Adds data_offset to every tensor's offset, which then counts from the start of the file. Returns
/// whether all tensors are where `expected` has them, found in the same pass, for a hundred thousand
/// tensors fit no cache. Throws bad_layout for an offset that is not aligned, truncated for an end
/// beyond 2^64.
[[nodiscard]] inline bool make_offsets_absolute(std::vector<tensor_info>& tensors,
                                                std::uint64_t data_offset,
                                                std::uint64_t alignment_bytes,
                                                const std::optional<layout>& expected) {
  bool follows_layout = expected.has_value();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    tensor_info& tensor = tensors[i];
    const std::uint64_t offset = tensor.file_offset_bytes;
    if ((offset & (alignment_bytes - 1)) != 0) {
      throw error(error_code::bad_layout, {.tensor = tensor.name,
                                           .field = "offset",
                                           .found = std::to_string(offset),
                                           .expected = join_text({"a multiple of ", alignment_bytes})});
    }
    const auto absolute = checked_add(offset, data_offset);
    if (!absolute || !checked_add(*absolute, tensor.size_bytes)) {
      throw error(error_code::truncated, {.tensor = tensor.name,
                                          .field = "offset and size",
                                          .found = join_text({offset, " and ", tensor.size_bytes}),
                                          .expected = "an end below 2^64"});
    }
    follows_layout = follows_layout && offset == expected->tensor_offsets[i];
    tensor.file_offset_bytes = *absolute;
  }
  return follows_layout;
}

/// Notes what other readers of GGUF files may not take. `expected` is where lay_out() puts the tensors,
/// with a value where they are there.
inline void note_placement(std::uint64_t alignment_bytes, std::uint64_t file_bytes,
                           const std::optional<layout>& expected, std::vector<finding>& notes) {
  const auto note = [&](std::string_view field, std::string text) {
    notes.push_back({.field = std::string(field), .text = std::move(text)});
  };
  if (alignment_bytes % 8 != 0) {
    note(alignment_key,
         join_text({alignment_bytes, " is no multiple of 8, which the format asks for"}));
  }
  if (!expected) {
    note("layout", "tensors do not follow each other in the order of the list, as ggml wants them to");
  } else if (file_bytes < expected->data_end) {
    note("layout", "the padding behind the last tensor is absent, and ggml reads it");
  } else if (file_bytes > expected->data_end) {
    note("layout", join_text({file_bytes - expected->data_end, " bytes behind the data"}));
  }
}

}  // namespace detail

/// The directory of a GGUF file of version 2 or 3, made from `front`, the bytes before its tensors (or
/// more), and from its size. The metadata have the file's own keys, and beside them the record of what
/// JSON does not say of their values (see value_record). Shapes have the outermost dimension first.
/// Tensors of ggml types that the table of encodings lacks are listed without an encoding; their bytes
/// are those up to the next tensor, or to the end of the file.
///
/// Throws, naming section, tensor and field but no file: unknown_container, unsupported_feature,
/// unsupported_version, truncated, bad_metadata, bad_name, bad_shape, duplicate_name, bad_layout,
/// directory_too_large (see memory_budget).
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse(std::span<const std::byte> front, std::uint64_t file_bytes) {
  const header head = header::parse(front);
  byte_cursor cursor(front, header::bytes, file_bytes);
  cursor.enter("header");
  cursor.require(head.metadata_count, detail::min_metadata_bytes, "metadata_count");
  cursor.require(head.tensor_count, detail::min_tensor_bytes, "tensor_count");
  if (head.metadata_count > max_metadata_keys) {
    throw error(error_code::directory_too_large,
                {.field = "header.metadata_count",
                 .found = std::to_string(head.metadata_count),
                 .expected = join_text({"at most ", max_metadata_keys})});
  }

  basic_directory<Json> parsed{.container = container::gguf};
  memory_budget budget(file_bytes);
  basic_metadata_section<Json> metadata = read_metadata<Json>(cursor, head.metadata_count, budget);
  parsed.metadata = Json(std::move(metadata.values));
  detail::tensor_list list = detail::read_tensor_list(cursor, head.tensor_count, budget, parsed.notes);
  parsed.tensors = std::move(list.tensors);
  parsed.names = std::move(list.names);
  if (parsed.tensors.empty()) return parsed;  // such a file may end before its data would start

  const std::uint64_t front_bytes = cursor.position();
  const std::uint64_t data_offset =
      detail::find_data(front_bytes, file_bytes, metadata.alignment_bytes);
  if (list.has_unknown_types) {
    detail::size_unknown_types(parsed.tensors, file_bytes - data_offset);
    for (std::size_t i = 0; i < list.size_bytes.size(); ++i) {
      list.size_bytes[i] = parsed.tensors[i].size_bytes;
    }
  }
  auto expected = lay_out(front_bytes, list.size_bytes, metadata.alignment_bytes);
  if (!detail::make_offsets_absolute(parsed.tensors, data_offset, metadata.alignment_bytes, expected)) {
    expected.reset();
  }
  // Tensors that follow the layout do not overlap, and lie in the file where the last one's end does.
  if (!expected || file_bytes < expected->data_end) {
    check_extents(parsed.tensors, data_offset, file_bytes);
  }
  detail::note_placement(metadata.alignment_bytes, file_bytes, expected, parsed.notes);
  return parsed;
}

/// As above, of a file whose bytes are all there.
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse(std::span<const std::byte> file) {
  return parse<Json>(file, file.size());
}

}  // namespace nibble::gguf
