#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/block_source.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/packing_options.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/format/planned_tensor.hpp>

namespace nibble {

/// f32 values in memory, borrowed, to be packed.
struct values_to_pack {
  std::span<const float> values;
  packing_options how;
};
/// f32 rows on demand, to be packed.
struct rows_to_pack {
  row_source rows;
  packing_options how;
};
/// Bytes in memory, borrowed, stored as they are.
struct stored_in_memory {
  std::span<const std::byte> bytes;
};
/// Blocks on demand, stored as they are.
struct stored_on_demand {
  block_source blocks;
};

/// Where the bytes of a planned tensor come from.
using tensor_source = std::variant<values_to_pack, rows_to_pack, stored_in_memory, stored_on_demand>;

inline namespace NIBBLE_ARCHITECTURE {

/// The bytes of one tensor of a plan, made chunk by chunk, each independent of the others. Architecture is
/// this_architecture.
template <std::same_as<this_architecture> Architecture = this_architecture>
class basic_tensor_chunks {
 public:
  /// `tensor` and `source` must outlive the chunks. Reads the source once or twice where the encoding
  /// has one scale for the tensor, and calls after_chunk() for every chunk read, from any thread.
  /// Throws invalid_argument (importance), not_representable, and whatever the source and after_chunk
  /// throw.
  template <class AfterChunk>
  basic_tensor_chunks(const planned_tensor& tensor, const tensor_source& source,
                      nibble::executor* executor, AfterChunk&& after_chunk)
      : tensor_(tensor), source_(source) {
    const auto pack = [&](const auto& values, const packing_options& how) {
      packer_.emplace(tensor.name, tensor.encoding, tensor.shape, values,
                      quantize_options{.rule = how.rule,
                                       .search = how.search,
                                       .column_importance = how.column_importance,
                                       .executor = executor},
                      std::forward<AfterChunk>(after_chunk));
    };
    if (const auto* const packed = std::get_if<values_to_pack>(&source)) {
      pack(packed->values, packed->how);
    } else if (const auto* const fetched = std::get_if<rows_to_pack>(&source)) {
      pack(fetched->rows, fetched->how);
    }
  }

  /// The tensor's name.
  [[nodiscard]] const std::string& name() const noexcept { return tensor_.name; }

  /// The encoding that its bytes are of.
  [[nodiscard]] nibble::encoding encoding() const noexcept { return tensor_.encoding; }

  /// Number of chunks: 256 KiB of f32 or a row each to be packed, 1 MiB of stored bytes.
  [[nodiscard]] std::size_t count() const noexcept {
    if (packer_) return packer_->chunk_count();
    return static_cast<std::size_t>(divide_round_up(tensor_.size_bytes, stored_chunk_bytes()));
  }

  /// First byte of a chunk, counted from the tensor's first.
  [[nodiscard]] std::uint64_t offset_bytes(std::size_t chunk) const noexcept {
    return packer_ ? packer_->chunk_offset_bytes(chunk) : chunk * stored_chunk_bytes();
  }

  /// The bytes of a chunk, in `buffer` or where the host keeps them. May run for several chunks at once.
  /// Throws not_representable (naming element and value), and whatever the source throws.
  [[nodiscard]] std::span<const std::byte> bytes(std::size_t chunk,
                                                 std::vector<std::byte>& buffer) const {
    if (packer_) {
      buffer.resize(packer_->chunk_size_bytes(chunk));
      packer_->pack(chunk, buffer);
      return buffer;
    }
    const std::uint64_t offset = offset_bytes(chunk);
    const auto size =
        static_cast<std::size_t>(std::min(tensor_.size_bytes - offset, stored_chunk_bytes()));
    if (const auto* const memory = std::get_if<stored_in_memory>(&source_)) {
      return memory->bytes.subspan(static_cast<std::size_t>(offset), size);
    }
    buffer.resize(size);
    std::get<stored_on_demand>(source_).blocks(offset / describe(tensor_.encoding).block_bytes, buffer);
    return buffer;
  }

 private:
  /// Whole blocks of about 1 MiB.
  [[nodiscard]] std::uint64_t stored_chunk_bytes() const noexcept {
    constexpr std::uint64_t max_bytes = 1U << 20U;
    return max_bytes - max_bytes % describe(tensor_.encoding).block_bytes;
  }

  const planned_tensor& tensor_;
  const tensor_source& source_;
  std::optional<basic_tensor_packer<Architecture>> packer_;  ///< of what is packed
};

/// See basic_tensor_chunks.
using tensor_chunks = basic_tensor_chunks<>;

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
