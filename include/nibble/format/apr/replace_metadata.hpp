#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/apr/metadata.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/replaced_metadata.hpp>

namespace nibble::apr {

/// The .apr file `file` with other metadata, an object. Index and tensors stay as they are, for offsets
/// in the index count from the start of the data; flags that say what the metadata hold are set anew.
/// What is returned refers to `file`. A braced list is taken for a nlohmann::json.
///
/// Throws bad_metadata (no object, what JSON has no text for, over 64 MiB), and what parse() throws for
/// the old file and for the new one.
template <class Json = nlohmann::json>
[[nodiscard]] replaced_metadata replace_metadata(std::span<const std::byte> file,
                                                 const Json& metadata) {
  const basic_directory<Json> old = parse<Json>(file);
  require_object(metadata, "metadata");
  const std::string text = metadata_text(metadata);
  header head = header::parse(file);
  replaced_metadata made;
  made.has_footer = old.footer_crc32.has_value();
  made.kept = file.subspan(static_cast<std::size_t>(head.data_offset));
  if (made.has_footer) made.kept = made.kept.first(made.kept.size() - footer_bytes);

  const std::uint64_t index_bytes = head.data_offset - head.index_offset;
  const auto index =
      file.subspan(static_cast<std::size_t>(head.index_offset), static_cast<std::size_t>(index_bytes));
  head.metadata_offset = header_bytes;
  head.metadata_bytes = static_cast<std::uint32_t>(text.size());
  head.index_offset = checked_round_up(header_bytes + text.size(), alignment_bytes).value();
  head.data_offset = head.index_offset + index_bytes;
  head.flags = with_metadata_flags(head.flags, metadata);

  made.front.resize(static_cast<std::size_t>(head.index_offset));
  head.store(made.front);
  std::memcpy(made.front.data() + head.metadata_offset, text.data(), text.size());
  made.front.insert(made.front.end(), index.begin(), index.end());
  made.file_bytes = made.front.size() + made.kept.size() + (made.has_footer ? footer_bytes : 0);
  const std::array<std::byte, footer_bytes> footer{};  // its value is verify()'s concern
  static_cast<void>(parse<Json>(made.front, made.file_bytes, footer));
  return made;
}

}  // namespace nibble::apr
