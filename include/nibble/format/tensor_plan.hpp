#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/block_source.hpp>
#include <nibble/compute/packing_options.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/planned_tensor.hpp>
#include <nibble/format/tensor_source.hpp>

namespace nibble {

/// A tensor of a plan, and where its bytes come from.
struct plan_entry {
  planned_tensor tensor;  ///< what the file says of it
  tensor_source source;   ///< where its bytes come from
};

/// The tensors that a file is to hold, each with its name, encoding and shape, and where its bytes come
/// from. Nothing is packed: spans are borrowed and sources kept.
class tensor_plan {
 public:
  /// Number of tensors planned.
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

  /// Plans a tensor to be packed as `which` from values in memory, row-major, which must live until the
  /// last write(), as what how.column_importance has.
  ///
  /// Throws bad_name (over 256 bytes, not UTF-8; an empty one is refused by write(), where the
  /// container is not safetensors), duplicate_name, size_mismatch (values.size()
  /// is not shape.elements()), unsupported_encoding (no codec packs f32 into it).
  void add(encoding which, std::string name, const shape& dimensions, std::span<const float> values,
           const packing_options& how = {}) {
    if (values.size() != dimensions.elements()) {
      refuse(error_code::size_mismatch, name, "values", std::to_string(values.size()),
             join_text({dimensions.elements(), " for shape ", dimensions.to_string()}));
    }
    require_packable(which, name);
    enter(which, std::move(name), dimensions, values_to_pack{values, how});
  }
  /// Plans a tensor to be packed from rows on demand, in memory for a few rows at a time. Throws as
  /// above; invalid_argument for a source without a function.
  void add(encoding which, std::string name, const shape& dimensions, row_source rows,
           const packing_options& how = {}) {
    if (!rows) {
      refuse(error_code::invalid_argument, name, "rows", "an empty row source", "a function");
    }
    require_packable(which, name);
    enter(which, std::move(name), dimensions, rows_to_pack{std::move(rows), how});
  }
  /// Values are borrowed, so a vector that dies before write() is refused when compiling.
  void add(encoding, std::string, const shape&, std::vector<float>&&,
           const packing_options& = {}) = delete;
  /// As above, the encoding chosen when compiling: add<nibble::q4>(...).
  template <Codec Codec>
  void add(std::string name, const shape& dimensions, std::span<const float> values,
           const packing_options& how = {}) {
    add(Codec::encoding, std::move(name), dimensions, values, how);
  }
  /// As above.
  template <Codec Codec>
  void add(std::string name, const shape& dimensions, row_source rows,
           const packing_options& how = {}) {
    add(Codec::encoding, std::move(name), dimensions, std::move(rows), how);
  }

  template <Codec Codec>
  void add(std::string, const shape&, std::vector<float>&&, const packing_options& = {}) = delete;

  /// Plans a tensor whose bytes were packed elsewhere and are kept bit for bit; they must live until
  /// the last write(). Throws bad_name, duplicate_name, size_mismatch (bytes.size() is not what
  /// encoding and shape need).
  void add_stored(encoding which, std::string name, const shape& dimensions,
                  std::span<const std::byte> bytes) {
    const auto needed = stored_bytes(which, dimensions);
    if (needed != bytes.size()) {
      refuse(
          error_code::size_mismatch, name, "bytes", std::to_string(bytes.size()),
          join_text({bytes_text(needed), " for ", to_string(which), " of ", dimensions.to_string()}));
    }
    enter(which, std::move(name), dimensions, stored_in_memory{bytes});
  }
  /// As above from blocks on demand (a block_source), in memory for 1 MiB a task. Throws bad_name,
  /// duplicate_name, invalid_argument (no source), unsupported_encoding (apr_q8, which is more than
  /// blocks).
  template <std::invocable<std::uint64_t, std::span<std::byte>> Blocks>
  void add_stored(encoding which, std::string name, const shape& dimensions, Blocks source) {
    block_source blocks(std::move(source));
    if (!blocks) {
      refuse(error_code::invalid_argument, name, "blocks", "an empty block source", "a function");
    }
    if (!describe(which).has_blocks()) {
      refuse(error_code::unsupported_encoding, name, "encoding", std::string(to_string(which)),
             "one that is stored in blocks and nothing else");
    }
    enter(which, std::move(name), dimensions, stored_on_demand{std::move(blocks)});
  }
  /// Plans a tensor whose dtype the table of encodings lacks, as a view that is open elsewhere has it;
  /// its bytes are kept and must live until the last write(), which refuses it as unsupported_encoding
  /// in another container than `from`. Throws bad_name, duplicate_name, invalid_argument (the view's
  /// dtype is known, it is a composed weight, or `from` is .apr, whose files of ours record an encoding for every tensor).
  ///
  /// GGUF does not say how many bytes such a tensor has: the view's, up to the next one, are a multiple
  /// of the alignment, and general.alignment has to be the old file's for ggml to find them.
  void add_unknown_dtype(container from, std::string name, const tensor_view& tensor) {
    if (tensor.has_encoding() || tensor.composed() != nullptr || from == container::apr) {
      refuse(error_code::invalid_argument, name, "dtype",
             join_text({tensor.dtype_text(), " of ", to_string(from)}),
             "one of GGUF or safetensors that is not known here");
    }
    planned_tensor& entry =
        enter(encoding::u8, std::move(name), tensor.shape(), stored_in_memory{tensor.bytes()}).tensor;
    entry.size_bytes = tensor.bytes().size();
    entry.unknown_dtype = nibble::unknown_dtype{.container = from,
                                                .id = tensor.dtype_id().value_or(0),
                                                .name = tensor.dtype_id() ? "" : tensor.dtype_text()};
  }

 protected:
  /// In the order of add().
  [[nodiscard]] std::span<const plan_entry> entries() const noexcept { return entries_; }

  /// Stored bytes of all tensors together.
  [[nodiscard]] std::uint64_t planned_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const plan_entry& entry : entries_) sum += entry.tensor.size_bytes;
    return sum;
  }

 private:
  [[noreturn]] static void refuse(error_code code, std::string_view tensor, std::string_view field,
                                  std::string found, std::string expected) {
    throw error(code, {.tensor = std::string(tensor),
                       .field = std::string(field),
                       .found = std::move(found),
                       .expected = std::move(expected)});
  }

  static void require_packable(encoding which, std::string_view name) {
    if (is_packable(which)) return;
    refuse(error_code::unsupported_encoding, name, "encoding", std::string(to_string(which)),
           join_text({packable_encodings_text(), ", or add_stored()"}));
  }

  plan_entry& enter(encoding which, std::string name, const shape& dimensions, tensor_source source) {
    if (name.size() > apr::max_name_bytes) {
      refuse(error_code::bad_name, name, "name", join_text({name.size(), " bytes"}),
             join_text({"at most ", apr::max_name_bytes}));
    }
    if (find_invalid_utf8(name) != std::string_view::npos) {
      refuse(error_code::bad_name, name, "name", "bytes that are not UTF-8", "UTF-8");
    }
    const auto size_bytes = stored_bytes(which, dimensions);
    if (!size_bytes) {
      refuse(error_code::bad_shape, name, "shape", dimensions.to_string(), "bytes below 2^64");
    }
    if (!names_.insert(name).second) {
      throw error(
          error_code::duplicate_name,
          {.tensor = std::move(name), .field = "name", .expected = "a name that is not planned yet"});
    }
    entries_.push_back({{std::move(name), which, dimensions, *size_bytes}, std::move(source)});
    return entries_.back();
  }

  std::vector<plan_entry> entries_;
  std::set<std::string, std::less<>> names_;
};

}  // namespace nibble
