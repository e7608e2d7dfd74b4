#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>

namespace nibble::apr {

/// Whether tensors of an encoding may carry a dtype id.
[[nodiscard]] constexpr bool id_matches(const encoding_description& row, std::uint8_t id) noexcept {
  return row.apr_dtype_id == id || row.apr_legacy_dtype_id == id;
}

/// Whether a bare id, in a file without a packing record, may mean this encoding for this shape. q4 and
/// q8 exist only where they are recorded. ggml's rows are whole blocks; of its super-blocks, a single
/// row may end in a partial one, where padding row by row and running on come to the same bytes. Empty
/// tensors have no rows to be whole.
[[nodiscard]] inline bool is_candidate(const encoding_description& row, std::uint8_t id,
                                       const shape& dimensions) noexcept {
  if (!id_matches(row, id) || row.family == encoding_family::nibble) return false;
  if (dimensions.elements() == 0) return true;
  const bool rows_are_whole = dimensions.cols() % row.block_elements == 0;
  if (row.family == encoding_family::ggml) return rows_are_whole;
  if (row.family == encoding_family::ggml_k) return rows_are_whole || dimensions.rows() == 1;
  return true;
}

/// The encoding of a tensor in a file without a packing record: the one candidate of its id that takes
/// exactly `size_bytes`. An empty tensor is the first candidate. Nothing for ids that the table lacks.
/// Throws size_mismatch, naming what each candidate would need.
[[nodiscard]] inline std::optional<encoding> infer_encoding(std::string_view tensor, std::uint8_t id,
                                                            const shape& dimensions,
                                                            std::uint64_t size_bytes) {
  bool id_is_known = false;
  std::string needed;
  std::string recorded_only;
  for (const encoding_description& row : encodings) {
    if (!id_matches(row, id)) continue;
    id_is_known = true;
    const auto bytes = stored_bytes(row.encoding, dimensions);
    if (is_candidate(row, id, dimensions)) {
      if (bytes == size_bytes) return row.encoding;
      needed += join_text({needed.empty() ? "" : " or ", bytes_text(bytes), " for ", row.name});
    } else if (bytes == size_bytes) {
      recorded_only +=
          join_text({"; they would fit ", row.name, ", which is ",
                     row.family == encoding_family::nibble
                         ? "read only where the file's metadata records it under 'nibble'"
                         : "stored in whole blocks only, so rows of these columns are not settled"});
    }
  }
  if (!id_is_known) return std::nullopt;
  throw error(error_code::size_mismatch,
              {.tensor = std::string(tensor),
               .field = "size",
               .found = join_text(
                   {size_bytes, " bytes under dtype id ", id, " with shape ", dimensions.to_string()}),
               .expected = (needed.empty() ? "no encoding of this id for this shape" : needed) +
                           recorded_only});
}

/// The encoding of a tensor whose file records it. Throws bad_record where the id is not the
/// encoding's, size_mismatch where the bytes are not what it needs.
[[nodiscard]] inline encoding check_recorded_encoding(std::string_view tensor, encoding recorded,
                                                      std::uint8_t id, const shape& dimensions,
                                                      std::uint64_t size_bytes) {
  const encoding_description& row = describe(recorded);
  if (!id_matches(row, id)) {
    throw error(error_code::bad_record,
                {.tensor = std::string(tensor),
                 .field = "dtype id",
                 .found = std::to_string(id),
                 .expected = join_text({row.apr_dtype_id ? std::to_string(*row.apr_dtype_id) : "no id",
                                        " for ", row.name, ", which the file records"})});
  }
  if (const auto bytes = stored_bytes(recorded, dimensions); bytes != size_bytes) {
    throw error(error_code::size_mismatch, {.tensor = std::string(tensor),
                                            .field = "size",
                                            .found = join_text({size_bytes, " bytes"}),
                                            .expected = join_text({bytes_text(bytes), " for ", row.name,
                                                                   " of ", dimensions.to_string()})});
  }
  return recorded;
}

}  // namespace nibble::apr
