#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/layout.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/gguf/tensor_type.hpp>
#include <nibble/format/gguf/write_metadata.hpp>
#include <nibble/format/planned_tensor.hpp>

namespace nibble::gguf {

/// Everything of a GGUF file of version 3 but its tensors' bytes: a ContainerSerialiser. Tensors stand
/// in the order of the bytes of their names, without gaps but the padding to general.alignment, which
/// is what ggml asks for.
template <class Json>
class basic_serialiser {
 public:
  /// `tensors` in any order, with names that differ. `metadata`, an object, becomes keys and values as
  /// append_metadata() says. A tensor whose encoding has no ggml type but a twin with the same values
  /// (ggml_twin_of(): q4, apr_q4) has the twin's.
  ///
  /// Throws, naming the tensor, unsupported_encoding (no ggml type and no twin), bad_name (none, or 64
  /// bytes and more, which
  /// ggml has no room for), bad_shape (more than four dimensions, a dimension of 2^63 and more, rows of
  /// incomplete blocks); bad_metadata and bad_record as append_metadata() and alignment_of() do;
  /// bad_layout (over 2^63 bytes).
  basic_serialiser(std::vector<planned_tensor> tensors, const Json& metadata) : order_(tensors.size()) {
    require_object(metadata, "metadata");
    const std::uint64_t alignment_bytes = alignment_of(metadata);
    for (const planned_tensor& tensor : tensors) require_representable(tensor);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::sort(order_.begin(), order_.end(),
              [&](std::size_t a, std::size_t b) { return tensors[a].name < tensors[b].name; });

    front_.resize(header::bytes);
    const std::uint64_t metadata_count = append_metadata(front_, metadata);
    header{.tensor_count = tensors.size(), .metadata_count = metadata_count}.store(front_);

    std::vector<std::uint64_t> sizes;
    sizes.reserve(tensors.size());
    std::uint64_t front_bytes = front_.size();
    for (const std::size_t i : order_) {
      sizes.push_back(tensors[i].size_bytes);
      front_bytes += entry_bytes(tensors[i]);
    }
    auto placed = lay_out(front_bytes, sizes, alignment_bytes);
    if (!placed || placed->data_end > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      throw error(error_code::bad_layout, {.field = "file size",
                                           .found = "over 2^63 bytes",
                                           .expected = "a file that a file system can hold"});
    }
    layout_ = std::move(*placed);
    front_.reserve(static_cast<std::size_t>(layout_.data_offset));
    for (std::size_t place = 0; place < order_.size(); ++place) {
      append_entry(tensors[order_[place]], layout_.tensor_offsets[place]);
    }
    front_.resize(static_cast<std::size_t>(layout_.data_offset));
  }

  /// The tensors in the order in which their bytes stand, as indices into the list given.
  [[nodiscard]] std::span<const std::size_t> order() const noexcept { return order_; }
  /// Where in the file the bytes of tensor order()[place] start.
  [[nodiscard]] std::uint64_t offset_bytes(std::size_t place) const noexcept {
    return layout_.data_offset + layout_.tensor_offsets[place];
  }
  /// Where the bytes of the last tensor end, padding included.
  [[nodiscard]] std::uint64_t data_end() const noexcept { return layout_.data_end; }
  /// Size of the file, which ends with the last tensor's padding.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return layout_.data_end; }
  /// Whole blocks of `which` as blocks of its ggml twin, which has as many bytes.
  [[nodiscard]] static std::span<const std::byte> stored(encoding which,
                                                         std::span<const std::byte> bytes,
                                                         std::vector<std::byte>& buffer) {
    if (!moves_codes(which)) return bytes;
    buffer.resize(bytes.size());
    to_ggml_twin(which, bytes, buffer);
    return buffer;
  }
  /// GGUF has no checksum of the file.
  static constexpr bool has_footer = false;

  /// The directory of a file of `file_bytes` that starts with `front`. Throws as parse().
  [[nodiscard]] static basic_directory<Json> read_back(std::span<const std::byte> front,
                                                       std::uint64_t file_bytes,
                                                       std::span<const std::byte>) {
    return parse<Json>(front, file_bytes);
  }

  /// Every byte before the first tensor. Checksums are ignored: GGUF has no place for them.
  [[nodiscard]] std::vector<std::byte> front(std::span<const std::uint32_t>) const { return front_; }

 private:
  static void require_representable(const planned_tensor& tensor) {
    const auto refuse = [&](error_code code, std::string_view field, std::string found,
                            std::string expected) {
      throw error(code, {.tensor = tensor.name,
                         .field = std::string(field),
                         .found = std::move(found),
                         .expected = std::move(expected)});
    };
    const bool is_kept = tensor.has_unknown_dtype_of(container::gguf);
    if (!is_kept && (tensor.unknown_dtype || !ggml_twin_of(tensor.encoding))) {
      refuse(error_code::unsupported_encoding, "encoding", tensor.dtype_text(),
             "one that GGUF has a type for");
    }
    if (tensor.name.empty()) {
      refuse(error_code::bad_name, "name", "an empty one", "1 byte or more");
    }
    if (tensor.name.size() >= max_name_bytes) {
      refuse(error_code::bad_name, "name", join_text({tensor.name.size(), " bytes"}),
             join_text({"less than ", max_name_bytes, ", as GGUF has them"}));
    }
    if (tensor.shape.rank() > max_rank) {
      refuse(error_code::bad_shape, "shape", join_text({tensor.shape.rank(), " dimensions"}),
             join_text({"at most ", max_rank, ", as GGUF has them"}));
    }
    for (const std::uint64_t dimension : tensor.shape.dimensions()) {
      require_signed(tensor.name, dimension);
    }
    if (!is_kept) require_whole_blocks(tensor.name, tensor.encoding, tensor.shape);
  }

  [[nodiscard]] static std::size_t entry_bytes(const planned_tensor& tensor) noexcept {
    return 8 + tensor.name.size() + 4 + 8 * tensor.shape.rank() + 4 + 8;
  }

  /// Of an encoding that has a twin.
  [[nodiscard]] static std::uint32_t ggml_type_of(encoding which) noexcept {
    return describe(ggml_twin_of(which).value_or(which)).gguf_type.value_or(0);
  }

  void append_entry(const planned_tensor& tensor, std::uint64_t offset) {
    append_string(front_, tensor.name);
    append_number(front_, static_cast<std::uint32_t>(tensor.shape.rank()));
    for (std::size_t i = tensor.shape.rank(); i-- > 0;) append_number(front_, tensor.shape[i]);
    append_number(front_,
                  tensor.unknown_dtype ? tensor.unknown_dtype->id : ggml_type_of(tensor.encoding));
    append_number(front_, offset);
  }

  std::vector<std::size_t> order_;
  std::vector<std::byte> front_;
  layout layout_;
};
/// A serialiser whose metadata are nlohmann::json.
using serialiser = basic_serialiser<nlohmann::json>;

}  // namespace nibble::gguf
