#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/apr/index.hpp>
#include <nibble/format/apr/layout.hpp>
#include <nibble/format/apr/metadata.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/planned_tensor.hpp>

namespace nibble::apr {

/// Everything of an .apr file but its tensors' bytes: a ContainerSerialiser. Tensors stand in the order
/// of the bytes of their names. Every offset is fixed by the constructor; the checksums are given
/// later, to front().
template <class Json>
class basic_serialiser {
 public:
  /// `tensors` in any order, with names that differ. `metadata` must be an object; what it says under
  /// "nibble" and "quantization" is replaced by what the tensors are.
  ///
  /// Throws bad_name for an empty name, unsupported_encoding for a tensor whose encoding has no dtype id
  /// in .apr files, bad_metadata for metadata that are no object, hold what JSON has no text for, or
  /// take over 64 MiB,
  /// bad_layout for a file over 2^64 bytes or 2^32 tensors.
  basic_serialiser(std::vector<planned_tensor> tensors, Json metadata)
      : tensors_(std::move(tensors)), metadata_(std::move(metadata)), order_(tensors_.size()) {
    for (const planned_tensor& tensor : tensors_) {
      if (tensor.name.empty()) {
        throw error(error_code::bad_name,
                    {.field = "name", .found = "an empty one", .expected = "1 byte or more"});
      }
      if (!tensor.unknown_dtype && describe(tensor.encoding).apr_dtype_id) continue;
      throw error(error_code::unsupported_encoding, {.tensor = tensor.name,
                                                     .field = "encoding",
                                                     .found = tensor.dtype_text(),
                                                     .expected = "one that .apr has a dtype id for"});
    }
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::sort(order_.begin(), order_.end(),
              [&](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
    require_object(metadata_, "metadata");
    record_.tensor_crc32.resize(tensors_.size());
    for (const std::size_t i : order_) record_.tensor_encodings.push_back(tensors_[i].encoding);
    describe_quantization();

    metadata_bytes_ = static_cast<std::uint32_t>(recorded_metadata_text().size());
    std::uint64_t index_bytes = 0;
    std::vector<std::uint64_t> sizes;
    sizes.reserve(tensors_.size());
    for (const std::size_t i : order_) {
      index_bytes += index_entry_bytes(tensors_[i].name.size(), tensors_[i].shape.rank());
      sizes.push_back(tensors_[i].size_bytes);
    }
    const auto placed = lay_out(metadata_bytes_, index_bytes, sizes);
    if (!placed || tensors_.size() > std::numeric_limits<std::uint32_t>::max()) {
      throw error(error_code::bad_layout, {.field = "file size",
                                           .found = "over 2^64 bytes or 2^32 tensors",
                                           .expected = "a file that its header can describe"});
    }
    layout_ = *placed;
  }

  /// The tensors in the order in which their bytes stand, as indices into the list given.
  [[nodiscard]] std::span<const std::size_t> order() const noexcept { return order_; }
  /// Where in the file the bytes of tensor order()[place] start.
  [[nodiscard]] std::uint64_t offset_bytes(std::size_t place) const noexcept {
    return layout_.tensor_offsets[place];
  }
  /// Where the bytes of the last tensor end, padding included: the footer's offset.
  [[nodiscard]] std::uint64_t data_end() const noexcept { return layout_.data_end; }
  /// Size of the file, footer included.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return layout_.file_bytes; }
  /// Tensors' bytes stand in the file as they are.
  [[nodiscard]] static std::span<const std::byte> stored(encoding, std::span<const std::byte> bytes,
                                                         std::vector<std::byte>&) noexcept {
    return bytes;
  }
  /// The file ends with the CRC-32 of every byte before it.
  static constexpr bool has_footer = true;

  /// The directory of a file of `file_bytes` that starts with `front` and ends with `footer`. Throws as
  /// parse().
  [[nodiscard]] static basic_directory<Json> read_back(std::span<const std::byte> front,
                                                       std::uint64_t file_bytes,
                                                       std::span<const std::byte> footer) {
    return parse<Json>(front, file_bytes, footer);
  }

  /// Every byte before the first tensor. crc32[place] is that of the stored bytes, without padding, of
  /// tensor order()[place].
  [[nodiscard]] std::vector<std::byte> front(std::span<const std::uint32_t> crc32) {
    record_.tensor_crc32.assign(crc32.begin(), crc32.end());
    const std::string text = recorded_metadata_text();
    std::vector<std::byte> bytes(static_cast<std::size_t>(layout_.data_offset));
    header{.flags = flags(),
           .tensor_count = static_cast<std::uint32_t>(tensors_.size()),
           .metadata_offset = layout_.metadata_offset,
           .metadata_bytes = metadata_bytes_,
           .index_offset = layout_.index_offset,
           .data_offset = layout_.data_offset}
        .store(bytes);
    std::memcpy(bytes.data() + layout_.metadata_offset, text.data(), text.size());
    std::span<std::byte> index =
        std::span(bytes).subspan(static_cast<std::size_t>(layout_.index_offset));
    for (std::size_t place = 0; place < order_.size(); ++place) {
      index = store_index_entry(tensors_[order_[place]],
                                layout_.tensor_offsets[place] - layout_.data_offset, index);
    }
    return bytes;
  }

 private:
  /// The metadata's text with the packing record as it is now: of the same length whatever the
  /// checksums are.
  [[nodiscard]] std::string recorded_metadata_text() {
    metadata_[basic_packing_record<Json>::key] = record_.to_json();
    return metadata_text(metadata_);
  }

  /// Sets the standard "quantization" object to the encoding that most quantized elements have. Where
  /// the file holds q4 or q8, "symmetric" is left out: the reference implementation then refuses the
  /// file, which it would otherwise misread without a word.
  void describe_quantization() {
    std::map<encoding, std::uint64_t> elements;
    bool is_unreadable_elsewhere = false;
    for (const planned_tensor& tensor : tensors_) {
      const encoding_description& row = describe(tensor.encoding);
      if (!row.is_quantized()) continue;
      elements[tensor.encoding] += tensor.shape.elements();
      is_unreadable_elsewhere |= row.family == encoding_family::nibble;
    }
    if (elements.empty()) {
      metadata_.erase("quantization");
      return;
    }
    const encoding_description& main =
        describe(std::max_element(elements.begin(), elements.end(), [](const auto& a, const auto& b) {
                   return a.second < b.second;
                 })->first);
    Json quantization{{"quant_type", main.name}, {"bits", main.code_bits}};
    quantization["block_size"] = main.has_blocks() ? Json(main.block_elements) : Json(nullptr);
    if (!is_unreadable_elsewhere) quantization["symmetric"] = !main.has_min;
    metadata_["quantization"] = std::move(quantization);
  }

  [[nodiscard]] std::uint16_t flags() const {
    const bool is_quantized = std::any_of(
        tensors_.begin(), tensors_.end(),
        [](const planned_tensor& tensor) { return describe(tensor.encoding).is_quantized(); });
    const unsigned of_tensors = flag::row_major | (is_quantized ? flag::quantized : 0U);
    return with_metadata_flags(static_cast<std::uint16_t>(of_tensors), metadata_);
  }

  std::vector<planned_tensor> tensors_;
  Json metadata_;
  std::vector<std::size_t> order_;
  basic_packing_record<Json> record_;
  std::uint32_t metadata_bytes_ = 0;
  layout layout_;
};
/// A serialiser whose metadata are nlohmann::json.
using serialiser = basic_serialiser<nlohmann::json>;

}  // namespace nibble::apr
