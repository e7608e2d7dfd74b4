#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codecs.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/pack_blocks.hpp>
#include <nibble/compute/packing_options.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/shared_function.hpp>
#include <nibble/core/text.hpp>

#if !NIBBLE_ROUNDS_ALIKE
#error "packing must give the same bytes everywhere: compile it without -ffast-math"
#endif

namespace nibble {

/// How to pack.
struct quantize_options {
  packing_rule rule = packing_rule::best;        ///< as packing_options says
  packing_search search = packing_search::fast;  ///< as packing_options says
  std::span<const float> column_importance{};    ///< as packing_options says
  nibble::executor* executor = nullptr;          ///< runs the work; null: the calling thread does
};

inline namespace NIBBLE_ARCHITECTURE {

/// Packs one tensor chunk by chunk, each chunk of whole rows and independent of all others, so that a
/// tensor larger than memory passes through. The chunks' bytes, one after the other, are the tensor's;
/// they do not depend on threads, compiler or instruction set.
///
/// Where the encoding has one scale for the whole tensor, the constructor chooses it: it reads all
/// values once or twice and calls after_chunk(), where there is one, for every chunk read, from any
/// thread of options.executor. Throws invalid_argument (column_importance: its size, or a number that
/// is negative, NaN or infinite, naming the column), not_representable, unsupported_encoding, and
/// whatever the row source and after_chunk throw.
///
/// Architecture is this_architecture: a unit compiles this where it packs, and not where it includes it,
/// and the packers of all encodings too, unless its kernels are linked (compute/dispatch.hpp).
template <std::same_as<this_architecture> Architecture = this_architecture>
class basic_tensor_packer {
 public:
  /// Values and importance in memory, borrowed for as long as the packer is used; values.size() ==
  /// shape.elements().
  basic_tensor_packer(std::string name, encoding which, const shape& dimensions,
                      std::span<const float> values, const quantize_options& options = {},
                      const shared_function<void()>& after_chunk = {})
      : basic_tensor_packer(std::move(name), which, dimensions, options) {
    values_ = values;
    choose_tensor_scale(options.executor, after_chunk);
  }
  /// Values on demand.
  basic_tensor_packer(std::string name, encoding which, const shape& dimensions, row_source source,
                      const quantize_options& options = {},
                      const shared_function<void()>& after_chunk = {})
      : basic_tensor_packer(std::move(name), which, dimensions, options) {
    source_ = std::move(source);
    choose_tensor_scale(options.executor, after_chunk);
  }

  /// Chunks of the tensor; 0 where it is empty.
  [[nodiscard]] std::size_t chunk_count() const noexcept { return chunk_count_; }

  /// First byte of a chunk, counted from the tensor's first.
  [[nodiscard]] std::uint64_t chunk_offset_bytes(std::size_t chunk) const noexcept {
    const encoding_description& row = describe(encoding_);
    if (chunk == 0) return 0;
    const std::uint64_t first_row = chunk * rows_per_chunk_;
    return *stored_bytes(row, first_row, dimensions_.cols());
  }
  /// Bytes that a chunk is packed into.
  [[nodiscard]] std::size_t chunk_size_bytes(std::size_t chunk) const noexcept {
    const std::uint64_t end = chunk + 1 == chunk_count_ ? *stored_bytes(encoding_, dimensions_)
                                                        : chunk_offset_bytes(chunk + 1);
    return static_cast<std::size_t>(end - chunk_offset_bytes(chunk));
  }

  /// Packs a chunk into `to`, chunk_size_bytes(chunk) long. May run for several chunks at once. Throws
  /// not_representable (naming element index and value), and whatever the row source throws.
  void pack(std::size_t chunk, std::span<std::byte> to) const {
    visit_codec(encoding_, name_, [&]<Codec Codec>(Codec) { pack_as<Codec>(chunk, to); });
  }

 private:
  /// 256 KiB of f32: large enough to hide a task's overhead, small enough for the second-level cache.
  static constexpr std::uint64_t chunk_elements = 1U << 16U;

  basic_tensor_packer(std::string name, encoding which, const shape& dimensions,
                      const quantize_options& options)
      : name_(std::move(name)),
        encoding_(which),
        dimensions_(dimensions),
        rule_(options.rule),
        search_(options.search) {
    require_importance(options.column_importance);
    if (dimensions.elements() == 0) return;
    if (!std::all_of(options.column_importance.begin(), options.column_importance.end(),
                     [](float each) { return each == 0.0F; })) {
      importance_ = options.column_importance;
    }
    // Whole block rows, so that no block is of two chunks.
    const std::uint64_t unit = describe(which).block_rows();
    rows_per_chunk_ = std::max(unit, chunk_elements / dimensions.cols() / unit * unit);
    chunk_count_ = static_cast<std::size_t>(divide_round_up(dimensions.rows(), rows_per_chunk_));
  }

  void require_importance(std::span<const float> importance) const {
    const auto refuse_importance = [&](std::string field, std::string found, std::string expected) {
      throw error(error_code::invalid_argument, {.tensor = name_,
                                                 .field = std::move(field),
                                                 .found = std::move(found),
                                                 .expected = std::move(expected)});
    };
    if (importance.empty()) return;
    const std::uint64_t cols = dimensions_.cols();
    const std::uint64_t matrices = cols == 0 ? 0 : importance.size() / cols;
    if (matrices == 0 || matrices * cols != importance.size() || dimensions_.rows() % matrices != 0) {
      refuse_importance("column importance", join_text({importance.size(), " numbers"}),
                        join_text({"one for each of ", cols,
                                   " columns, or for those of each of the matrices that make up ",
                                   dimensions_.rows(), " rows"}));
    }
    for (std::size_t i = 0; i < importance.size(); ++i) {
      if (is_finite(importance[i]) && !(importance[i] < 0.0F)) continue;
      refuse_importance(
          matrices == 1 ? join_text({"column importance ", i})
                        : join_text({"column importance ", i % cols, " of matrix ", i / cols}),
          is_nan(importance[i]) ? "nan" : shortest_text(importance[i]), "a finite number from 0 up");
    }
  }

  /// The importance of each element of a range: that of a row's columns as it lies in memory, else
  /// gathered in `buffer`; empty where all count alike.
  std::span<const float> importance_of(std::uint64_t first, std::size_t count,
                                       std::vector<float>& buffer) const {
    if (importance_.empty()) return {};
    const std::uint64_t cols = dimensions_.cols();
    const std::uint64_t rows_per_matrix = dimensions_.rows() / (importance_.size() / cols);
    const auto place_of = [&](std::uint64_t element) {
      return static_cast<std::size_t>(element / cols / rows_per_matrix * cols + element % cols);
    };
    if (first % cols + count <= cols) return importance_.subspan(place_of(first), count);
    buffer.resize(count);
    for (std::size_t j = 0; j < count; ++j) buffer[j] = importance_[place_of(first + j)];
    return buffer;
  }

  /// A range of the flattened tensor, and its values.
  struct value_range {
    std::uint64_t first;
    std::span<const float> values;
  };

  /// Elements [first, end), fetched into `buffer` by whole rows unless they are in memory.
  value_range fetch(std::uint64_t first, std::uint64_t end, std::vector<float>& buffer) const {
    const auto count = static_cast<std::size_t>(end - first);
    if (!source_) return {first, values_.subspan(static_cast<std::size_t>(first), count)};
    const std::uint64_t cols = dimensions_.cols();
    const std::uint64_t first_row = first / cols;
    const std::uint64_t row_count = divide_round_up(end, cols) - first_row;
    buffer.resize(static_cast<std::size_t>(row_count * cols));
    source_(first_row, row_count, buffer);
    return {first, std::span<const float>(buffer).subspan(
                       static_cast<std::size_t>(first - first_row * cols), count)};
  }

  /// The elements of a chunk's rows.
  std::pair<std::uint64_t, std::uint64_t> elements_of(std::size_t chunk) const noexcept {
    const std::uint64_t first_row = chunk * rows_per_chunk_;
    const std::uint64_t end_row = std::min(first_row + rows_per_chunk_, dimensions_.rows());
    return {first_row * dimensions_.cols(), end_row * dimensions_.cols()};
  }

  [[noreturn]] void refuse(std::uint64_t element, std::string found, std::string expected) const {
    throw error(error_code::not_representable, {.tensor = name_,
                                                .field = join_text({"element ", element}),
                                                .found = std::move(found),
                                                .expected = std::move(expected)});
  }

  [[noreturn]] void refuse_encoding() const {
    throw error(error_code::unsupported_encoding, {.tensor = name_,
                                                   .field = "encoding",
                                                   .found = std::string(to_string(encoding_)),
                                                   .expected = packable_encodings_text()});
  }

  void require_finite(const value_range& range) const {
    // Magnitudes have the order of their bits, and compilers compare a vector of those at once.
    std::uint32_t largest_bits = 0;
    for (const float value : range.values) {
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU;
      largest_bits = bits > largest_bits ? bits : largest_bits;
    }
    if (largest_bits < 0x7F800000U) return;
    const auto bad =
        std::find_if(range.values.begin(), range.values.end(), [](float x) { return !is_finite(x); });
    refuse(range.first + static_cast<std::uint64_t>(bad - range.values.begin()),
           is_nan(*bad) ? "nan" : (*bad < 0.0F ? "-inf" : "inf"),
           join_text({"a finite value for ", to_string(encoding_)}));
  }

  /// Refuses values of which the first block of Codec's could not be packed.
  template <PackableCodec Codec>
  [[noreturn]] void refuse_overflow(const value_range& range, pack_status status) const {
    std::string_view scale_type = "float16";
    if constexpr (requires { Codec::scale_type; }) scale_type = Codec::scale_type;
    const bool is_min = status == pack_status::min_overflow;
    const auto distance = [&](float x) { return is_min ? -x : std::fabs(x); };
    const auto block = range.values.first(std::min(range.values.size(), Codec::block_elements));
    const auto farthest = std::max_element(block.begin(), block.end(),
                                           [&](float a, float b) { return distance(a) < distance(b); });
    refuse(range.first + static_cast<std::uint64_t>(farthest - block.begin()), shortest_text(*farthest),
           join_text({"a ", is_min ? "min" : "scale", " within ", scale_type, " for the ",
                      to_string(encoding_), " block around it"}));
  }

  template <PackableCodec Codec>
  void pack_blocks(const value_range& range, std::byte* to, std::vector<float>& importance) const {
    const packed_blocks packed = kernel::picked_pack_blocks(
        {.which = Codec::encoding,
         .values = range.values,
         .importance = importance_of(range.first, range.values.size(), importance),
         .rule = rule_,
         .search = search_},
        to);
    if (packed.status == pack_status::packed) return;
    refuse_overflow<Codec>({range.first + packed.values, range.values.subspan(packed.values)},
                           packed.status);
  }

  /// Packs rows first .. end into blocks of several rows, a few of them at a time where rows are long.
  /// Rows that the last blocks have room for are zeros.
  template <InterleavedCodec Codec>
  void pack_interleaved(std::uint64_t first, std::uint64_t end, std::span<std::byte> to) const {
    using block = typename Codec::block;
    using row_codec = typename Codec::row_codec;
    const std::uint64_t cols = dimensions_.cols();
    const auto row_blocks = static_cast<std::size_t>(divide_round_up(cols, row_codec::block_elements));
    const std::uint64_t rows_at_once = std::max<std::uint64_t>(1, chunk_elements / cols);
    std::vector<float> buffer;
    std::vector<float> importance;
    std::vector<typename row_codec::block> packed(row_blocks);
    std::fill(to.begin(), to.end(), std::byte{0});
    value_range range{first * cols, {}};
    for (std::uint64_t row = first; row < end; ++row) {
      if (range.values.empty()) {
        range = fetch(row * cols, std::min(row + rows_at_once, end) * cols, buffer);
        require_finite(range);
      }
      pack_blocks<row_codec>({range.first, range.values.first(static_cast<std::size_t>(cols))},
                             std::as_writable_bytes(std::span(packed)).data(), importance);
      range = {range.first + cols, range.values.subspan(static_cast<std::size_t>(cols))};
      const auto place = static_cast<std::size_t>(row - first);
      std::byte* at = to.data() + place / Codec::block_rows * row_blocks * sizeof(block);
      for (const auto& from : packed) {
        block joined;
        std::memcpy(&joined, at, sizeof(joined));
        Codec::store_row(joined, place % Codec::block_rows, from);
        std::memcpy(at, &joined, sizeof(joined));
        at += sizeof(block);
      }
    }
  }

  template <Codec Codec>
  void pack_as(std::size_t chunk, std::span<std::byte> to) const {
    std::vector<float> buffer;
    std::vector<float> importance;
    auto [first, end] = elements_of(chunk);
    if constexpr (PlainCodec<Codec>) {
      pack_plain<Codec>(fetch(first, end, buffer), to);
    } else if constexpr (TensorScaleCodec<Codec>) {
      const value_range range = fetch(first, end, buffer);
      require_finite(range);
      if (chunk == 0) {
        const typename Codec::header header{scale_};
        std::memcpy(to.data(), &header, sizeof(header));
        to = to.subspan(sizeof(header));
      }
      std::vector<std::int8_t> codes(range.values.size());
      Codec::code(range.values, scale_, rule_, codes);
      std::memcpy(to.data(), codes.data(), codes.size());
    } else if constexpr (InterleavedCodec<Codec>) {
      pack_interleaved<Codec>(first / dimensions_.cols(), end / dimensions_.cols(), to);
    } else if constexpr (!PackableCodec<Codec>) {
      refuse_encoding();
    } else if constexpr (describe(Codec::encoding).blocks_run_along == block_run::tensor) {
      // A block belongs to the chunk in which it starts.
      constexpr std::uint64_t unit = Codec::block_elements;
      first = divide_round_up(first, unit) * unit;
      end = std::min(divide_round_up(end, unit) * unit, dimensions_.elements());
      if (first >= end) return;
      const value_range range = fetch(first, end, buffer);
      require_finite(range);
      pack_blocks<Codec>(range, to.data(), importance);
    } else {
      const value_range range = fetch(first, end, buffer);
      require_finite(range);
      const auto cols = static_cast<std::size_t>(dimensions_.cols());
      const auto row_bytes =
          static_cast<std::size_t>(*stored_bytes(describe(Codec::encoding), 1, cols));
      std::byte* row_to = to.data();
      for (std::size_t at = 0; at < range.values.size(); at += cols, row_to += row_bytes) {
        pack_blocks<Codec>({range.first + at, range.values.subspan(at, cols)}, row_to, importance);
      }
    }
  }

  template <PlainCodec Codec>
  void pack_plain(value_range range, std::span<std::byte> to) const {
    using stored = typename Codec::stored_type;
    if constexpr (HalfFloat<stored>) {
      std::array<stored, 1024> panel;
      while (!range.values.empty()) {
        const std::size_t count = std::min(range.values.size(), panel.size());
        kernel::picked_narrow<default_architecture>(range.values.data(), count, panel.data());
        if (rule_ == packing_rule::best) {
          require_no_overflow<Codec>({range.first, range.values.first(count)}, panel);
        }
        std::memcpy(to.data(), panel.data(), count * sizeof(stored));
        range = {range.first + count, range.values.subspan(count)};
        to = to.subspan(count * sizeof(stored));
      }
    } else if constexpr (Codec::can_pack) {
      std::memcpy(to.data(), range.values.data(), range.values.size_bytes());
    } else {
      refuse_encoding();
    }
  }

  /// Refuses finite values that rounding made infinite.
  template <PlainCodec Codec>
  void require_no_overflow(const value_range& range,
                           std::span<const typename Codec::stored_type> packed) const {
    for (std::size_t i = 0; i < range.values.size(); ++i) {
      const float value = range.values[i];
      if (!is_finite(value) || is_finite(Codec::unpack(packed[i]))) continue;
      refuse(range.first + i, shortest_text(value),
             join_text({"a value within ", to_string(encoding_)}));
    }
  }

  void choose_tensor_scale(executor* executor, const shared_function<void()>& after_chunk) {
    visit_codec(encoding_, name_, [&]<Codec Codec>(Codec) {
      if constexpr (TensorScaleCodec<Codec>) choose_scale<Codec>(executor, after_chunk);
    });
  }

  template <TensorScaleCodec Codec>
  void choose_scale(executor* executor, const shared_function<void()>& after_chunk) {
    if (chunk_count_ == 0) return;
    std::vector<float> largest_of(chunk_count_);
    run_tasks(executor, chunk_count_, [&](std::size_t chunk) {
      std::vector<float> buffer;
      const auto [first, end] = elements_of(chunk);
      const value_range range = fetch(first, end, buffer);
      require_finite(range);
      largest_of[chunk] = Codec::largest_magnitude(range.values);
      if (after_chunk) after_chunk();
    });
    const float largest = *std::max_element(largest_of.begin(), largest_of.end());
    scale_ = Codec::reference_scale(largest);
    if (rule_ == packing_rule::reference || largest == 0.0F) return;

    const auto scales = Codec::candidate_scales(largest);
    const float factor = importance_factor(importance_);
    std::vector<typename Codec::squared_errors> errors_of(chunk_count_);
    run_tasks(executor, chunk_count_, [&](std::size_t chunk) {
      std::vector<float> buffer;
      std::vector<float> importance;
      const auto [first, end] = elements_of(chunk);
      const value_range range = fetch(first, end, buffer);
      Codec::add_squared_errors(range.values, scales, errors_of[chunk],
                                importance_of(first, range.values.size(), importance), factor);
      if (after_chunk) after_chunk();
    });
    typename Codec::squared_errors total{};
    for (const auto& errors : errors_of) {
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += errors[i];
    }
    scale_ =
        scales[static_cast<std::size_t>(std::min_element(total.begin(), total.end()) - total.begin())];
  }

  std::string name_;
  encoding encoding_;
  shape dimensions_;
  packing_rule rule_;
  packing_search search_;
  std::span<const float> importance_;  ///< of each column, of one matrix after the other; or none
  std::span<const float> values_;
  row_source source_;
  std::uint64_t rows_per_chunk_ = 1;
  std::size_t chunk_count_ = 0;
  float scale_ = 0.0F;
};

/// See basic_tensor_packer.
using tensor_packer = basic_tensor_packer<>;

/// Packs `values`, row-major and of `dimensions`, into `to`, as stored_bytes(which, dimensions) bytes.
///
/// The spans do not overlap; `to` needs no alignment. `name` is for messages. The bytes are the same
/// for every executor, compiler and instruction set. Throws invalid_argument (sizes; importance),
/// unsupported_encoding, and not_representable for NaN, infinities and values whose scale or min
/// float16 cannot hold, naming the element; `to` is unspecified then. Architecture is
/// this_architecture.
template <std::same_as<this_architecture> Architecture = this_architecture>
void quantize(encoding which, const shape& dimensions, std::span<const float> values,
              std::span<std::byte> to, const quantize_options& options = {},
              std::string_view name = {}) {
  const auto needed = stored_bytes(which, dimensions);
  if (values.size() != dimensions.elements() || !needed || *needed != to.size()) {
    throw error(
        error_code::invalid_argument,
        {.tensor = std::string(name),
         .field = "sizes",
         .found = join_text({values.size(), " values and ", to.size(), " bytes"}),
         .expected = join_text({dimensions.elements(), " values and ", bytes_text(needed),
                                " bytes for ", to_string(which), " of ", dimensions.to_string()})});
  }
  if (!is_packable(which)) {
    throw error(error_code::unsupported_encoding, {.tensor = std::string(name),
                                                   .field = "encoding",
                                                   .found = std::string(to_string(which)),
                                                   .expected = packable_encodings_text()});
  }
  const basic_tensor_packer<Architecture> packer(std::string(name), which, dimensions, values, options);
  run_tasks(options.executor, packer.chunk_count(), [&](std::size_t chunk) {
    packer.pack(chunk, to.subspan(static_cast<std::size_t>(packer.chunk_offset_bytes(chunk)),
                                  packer.chunk_size_bytes(chunk)));
  });
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
