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

/// Whether the index may give a tensor of this encoding this dtype id.
[[nodiscard]] constexpr bool id_matches(const encoding_description& row, std::uint8_t id) noexcept {
  return row.apr_dtype_id == id || row.apr_legacy_dtype_id == id;
}

/// Whether, in a file without a packing record, a dtype id may mean this encoding for a tensor of these
/// dimensions. q4 and q8 are never candidates: only a record can say so. ggml's encodings are
/// candidates where rows are whole blocks. Its k-quants are candidates for a single row with an incomplete
/// block too, which has the same bytes whether rows are padded one by one or run on. For a tensor
/// without elements every encoding of the id is a candidate.
[[nodiscard]] inline bool is_candidate(const encoding_description& row, std::uint8_t id,
                                       const shape& dimensions) noexcept {
  if (!id_matches(row, id) || row.family == encoding_family::nibble) return false;
  if (dimensions.elements() == 0) return true;
  const bool rows_are_whole = dimensions.cols() % row.block_elements == 0;
  if (row.family == encoding_family::ggml) return rows_are_whole;
  if (row.family == encoding_family::ggml_k) return rows_are_whole || dimensions.rows() == 1;
  return true;
}

/// The encoding of a tensor in a file without a packing record: the one candidate of its dtype id whose
/// stored size is `size_bytes`; for a tensor without elements the first candidate. Nothing where the
/// table of encodings does not have the id. Throws size_mismatch, which names the size that each
/// candidate needs.
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
                         : "stored in whole blocks only, so rows of these columns are not resolved"});
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

/// Checks the encoding that a file records of a tensor, and returns it. Throws bad_record where the
/// encoding may not have this dtype id, size_mismatch where its stored size is not `size_bytes`.
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
