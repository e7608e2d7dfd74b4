#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include <nibble/core/tensor_info.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/replaced_metadata.hpp>
#include <nibble/format/safetensors/parse.hpp>
#include <nibble/format/safetensors/serialise.hpp>

namespace nibble::safetensors {

/// The safetensors file `file` with other metadata, an object: a new header, padded so that the data
/// behind it are aligned, with the tensors in the order of the old one. Values become strings as in
/// basic_serialiser. What is returned refers to `file`. A braced list is taken for a nlohmann::json.
///
/// Throws bad_metadata (no object, what JSON has no text for, a header over the format's limit), and
/// what parse() throws for the old file and for the new one.
template <class Json = nlohmann::json>
[[nodiscard]] replaced_metadata replace_metadata(std::span<const std::byte> file,
                                                 const Json& metadata) {
  const basic_directory<Json> old = parse<Json>(file);
  require_object(metadata, "metadata");
  const std::uint64_t data_offset = front_bytes(file, file.size());
  std::string text = "{";
  detail::append_metadata(text, metadata);
  for (const tensor_info& tensor : old.tensors) {
    const std::uint64_t begin = tensor.file_offset_bytes - data_offset;
    detail::append_entry<Json>(text, tensor.name, tensor.dtype, tensor.shape, begin,
                               begin + tensor.size_bytes);
  }
  replaced_metadata made;
  made.front = detail::front_of(text + '}');
  made.kept = file.subspan(static_cast<std::size_t>(data_offset));
  made.file_bytes = made.front.size() + made.kept.size();
  static_cast<void>(parse<Json>(made.front, made.file_bytes));
  return made;
}

}  // namespace nibble::safetensors
