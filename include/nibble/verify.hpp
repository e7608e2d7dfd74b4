#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/value_counts.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/crc32_in_parts.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/finding.hpp>
#include <nibble/reader.hpp>

namespace nibble {

namespace verification {

[[nodiscard]] inline std::string checksum_text(std::uint32_t recorded, std::uint32_t actual) {
  return join_text(
      {"recorded CRC-32 ", hex_text(recorded, 8), ", the bytes have ", hex_text(actual, 8)});
}

/// Whether more than 80 % of `elements` are zeros, without overflow.
[[nodiscard]] constexpr bool has_too_many_zeros(std::uint64_t zeros, std::uint64_t elements) noexcept {
  return zeros > elements / 5 * 4 + elements % 5 * 4 / 5;
}

/// Throws damaged, naming every problem of `findings`, where there is one.
inline void require_no_problem(const std::vector<finding>& findings, std::string_view file) {
  std::string problems;
  std::string first_tensor;
  for (const finding& found : findings) {
    if (found.severity != finding::kind::problem) continue;
    if (problems.empty()) first_tensor = found.tensor;
    problems += join_text({problems.empty() ? "" : "; ", found.file, found.file.empty() ? "" : ": ",
                           found.tensor.empty() ? "" : join_text({"'", found.tensor, "' "}),
                           found.field, ": ", found.text});
  }
  if (problems.empty()) return;
  throw error(
      error_code::damaged,
      {.file = std::string(file), .tensor = std::move(first_tensor), .found = std::move(problems)});
}

}  // namespace verification

inline namespace NIBBLE_ARCHITECTURE {

/// Reads a tensor whole and lists what is wrong with it, as problems:
///
///   field    code               problem
///   crc32    wrong_checksum     the checksum that the file records is not that of the bytes
///   scales   non_finite_scales  stored scales or mins are NaN or infinite
///   values   non_finite_values  F-DATA-QUALITY-001: values are NaN or infinite
///            mostly_zeros       F-DATA-QUALITY-001: more than 80 % of a matrix (rank 2 and more) decode
///                               to zero
///            all_zeros          F-DATA-QUALITY-001: all of a matrix decode to zero; of a vector or a
///                               scalar a note, for biases may
///
/// F-DATA-QUALITY-001 is what the reference .apr implementation calls its rule about the values of a
/// weight: a model that breaks it loads without an error and answers nonsense.
///
/// Where a dtype cannot be decoded here, a note says that only the checksum was looked at. The checksum
/// is computed on the executor. Architecture is this_architecture.
template <std::same_as<this_architecture> Architecture = this_architecture>
[[nodiscard]] std::vector<finding> examine(const tensor_view& tensor,
                                           const compute_options& options = {}) {
  std::vector<finding> findings;
  const auto add = [&](finding::kind severity, std::string_view field, std::string_view code,
                       std::string text) {
    findings.push_back({.severity = severity,
                        .tensor = std::string(tensor.name()),
                        .field = std::string(field),
                        .text = std::move(text),
                        .code = std::string(code)});
  };
  if (tensor.crc32()) {
    const std::uint32_t actual = crc32_in_parts(tensor.bytes(), options);
    if (actual != *tensor.crc32()) {
      add(finding::kind::problem, "crc32", "wrong_checksum",
          verification::checksum_text(*tensor.crc32(), actual));
    }
  }
  if (!is_decodable(tensor)) {
    add(finding::kind::note, "dtype", "not_decoded",
        join_text({tensor.dtype_text(), " cannot be decoded here, its values were not looked at"}));
    return findings;
  }
  const value_counts counts = count_values(tensor);
  if (counts.non_finite_scales != 0) {
    add(finding::kind::problem, "scales", "non_finite_scales",
        join_text({counts.non_finite_scales, " scales or mins are not finite"}));
  }
  if (counts.nan != 0 || counts.infinite != 0) {
    add(finding::kind::problem, "values", "non_finite_values",
        join_text({counts.nan, " NaN and ", counts.infinite, " infinite of ", counts.elements,
                   " (F-DATA-QUALITY-001)"}));
  }
  const bool is_matrix = tensor.shape().rank() >= 2;
  if (counts.elements != 0 && counts.zero == counts.elements) {
    add(is_matrix ? finding::kind::problem : finding::kind::note, "values", "all_zeros",
        is_matrix ? "100.0 % zeros, more than 80 % (F-DATA-QUALITY-001)" : "all zeros");
  } else if (is_matrix && verification::has_too_many_zeros(counts.zero, counts.elements)) {
    const double percent =
        100.0 * static_cast<double>(counts.zero) / static_cast<double>(counts.elements);
    add(finding::kind::problem, "values", "mostly_zeros",
        join_text({fixed_text(percent, 1), " % zeros, more than 80 % (F-DATA-QUALITY-001)"}));
  }
  return findings;
}

/// Reads a container whole and lists what is unusual (notes, those of opening among them) and what is
/// wrong (problems): the file's checksum where it records one, and what examine() finds in every
/// tensor. Of a set, every finding names the shard's file. Tensors are examined on the executor.
template <class Json>
[[nodiscard]] std::vector<finding> examine(const basic_reader<Json>& in,
                                           const compute_options& options = {}) {
  std::vector<finding> findings(in.notes().begin(), in.notes().end());
  const auto add = [&](std::vector<finding> found, const std::string& file) {
    for (finding& each : found) {
      if (each.file.empty()) each.file = file;
      findings.push_back(std::move(each));
    }
  };
  const auto add_tensors = [&](std::span<const tensor_view> tensors, const std::string& file) {
    std::vector<std::vector<finding>> of_tensor(tensors.size());
    run_tasks(options.executor, tensors.size(),
              [&](std::size_t i) { of_tensor[i] = examine(tensors[i]); });
    for (auto& some : of_tensor) add(std::move(some), file);
  };
  if (in.footer_crc32()) {
    const std::uint32_t actual =
        crc32_in_parts(in.bytes().first(in.bytes().size() - apr::footer_bytes), options);
    if (actual != *in.footer_crc32()) {
      findings.push_back({.severity = finding::kind::problem,
                          .field = "footer",
                          .text = verification::checksum_text(*in.footer_crc32(), actual),
                          .code = "wrong_checksum"});
    }
  }
  if (in.shards().empty()) {
    add_tensors(in.tensors(), {});
    return findings;
  }
  std::vector<tensor_view> composed;
  for (const tensor_view& tensor : in) {
    if (tensor.composed() != nullptr) composed.push_back(tensor);
  }
  for (const basic_reader<Json>& shard : in.shards()) {
    if (composed.empty()) {
      add(examine(shard, options), shard.name());
      continue;
    }
    add({shard.notes().begin(), shard.notes().end()}, shard.name());
    // The parts of a composed weight have no values of their own.
    std::vector<tensor_view> listed;
    for (const tensor_view& tensor : shard) {
      const tensor_view* const found = in.find(tensor.name());
      if (found != nullptr && found->composed() == nullptr) listed.push_back(tensor);
    }
    add_tensors(listed, shard.name());
  }
  add_tensors(composed, {});
  return findings;
}

/// Reads one tensor of a container whole, and no other byte, and lists what is wrong with it. Throws
/// no_such_tensor.
template <class Json>
[[nodiscard]] std::vector<finding> examine(const basic_reader<Json>& in, std::string_view tensor,
                                           const compute_options& options = {}) {
  std::vector<finding> findings = examine(in[tensor], options);
  for (const basic_reader<Json>& shard : in.shards()) {
    if (!shard.contains(tensor)) continue;
    for (finding& found : findings) found.file = shard.name();
  }
  return findings;
}

/// As examine(), but throws damaged, naming every problem, where there is one.
template <std::same_as<this_architecture> Architecture = this_architecture>
void verify(const tensor_view& tensor, const compute_options& options = {}) {
  verification::require_no_problem(examine(tensor, options), {});
}
/// As above.
template <class Json>
void verify(const basic_reader<Json>& in, const compute_options& options = {}) {
  verification::require_no_problem(examine(in, options), in.name());
}
/// As above. Throws no_such_tensor, too.
template <class Json>
void verify(const basic_reader<Json>& in, std::string_view tensor,
            const compute_options& options = {}) {
  verification::require_no_problem(examine(in, tensor, options), in.name());
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
