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
#include <nibble/format/apr/layout.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/planned_tensor.hpp>
#include <nibble/format/shards.hpp>

namespace nibble::apr {

/// Everything of a file but its tensors' bytes, for tensors that are known by name, encoding and shape.
/// All places are fixed from the start; only checksums come later.
template <class Json>
class basic_serialiser {
 public:
  /// Throws unsupported_encoding for what .apr has no dtype id for, bad_metadata (what JSON cannot say,
  /// or over 64 MiB), bad_layout (over 2^64 bytes).
  basic_serialiser(std::vector<planned_tensor> tensors, Json metadata)
      : tensors_(std::move(tensors)), metadata_(std::move(metadata)), order_(tensors_.size()) {
    for (const planned_tensor& tensor : tensors_) {
      if (!tensor.unknown_dtype && describe(tensor.encoding).apr_dtype_id) continue;
      throw error(error_code::unsupported_encoding, {.tensor = tensor.name,
                                                     .field = "encoding",
                                                     .found = tensor.dtype_text(),
                                                     .expected = "one that .apr has a dtype id for"});
    }
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::ranges::sort(order_, {},
                      [&](std::size_t i) -> const std::string& { return tensors_[i].name; });
    require_object(metadata_, "metadata");
    record_.tensor_crc32.resize(tensors_.size());
    for (const std::size_t i : order_) record_.tensor_encodings.push_back(tensors_[i].encoding);
    describe_quantization();

    const std::string text = metadata_text();
    if (text.size() > max_metadata_bytes) {
      throw error(error_code::bad_metadata, {.field = "metadata",
                                             .found = join_text({text.size(), " bytes"}),
                                             .expected = join_text({"at most ", max_metadata_bytes})});
    }
    metadata_bytes_ = static_cast<std::uint32_t>(text.size());
    std::uint64_t index_bytes = 0;
    std::vector<std::uint64_t> sizes;
    sizes.reserve(tensors_.size());
    for (const std::size_t i : order_) {
      index_bytes += entry_bytes(tensors_[i]);
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

  /// The tensors, as indices into the list given, in the order in which their bytes stand.
  [[nodiscard]] std::span<const std::size_t> order() const noexcept { return order_; }
  /// First byte of the tensor that stands at a place of order().
  [[nodiscard]] std::uint64_t offset_bytes(std::size_t place) const noexcept {
    return layout_.tensor_offsets[place];
  }
  /// Where the tensors' bytes end, padding included.
  [[nodiscard]] std::uint64_t data_end() const noexcept { return layout_.data_end; }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return layout_.file_bytes; }
  /// Whether a CRC-32 of every byte before it ends the file.
  static constexpr bool has_footer = true;

  /// What a reader finds in a file of `file_bytes` with that front and footer. Throws as parse().
  [[nodiscard]] static basic_directory<Json> read_back(std::span<const std::byte> front,
                                                       std::uint64_t file_bytes,
                                                       std::span<const std::byte> footer) {
    return parse<Json>(front, file_bytes, footer);
  }

  /// Every byte before the first tensor; crc32[place] belongs to order()[place].
  [[nodiscard]] std::vector<std::byte> front(std::span<const std::uint32_t> crc32) {
    record_.tensor_crc32.assign(crc32.begin(), crc32.end());
    const std::string text = metadata_text();
    std::vector<std::byte> bytes(static_cast<std::size_t>(layout_.data_offset));
    header{.flags = flags(),
           .tensor_count = static_cast<std::uint32_t>(tensors_.size()),
           .metadata_offset = layout_.metadata_offset,
           .metadata_bytes = metadata_bytes_,
           .index_offset = layout_.index_offset,
           .data_offset = layout_.data_offset}
        .store(bytes);
    std::memcpy(bytes.data() + layout_.metadata_offset, text.data(), text.size());
    std::span<std::byte> entry =
        std::span(bytes).subspan(static_cast<std::size_t>(layout_.index_offset));
    for (std::size_t place = 0; place < order_.size(); ++place) {
      const planned_tensor& tensor = tensors_[order_[place]];
      store_entry(tensor, layout_.tensor_offsets[place] - layout_.data_offset, entry);
      entry = entry.subspan(entry_bytes(tensor));
    }
    return bytes;
  }

 private:
  [[nodiscard]] static std::size_t entry_bytes(const planned_tensor& tensor) noexcept {
    return 2 + tensor.name.size() + 1 + 1 + 8 * tensor.shape.rank() + 8 + 8;
  }

  static void store_entry(const planned_tensor& tensor, std::uint64_t offset,
                          std::span<std::byte> to) noexcept {
    std::size_t at = 0;
    const auto put = [&](auto number) {
      store_number(to, at, number);
      at += sizeof(number);
    };
    put(static_cast<std::uint16_t>(tensor.name.size()));
    std::memcpy(to.data() + at, tensor.name.data(), tensor.name.size());
    at += tensor.name.size();
    put(describe(tensor.encoding).apr_dtype_id.value());
    put(static_cast<std::uint8_t>(tensor.shape.rank()));
    for (const std::uint64_t dimension : tensor.shape.dimensions()) put(dimension);
    put(offset);
    put(tensor.size_bytes);
  }

  [[nodiscard]] std::string metadata_text() {
    metadata_[basic_packing_record<Json>::key] = record_.to_json();
    return print_json(metadata_, "metadata");
  }

  /// The standard "quantization" object: of the encoding that most quantized elements have. Without
  /// "symmetric" where the file holds q4 or q8: the reference implementation then refuses the file,
  /// which it would otherwise misread without a word.
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
    const encoding_description& main = describe(
        std::ranges::max_element(elements, {}, [](const auto& count) { return count.second; })->first);
    Json quantization{{"quant_type", main.name}, {"bits", main.code_bits}};
    quantization["block_size"] = main.has_blocks() ? Json(main.block_elements) : Json(nullptr);
    if (!is_unreadable_elsewhere) quantization["symmetric"] = !main.has_min;
    metadata_["quantization"] = std::move(quantization);
  }

  [[nodiscard]] std::uint16_t flags() const {
    unsigned bits = flag::row_major;
    if (metadata_.contains(basic_shard_record<Json>::key)) bits |= flag::sharded;
    if (metadata_.contains("quantization")) bits |= flag::quantized;
    if (metadata_.contains("tokenizer.vocabulary")) bits |= flag::vocabulary;
    return static_cast<std::uint16_t>(bits);
  }

  std::vector<planned_tensor> tensors_;
  Json metadata_;
  std::vector<std::size_t> order_;
  basic_packing_record<Json> record_;
  std::uint32_t metadata_bytes_ = 0;
  layout layout_;
};
using serialiser = basic_serialiser<nlohmann::json>;

}  // namespace nibble::apr
