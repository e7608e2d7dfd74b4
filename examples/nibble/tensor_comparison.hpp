#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/nibble.hpp>

#include <nibble/compute/thread_pool.hpp>

#include "compared_tensors.hpp"
#include "progress_bar.hpp"
#include "tensor_errors.hpp"
#include "value_encoding.hpp"

namespace nibble_command {

/// Two tensors of one name and shape.
struct tensor_pair {
  const compared_tensor* reference;
  const compared_tensor* other;
  bool is_compared;  ///< otherwise one side cannot be decoded, and the bytes differ
  tensor_errors errors{};
};

/// What two files have in common, and what they have not.
struct comparison {
  std::span<const compared_tensor> reference{};  ///< borrowed
  std::vector<compared_tensor> other{};
  std::vector<tensor_pair> pairs{};
  std::vector<std::pair<const compared_tensor*, const compared_tensor*>> shape_mismatches{};
  std::vector<std::string_view> only_in_reference{};
  std::vector<std::string_view> only_in_other{};
  tensor_errors matrices{};
  tensor_errors all{};
};

/// Pairs the tensors of two files by their names. `reference` must live as long as what is returned.
[[nodiscard]] inline comparison pair_tensors(std::span<const compared_tensor> reference,
                                             std::vector<compared_tensor> other) {
  comparison files;
  files.reference = reference;
  files.other = std::move(other);
  std::map<std::string_view, const compared_tensor*> by_name;
  for (const compared_tensor& tensor : files.other) by_name.emplace(tensor.name, &tensor);
  for (const compared_tensor& tensor : files.reference) {
    const auto found = by_name.find(tensor.name);
    if (found == by_name.end()) {
      files.only_in_reference.push_back(tensor.name);
      continue;
    }
    const compared_tensor* const twin = found->second;
    by_name.erase(found);
    if (twin->shape != tensor.shape) {
      files.shape_mismatches.emplace_back(&tensor, twin);
    } else {
      const bool has_equal_bytes = tensor.stored != nullptr && twin->stored != nullptr &&
                                   tensor.dtype == twin->dtype &&
                                   std::ranges::equal(tensor.stored->bytes(), twin->stored->bytes());
      const bool is_decodable = tensor.is_decodable() && twin->is_decodable();
      files.pairs.push_back({&tensor, twin, is_decodable || has_equal_bytes});
    }
  }
  for (const compared_tensor& tensor : files.other) {
    if (by_name.contains(tensor.name)) files.only_in_other.push_back(tensor.name);
  }
  return files;
}

/// Rows of a pair that one task compares.
struct pair_rows {
  std::size_t pair;
  std::uint64_t first_row;
  std::uint64_t row_count;
};

/// Adds whole numbers of 64 bits, of which f64 does not hold all: their differences are exact up to the
/// rounding of the difference itself.
template <class Integer>
void add_integers(const tensor_pair& pair, const pair_rows& rows, tensor_errors& errors) {
  const auto first = static_cast<std::size_t>(rows.first_row * pair.reference->shape.cols());
  const auto count = static_cast<std::size_t>(rows.row_count * pair.reference->shape.cols());
  for (std::size_t i = first; i < first + count; ++i) {
    Integer a{};
    Integer b{};
    std::memcpy(&a, pair.reference->stored->bytes().data() + i * sizeof(a), sizeof(a));
    std::memcpy(&b, pair.other->stored->bytes().data() + i * sizeof(b), sizeof(b));
    const auto wide_a = static_cast<std::uint64_t>(a);
    const auto wide_b = static_cast<std::uint64_t>(b);
    const double difference =
        a > b ? static_cast<double>(wide_a - wide_b) : -static_cast<double>(wide_b - wide_a);
    errors.add(static_cast<double>(a), static_cast<double>(b), difference);
  }
}

/// Calls use(first row, rows, reference's values, other's) with some rows of a pair at a time.
template <class Use>
void for_rows_of_pair(const tensor_pair& pair, const pair_rows& rows, const Use& use) {
  constexpr std::uint64_t batch_elements = 1U << 15U;
  const std::uint64_t batch_rows =
      std::max<std::uint64_t>(1, batch_elements / pair.reference->shape.cols());
  std::vector<float> scratch;
  std::vector<double> reference;
  std::vector<double> other;
  for (std::uint64_t row = 0; row < rows.row_count; row += batch_rows) {
    const std::uint64_t count = std::min(batch_rows, rows.row_count - row);
    decode_rows(*pair.reference, rows.first_row + row, count, scratch, reference);
    decode_rows(*pair.other, rows.first_row + row, count, scratch, other);
    use(rows.first_row + row, count, std::span<const double>(reference),
        std::span<const double>(other));
  }
}

[[nodiscard]] inline tensor_errors compare_rows(const tensor_pair& pair, const pair_rows& rows) {
  using nibble::encoding;
  tensor_errors errors;
  if (pair.reference->stored != nullptr && pair.other->stored != nullptr) {
    const encoding stored = value_encoding(*pair.reference->stored);
    const bool is_alike = stored == value_encoding(*pair.other->stored);
    if (is_alike && stored == encoding::i64) {
      add_integers<std::int64_t>(pair, rows, errors);
      return errors;
    }
    if (is_alike && stored == encoding::u64) {
      add_integers<std::uint64_t>(pair, rows, errors);
      return errors;
    }
  }
  for_rows_of_pair(pair, rows,
                   [&](std::uint64_t, std::uint64_t, std::span<const double> reference,
                       std::span<const double> other) {
                     for (std::size_t i = 0; i < reference.size(); ++i) {
                       errors.add(reference[i], other[i]);
                     }
                   });
  return errors;
}

/// Parts of a million elements or so, each a task, of the pairs whose values can be compared.
[[nodiscard]] inline std::vector<pair_rows> parts_of(std::span<const tensor_pair> pairs) {
  constexpr std::uint64_t part_elements = 1U << 20U;
  std::vector<pair_rows> parts;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const tensor_pair& pair = pairs[i];
    if (!pair.reference->is_decodable() || !pair.other->is_decodable()) continue;
    if (pair.reference->shape.elements() == 0) continue;
    const std::uint64_t rows = pair.reference->shape.rows();
    const std::uint64_t part_rows =
        std::max<std::uint64_t>(1, part_elements / pair.reference->shape.cols());
    for (std::uint64_t row = 0; row < rows; row += part_rows) {
      parts.push_back({i, row, std::min(part_rows, rows - row)});
    }
  }
  return parts;
}

/// Runs task(i) for every one of `parts`, with a bar of how far they are.
template <class Task>
void run_on_parts(std::span<const tensor_pair> pairs, std::span<const pair_rows> parts,
                  std::string_view label, unsigned threads, const Task& task) {
  nibble::thread_pool on(threads);
  progress_bar bar;
  std::uint64_t total_bytes = 0;
  for (const tensor_pair& pair : pairs) total_bytes += pair.reference->bytes + pair.other->bytes;
  watched_executor watched(on, bar, label, total_bytes);
  nibble::run_tasks(&watched, parts.size(), task);
}

/// Measures every pair; sums are joined in one order, whatever the threads.
inline void measure(comparison& files, unsigned threads) {
  const std::vector<pair_rows> parts = parts_of(files.pairs);
  std::vector<tensor_errors> errors(parts.size());
  run_on_parts(files.pairs, parts, "comparing", threads,
               [&](std::size_t i) { errors[i] = compare_rows(files.pairs[parts[i].pair], parts[i]); });
  for (std::size_t i = 0; i < parts.size(); ++i) files.pairs[parts[i].pair].errors += errors[i];

  for (const tensor_pair& pair : files.pairs) {
    files.all += pair.errors;
    if (pair.reference->shape.rank() >= 2) files.matrices += pair.errors;
  }
}

/// Names of the pairs that have no errors.
[[nodiscard]] inline std::vector<std::string_view> names_not_compared(const comparison& files) {
  std::vector<std::string_view> names;
  for (const tensor_pair& pair : files.pairs) {
    if (!pair.is_compared) names.push_back(pair.reference->name);
  }
  return names;
}

}  // namespace nibble_command
