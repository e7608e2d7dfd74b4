#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/core/shape.hpp>

/// The one table: every encoding there is, what its bytes are and what files call it. Size arithmetic,
/// writer, reader, kernels, tools and tests take these figures from here.
///
/// X(name, family, block_elements, block_bytes, header_bytes, blocks_run_along, code_bits, has_min,
///   apr_dtype_id, apr_legacy_dtype_id, gguf_type, safetensors_dtype)
///
/// encoding_description says what each column is. Plain elements narrower than a byte count as blocks
/// of as many as fill whole bytes.
// clang-format off
#define NIBBLE_ENCODINGS(X)                                                                             \
  X(f32,         plain,   1,    4,    0,  tensor,  32,  false,  0,      no_id,  0,      "F32")          \
  X(f16,         plain,   1,    2,    0,  tensor,  16,  false,  1,      no_id,  1,      "F16")          \
  X(bf16,        plain,   1,    2,    0,  tensor,  16,  false,  30,     no_id,  30,     "BF16")         \
  X(f64,         plain,   1,    8,    0,  tensor,  64,  false,  3,      no_id,  28,     "F64")          \
  X(i32,         plain,   1,    4,    0,  tensor,  32,  false,  4,      no_id,  26,     "I32")          \
  X(i64,         plain,   1,    8,    0,  tensor,  64,  false,  5,      no_id,  27,     "I64")          \
  X(i8,          plain,   1,    1,    0,  tensor,  8,   false,  6,      no_id,  24,     "I8")           \
  X(u8,          plain,   1,    1,    0,  tensor,  8,   false,  7,      no_id,  no_id,  "U8")           \
  X(i16,         plain,   1,    2,    0,  tensor,  16,  false,  no_id,  no_id,  25,     "I16")          \
  X(u16,         plain,   1,    2,    0,  tensor,  16,  false,  no_id,  no_id,  no_id,  "U16")          \
  X(u32,         plain,   1,    4,    0,  tensor,  32,  false,  no_id,  no_id,  no_id,  "U32")          \
  X(u64,         plain,   1,    8,    0,  tensor,  64,  false,  no_id,  no_id,  no_id,  "U64")          \
  X(bool8,       plain,   1,    1,    0,  tensor,  8,   false,  no_id,  no_id,  no_id,  "BOOL")         \
  X(c64,         plain,   1,    8,    0,  tensor,  64,  false,  no_id,  no_id,  no_id,  "C64")          \
  X(f8_e4m3,     plain,   1,    1,    0,  tensor,  8,   false,  no_id,  no_id,  no_id,  "F8_E4M3")      \
  X(f8_e5m2,     plain,   1,    1,    0,  tensor,  8,   false,  no_id,  no_id,  no_id,  "F8_E5M2")      \
  X(f8_e8m0,     plain,   1,    1,    0,  tensor,  8,   false,  no_id,  no_id,  no_id,  "F8_E8M0")      \
  X(f8_e4m3fnuz, plain,   1,    1,    0,  tensor,  8,   false,  no_id,  no_id,  no_id,  "F8_E4M3FNUZ")  \
  X(f8_e5m2fnuz, plain,   1,    1,    0,  tensor,  8,   false,  no_id,  no_id,  no_id,  "F8_E5M2FNUZ")  \
  X(f6_e2m3,     plain,   4,    3,    0,  tensor,  6,   false,  no_id,  no_id,  no_id,  "F6_E2M3")      \
  X(f6_e3m2,     plain,   4,    3,    0,  tensor,  6,   false,  no_id,  no_id,  no_id,  "F6_E3M2")      \
  X(f4,          plain,   2,    1,    0,  tensor,  4,   false,  no_id,  no_id,  no_id,  "F4")           \
  X(q8,          nibble,  32,   36,   0,  row,     8,   true,   9,      no_id,  no_id,  "")             \
  X(q4,          nibble,  32,   20,   0,  row,     4,   true,   8,      no_id,  no_id,  "")             \
  X(apr_q8,      apr,     1,    1,    4,  tensor,  8,   false,  129,    9,      no_id,  "")             \
  X(apr_q4,      apr,     32,   18,   0,  tensor,  4,   false,  128,    8,      no_id,  "")             \
  X(q4_0,        ggml,    32,   18,   0,  row,     4,   false,  2,      no_id,  2,      "")             \
  X(q4_1,        ggml,    32,   20,   0,  row,     4,   true,   3,      no_id,  3,      "")             \
  X(q5_0,        ggml,    32,   22,   0,  row,     5,   false,  6,      no_id,  6,      "")             \
  X(q5_1,        ggml,    32,   24,   0,  row,     5,   true,   7,      no_id,  7,      "")             \
  X(q8_0,        ggml,    32,   34,   0,  row,     8,   false,  8,      no_id,  8,      "")             \
  X(q2_k,        ggml_k,  256,  84,   0,  row,     2,   true,   10,     no_id,  10,     "")             \
  X(q3_k,        ggml_k,  256,  110,  0,  row,     3,   false,  11,     no_id,  11,     "")             \
  X(q4_k,        ggml_k,  256,  144,  0,  row,     4,   true,   12,     no_id,  12,     "")             \
  X(q5_k,        ggml_k,  256,  176,  0,  row,     5,   true,   13,     no_id,  13,     "")             \
  X(q6_k,        ggml_k,  256,  210,  0,  row,     6,   false,  14,     no_id,  14,     "")             \
  X(iq4_nl,      ggml,    32,   18,   0,  row,     4,   false,  20,     no_id,  20,     "")             \
  X(iq4_xs,      ggml,    256,  136,  0,  row,     4,   false,  23,     no_id,  23,     "")             \
  X(mxfp4,       ggml,    32,   17,   0,  row,     4,   false,  39,     no_id,  39,     "")             \
  X(iq2_xxs,     ggml,    256,  66,   0,  row,     2,   false,  16,     no_id,  16,     "")             \
  X(iq2_xs,      ggml,    256,  74,   0,  row,     2,   false,  17,     no_id,  17,     "")             \
  X(iq3_xxs,     ggml,    256,  98,   0,  row,     3,   false,  18,     no_id,  18,     "")             \
  X(iq1_s,       ggml,    256,  50,   0,  row,     1,   false,  19,     no_id,  19,     "")             \
  X(iq3_s,       ggml,    256,  110,  0,  row,     3,   false,  21,     no_id,  21,     "")             \
  X(iq2_s,       ggml,    256,  82,   0,  row,     2,   false,  22,     no_id,  22,     "")             \
  X(iq1_m,       ggml,    256,  56,   0,  row,     1,   false,  29,     no_id,  29,     "")             \
  X(tq1_0,       ggml,    256,  54,   0,  row,     1,   false,  34,     no_id,  34,     "")             \
  X(tq2_0,       ggml,    256,  66,   0,  row,     2,   false,  35,     no_id,  35,     "")             \
  X(nvfp4,       ggml,    64,   36,   0,  row,     4,   false,  40,     no_id,  40,     "")             \
  X(q1_0,        ggml,    128,  18,   0,  row,     1,   false,  41,     no_id,  41,     "")             \
  X(q2_0,        ggml,    64,   18,   0,  row,     2,   false,  42,     no_id,  42,     "")             \
  X(q4_r8,       nibble,  256,  160,  0,  rows_8,  4,   true,   144,    no_id,  no_id,  "")             \
  X(q8_r8,       nibble,  256,  288,  0,  rows_8,  8,   true,   145,    no_id,  no_id,  "")
// clang-format on

namespace nibble {

/// How the values of a tensor are stored; one enumerator a row of the table.
enum class encoding : std::uint8_t {
#define NIBBLE_ENUMERATOR(name, ...) name,
  NIBBLE_ENCODINGS(NIBBLE_ENUMERATOR)
#undef NIBBLE_ENUMERATOR
};

/// Whose an encoding is, which decides when a bare dtype id may mean it.
enum class encoding_family : std::uint8_t {
  plain,   ///< one number an element, sharing nothing with others
  nibble,  ///< only where the file records it
  apr,     ///< the reference .apr implementation's
  ggml,    ///< ggml's
  ggml_k,  ///< ggml's super-blocks of 256
};

/// What blocks run along: each row on its own, the flattened tensor, or eight rows side by side.
enum class block_run : std::uint8_t { tensor, row, rows_8 };

/// A row of the table.
struct encoding_description {
  nibble::encoding encoding;     ///< whose row it is
  std::string_view name;         ///< as tools and files spell it
  encoding_family family;        ///< when a bare dtype id may mean it
  std::uint32_t block_elements;  ///< 1 where elements are stored one by one
  std::uint32_t block_bytes;     ///< of one block
  std::uint32_t header_bytes;    ///< before the blocks, once in a tensor that has elements
  block_run blocks_run_along;    ///< where blocks start anew
  std::uint32_t code_bits;       ///< of one element, whole ones
  bool has_min;                  ///< codes are counted from a stored min rather than around zero
  std::optional<std::uint8_t> apr_dtype_id;  ///< written to .apr files, which cannot hold what has none
  std::optional<std::uint8_t> apr_legacy_dtype_id;  ///< a second one that it may bear in .apr files
  std::optional<std::uint8_t> gguf_type;            ///< ggml's, which GGUF files hold
  std::string_view safetensors_dtype;               ///< empty where that container has no name for it

  /// Whether values are coded in blocks or under a shared scale rather than one by one.
  [[nodiscard]] constexpr bool is_quantized() const noexcept {
    return family != encoding_family::plain;
  }
  /// Whether the packing record has block figures for it.
  [[nodiscard]] constexpr bool has_blocks() const noexcept { return header_bytes == 0; }
  /// Rows that a block holds elements of, where it does not run on from one row to the next.
  [[nodiscard]] constexpr std::uint32_t block_rows() const noexcept {
    return blocks_run_along == block_run::rows_8 ? 8 : 1;
  }
  /// Elements that a block holds of each of its block_rows.
  [[nodiscard]] constexpr std::uint32_t block_cols() const noexcept {
    return block_elements / block_rows();
  }
};

/// Every encoding, in the order of the enumeration.
inline constexpr auto encodings = [] {
  // Conversions to std::optional and std::string_view at every row would be most of what compiling this
  // header takes.
  struct table_row {
    encoding_family family;
    std::uint32_t block_elements, block_bytes, header_bytes;
    block_run run;
    std::uint32_t code_bits;
    bool has_min;
    int apr_dtype_id, apr_legacy_dtype_id, gguf_type;
    const char* safetensors_dtype;
    const char* name;
  };
  constexpr int no_id = -1;
  constexpr table_row rows[] = {
#define NIBBLE_TABLE_ROW(name, family, block_elements, block_bytes, header_bytes, run, bits, has_min, \
                         id, legacy_id, gguf_type, safetensors_dtype)                                 \
  {encoding_family::family,                                                                           \
   block_elements,                                                                                    \
   block_bytes,                                                                                       \
   header_bytes,                                                                                      \
   block_run::run,                                                                                    \
   bits,                                                                                              \
   has_min,                                                                                           \
   id,                                                                                                \
   legacy_id,                                                                                         \
   gguf_type,                                                                                         \
   safetensors_dtype,                                                                                 \
   #name},
      NIBBLE_ENCODINGS(NIBBLE_TABLE_ROW)
#undef NIBBLE_TABLE_ROW
  };
  const auto id_of = [](int id) {
    std::optional<std::uint8_t> given;
    if (id >= 0) given = static_cast<std::uint8_t>(id);
    return given;
  };
  std::array<encoding_description, std::size(rows)> all{};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const table_row& row = rows[i];
    all[i] = {static_cast<encoding>(i),
              row.name,
              row.family,
              row.block_elements,
              row.block_bytes,
              row.header_bytes,
              row.run,
              row.code_bits,
              row.has_min,
              id_of(row.apr_dtype_id),
              id_of(row.apr_legacy_dtype_id),
              id_of(row.gguf_type),
              row.safetensors_dtype};
  }
  return all;
}();

/// The row of `which`.
[[nodiscard]] constexpr const encoding_description& describe(encoding which) noexcept {
  return encodings[static_cast<std::size_t>(which)];
}

/// The name of `which`, as tools and files spell it: "q4", "apr_q8", "bf16".
[[nodiscard]] constexpr std::string_view to_string(encoding which) noexcept {
  return describe(which).name;
}

/// The encoding of that name, or nothing.
[[nodiscard]] constexpr std::optional<encoding> encoding_from_name(std::string_view name) noexcept {
  for (const encoding_description& row : encodings) {
    if (row.name == name) return row.encoding;
  }
  return std::nullopt;
}

/// Bytes that `row_count` rows of `cols` elements take as row blocks; for encodings whose blocks run
/// along the tensor, bytes of row_count * cols elements with the header. Where blocks hold several rows,
/// rows are counted up to whole blocks. No elements, no bytes. Nothing where 64 bits do not hold the
/// figure.
[[nodiscard]] constexpr std::optional<std::uint64_t> stored_bytes(const encoding_description& row,
                                                                  std::uint64_t row_count,
                                                                  std::uint64_t cols) noexcept {
  if (row_count == 0 || cols == 0) return 0;
  std::optional<std::uint64_t> blocks;
  if (row.blocks_run_along != block_run::tensor) {
    blocks = checked_multiply(divide_round_up(row_count, row.block_rows()),
                              divide_round_up(cols, row.block_cols()));
  } else if (const auto elements = checked_multiply(row_count, cols)) {
    blocks = divide_round_up(*elements, row.block_elements);
  }
  if (!blocks) return std::nullopt;
  const auto bytes = checked_multiply(*blocks, row.block_bytes);
  return bytes ? checked_add(*bytes, row.header_bytes) : std::nullopt;
}

/// Bytes that a tensor of `dimensions` takes as `which`, or nothing where 64 bits do not hold them.
[[nodiscard]] inline std::optional<std::uint64_t> stored_bytes(encoding which,
                                                               const shape& dimensions) noexcept {
  return stored_bytes(describe(which), dimensions.rows(), dimensions.cols());
}

/// A block row is the block_rows() rows that the same blocks hold: one row for most encodings. Bytes from
/// the start of a block row of `cols` elements to that of the next one, where each starts with a block.
/// Nothing where rows share blocks along the tensor or a header, or where 64 bits do not hold the figure.
[[nodiscard]] constexpr std::optional<std::uint64_t> stored_block_row_bytes(
    const encoding_description& row, std::uint64_t cols) noexcept {
  if (row.header_bytes != 0) return std::nullopt;
  if (row.blocks_run_along == block_run::tensor && cols % row.block_elements != 0) return std::nullopt;
  return checked_multiply(divide_round_up(cols, row.block_cols()), row.block_bytes);
}

/// The same from the start of a row to that of the next one. Nothing, too, where block rows are several
/// rows.
[[nodiscard]] constexpr std::optional<std::uint64_t> stored_row_bytes(const encoding_description& row,
                                                                      std::uint64_t cols) noexcept {
  if (row.block_rows() != 1) return std::nullopt;
  return stored_block_row_bytes(row, cols);
}

/// Bytes of a tensor, from its first.
struct byte_range {
  std::uint64_t offset;  ///< of the first byte
  std::uint64_t size;    ///< how many bytes
  friend constexpr bool operator==(const byte_range&, const byte_range&) = default;
};

/// The bytes of rows first .. first + count within those of a tensor of row_count x cols, whose size
/// fits 64 bits. Nothing where the rows have no bytes of their own: where a block holds elements of these
/// rows and of others, or where a header before all blocks is needed too.
[[nodiscard]] constexpr std::optional<byte_range> bytes_of_rows(const encoding_description& row,
                                                                std::uint64_t row_count,
                                                                std::uint64_t cols, std::uint64_t first,
                                                                std::uint64_t count) noexcept {
  if (count == 0 || cols == 0) return byte_range{0, 0};
  const std::uint64_t last = first + count;
  if (row.blocks_run_along != block_run::tensor) {
    const std::uint64_t unit = row.block_rows();
    if (first % unit != 0 || (last % unit != 0 && last != row_count)) return std::nullopt;
    const std::uint64_t bytes = divide_round_up(cols, row.block_cols()) * row.block_bytes;
    return byte_range{first / unit * bytes, divide_round_up(count, unit) * bytes};
  }
  if (count == row_count) return byte_range{0, stored_bytes(row, row_count, cols).value_or(0)};
  const std::uint64_t begin = first * cols;
  const std::uint64_t end = begin + count * cols;
  const bool ends_whole = end % row.block_elements == 0 || last == row_count;
  if (row.header_bytes != 0 || begin % row.block_elements != 0 || !ends_whole) return std::nullopt;
  return byte_range{begin / row.block_elements * row.block_bytes,
                    divide_round_up(end - begin, row.block_elements) * row.block_bytes};
}

/// The bytes of columns first .. first + count within those of a block row of `cols`. Nothing where a
/// block, or a header, holds elements of these columns and of others.
[[nodiscard]] constexpr std::optional<byte_range> bytes_of_columns(const encoding_description& row,
                                                                   std::uint64_t cols,
                                                                   std::uint64_t first,
                                                                   std::uint64_t count) noexcept {
  if (count == 0) return byte_range{0, 0};
  if (!stored_block_row_bytes(row, cols)) return std::nullopt;
  const std::uint64_t unit = row.block_cols();
  const std::uint64_t end = first + count;
  const bool ends_whole = end % unit == 0 || end == cols;
  if (first % unit != 0 || !ends_whole) return std::nullopt;
  return byte_range{first / unit * row.block_bytes, divide_round_up(count, unit) * row.block_bytes};
}

/// A figure that stored_bytes gave, for a message.
[[nodiscard]] inline std::string bytes_text(std::optional<std::uint64_t> bytes) {
  return bytes ? std::to_string(*bytes) : "over 2^64";
}

/// 4 * elements / stored bytes: how many times smaller than f32. Nothing for an empty tensor.
[[nodiscard]] inline std::optional<double> packing_ratio(const shape& dimensions,
                                                         std::uint64_t bytes) noexcept {
  if (dimensions.elements() == 0 || bytes == 0) return std::nullopt;
  return 4.0 * static_cast<double>(dimensions.elements()) / static_cast<double>(bytes);
}

}  // namespace nibble
