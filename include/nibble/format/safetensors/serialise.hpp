#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/planned_tensor.hpp>
#include <nibble/format/safetensors/parse.hpp>

namespace nibble::safetensors {

/// What the data are placed by, behind a header that is padded to it.
inline constexpr std::uint64_t alignment_bytes = 64;

namespace detail {

/// Appends the map of strings that a header opened with: strings as they are, other values as JSON
/// text.
template <class Json>
void append_metadata(std::string& text, const Json& metadata) {
  if (metadata.empty()) return;
  Json strings = Json::object();
  for (const auto& [key, value] : metadata.items()) {
    strings[key] = value.is_string() ? value.template get<std::string>() : print_json(value, key);
  }
  text += join_text({"\"", metadata_key, "\":", print_json(strings, metadata_key)});
}

/// Appends a tensor to a header that is being written, behind what it holds.
template <class Json>
void append_entry(std::string& text, const std::string& name, std::string_view dtype,
                  const shape& dimensions, std::uint64_t begin, std::uint64_t end) {
  text += join_text({text.size() == 1 ? "" : ",", print_json(Json(name), "tensor name"),
                     ":{\"dtype\":", print_json(Json(dtype), "dtype"), ",\"shape\":[",
                     list_text(dimensions.dimensions(), ","), "],\"data_offsets\":[", begin, ",", end,
                     "]}"});
}

/// Length and header, padded so that the data behind them are aligned. Throws bad_metadata for a header
/// over the format's limit.
[[nodiscard]] inline std::vector<std::byte> front_of(const std::string& text) {
  const std::uint64_t padded =
      divide_round_up(length_bytes + text.size(), alignment_bytes) * alignment_bytes;
  const std::uint64_t header_bytes = padded - length_bytes;
  if (header_bytes > max_header_bytes) {
    throw error(error_code::bad_metadata, {.field = "header",
                                           .found = join_text({header_bytes, " bytes"}),
                                           .expected = join_text({"at most ", max_header_bytes})});
  }
  std::vector<std::byte> front(static_cast<std::size_t>(padded), std::byte{' '});
  std::memcpy(front.data(), &header_bytes, sizeof(header_bytes));
  std::memcpy(front.data() + length_bytes, text.data(), text.size());
  return front;
}

}  // namespace detail

/// Everything of a safetensors file but its tensors' bytes: a ContainerSerialiser. The header is padded
/// with spaces so that the data start on a multiple of 64; tensors of wider elements stand first, those
/// of one width in the order of the bytes of their names. So each is aligned to its own elements.
template <class Json>
class basic_serialiser {
 public:
  /// The most that the constructor lets the data take.
  static constexpr std::uint64_t max_file_bytes = std::uint64_t{1} << 63U;

  /// `tensors` in any order, with names that differ. `metadata`, an object, becomes the container's map
  /// of strings: strings as they are, other values as JSON text.
  ///
  /// Throws, naming the tensor, bad_name ("__metadata__"), unsupported_encoding (no dtype in
  /// safetensors), bad_shape (elements narrower than a byte that end within one); bad_metadata for
  /// metadata that are no object or hold what JSON has no text for, and for a header over the format's
  /// limit; bad_layout (over 2^63 bytes).
  basic_serialiser(std::vector<planned_tensor> tensors, const Json& metadata)
      : tensors_(std::move(tensors)), order_(tensors_.size()) {
    require_object(metadata, "metadata");
    for (const planned_tensor& tensor : tensors_) {
      if (tensor.name == metadata_key) {
        throw error(error_code::bad_name, {.tensor = tensor.name,
                                           .field = "name",
                                           .found = std::string(metadata_key),
                                           .expected = "a name that safetensors does not reserve"});
      }
      if (tensor.has_unknown_dtype_of(container::safetensors)) continue;
      const encoding_description& row = describe(tensor.encoding);
      if (tensor.unknown_dtype || row.safetensors_dtype.empty()) {
        throw error(error_code::unsupported_encoding,
                    {.tensor = tensor.name,
                     .field = "encoding",
                     .found = tensor.dtype_text(),
                     .expected = "one that safetensors has a dtype for"});
      }
      if (tensor.shape.elements() % row.block_elements != 0) {
        throw error(error_code::bad_shape,
                    {.tensor = tensor.name,
                     .field = "shape",
                     .found = join_text({tensor.shape.to_string(), " of ", row.name}),
                     .expected = "elements that fill whole bytes, which safetensors asks for"});
      }
    }
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    const auto place_of = [&](std::size_t i) {
      const encoding_description& row = describe(tensors_[i].encoding);
      const std::uint32_t alignment = row.block_elements == 1 ? row.block_bytes : 1;
      return std::tuple<std::uint32_t, const std::string&>(~alignment, tensors_[i].name);
    };
    std::sort(order_.begin(), order_.end(),
              [&](std::size_t a, std::size_t b) { return place_of(a) < place_of(b); });
    std::string text = "{";
    detail::append_metadata(text, metadata);
    std::uint64_t end = 0;
    for (const std::size_t i : order_) {
      const planned_tensor& tensor = tensors_[i];
      offsets_.push_back(end);
      const auto next = checked_add(end, tensor.size_bytes);
      if (!next || *next > max_file_bytes) {
        throw error(error_code::bad_layout, {.tensor = tensor.name,
                                             .field = "file size",
                                             .found = "over 2^63 bytes",
                                             .expected = "a file that a file system can hold"});
      }
      const std::uint64_t begin = std::exchange(end, *next);
      detail::append_entry<Json>(text, tensor.name,
                                 tensor.unknown_dtype ? std::string_view(tensor.unknown_dtype->name)
                                                      : describe(tensor.encoding).safetensors_dtype,
                                 tensor.shape, begin, end);
    }
    front_ = detail::front_of(text + '}');
    file_bytes_ = front_.size() + end;
  }

  /// The tensors in the order in which their bytes stand, as indices into the list given.
  [[nodiscard]] std::span<const std::size_t> order() const noexcept { return order_; }
  /// Where in the file the bytes of tensor order()[place] start.
  [[nodiscard]] std::uint64_t offset_bytes(std::size_t place) const noexcept {
    return front_.size() + offsets_[place];
  }
  /// Where the bytes of the last tensor end.
  [[nodiscard]] std::uint64_t data_end() const noexcept { return file_bytes_; }
  /// Size of the file, which ends with the last tensor.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return file_bytes_; }
  /// Tensors' bytes stand in the file as they are.
  [[nodiscard]] static std::span<const std::byte> stored(encoding, std::span<const std::byte> bytes,
                                                         std::vector<std::byte>&) noexcept {
    return bytes;
  }
  /// safetensors has no checksum of the file.
  static constexpr bool has_footer = false;

  /// The directory of a file of `file_bytes` that starts with `front`. Throws as parse().
  [[nodiscard]] static basic_directory<Json> read_back(std::span<const std::byte> front,
                                                       std::uint64_t file_bytes,
                                                       std::span<const std::byte>) {
    return parse<Json>(front, file_bytes);
  }

  /// Every byte before the first tensor. Checksums are ignored: safetensors has no place for them.
  [[nodiscard]] std::vector<std::byte> front(std::span<const std::uint32_t>) const { return front_; }

 private:
  std::vector<planned_tensor> tensors_;
  std::vector<std::size_t> order_;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::byte> front_;
  std::uint64_t file_bytes_ = 0;
};
/// A serialiser whose metadata are nlohmann::json.
using serialiser = basic_serialiser<nlohmann::json>;

}  // namespace nibble::safetensors
