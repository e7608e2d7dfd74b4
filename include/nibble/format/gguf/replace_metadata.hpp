#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/gguf/byte_cursor.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/gguf/read_metadata.hpp>
#include <nibble/format/gguf/write_metadata.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/replaced_metadata.hpp>

namespace nibble::gguf {

/// The GGUF file `file` with other metadata, an object, which become keys and values as
/// append_metadata() says. Tensor list and tensors stay as they are, whatever their types, for offsets
/// in the list count from the start of the data. What is returned refers to `file`. A braced list is
/// taken for a nlohmann::json.
///
/// Throws bad_metadata (also for another general.alignment, which would move the tensors), bad_record,
/// and what parse() throws for the old file and for the new one.
template <class Json = nlohmann::json>
[[nodiscard]] replaced_metadata replace_metadata(std::span<const std::byte> file,
                                                 const Json& metadata) {
  static_cast<void>(parse<Json>(file));
  require_object(metadata, "metadata");
  header head = header::parse(file);
  byte_cursor cursor(file, header::bytes);
  const std::uint64_t alignment_bytes =
      read_metadata<Json>(cursor, head.metadata_count).alignment_bytes;
  if (const std::uint64_t other = alignment_of(metadata); other != alignment_bytes) {
    throw error(error_code::bad_metadata,
                {.field = std::string(alignment_key),
                 .found = std::to_string(other),
                 .expected = join_text({alignment_bytes, ", by which the tensors are placed"})});
  }
  const std::size_t list_begin = cursor.position();
  for (std::uint64_t i = 0; i < head.tensor_count; ++i) {
    static_cast<void>(detail::read_tensor(cursor));
  }
  const auto list = file.subspan(list_begin, cursor.position() - list_begin);
  const auto data_offset = checked_round_up(cursor.position(), alignment_bytes);

  replaced_metadata made;
  made.front.resize(header::bytes);
  head.metadata_count = append_metadata(made.front, metadata);
  head.store(made.front);
  made.front.insert(made.front.end(), list.begin(), list.end());
  made.front.resize(
      static_cast<std::size_t>(checked_round_up(made.front.size(), alignment_bytes).value()));
  // A file without tensors may end before its data would begin.
  if (data_offset && *data_offset < file.size()) {
    made.kept = file.subspan(static_cast<std::size_t>(*data_offset));
  }
  made.file_bytes = made.front.size() + made.kept.size();
  static_cast<void>(parse<Json>(made.front, made.file_bytes));
  return made;
}

}  // namespace nibble::gguf
