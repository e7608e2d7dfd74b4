#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include <nibble/compute/thread_pool.hpp>

#include "command.hpp"
#include "json_number.hpp"
#include "names_for_output.hpp"
#include "open_input.hpp"
#include "progress_bar.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "tensor_errors.hpp"
#include "text_layout.hpp"
#include "typed_metadata.hpp"
#include "value_encoding.hpp"
#include "value_range.hpp"

namespace nibble_command {
namespace {

/// A tensor of one of the two files, under the name by which it is compared.
struct compared_tensor {
  std::string name{};
  nibble::shape shape{};
  std::string dtype{};
  const nibble::tensor_view* stored = nullptr;  ///< null where its values are moved to that name
  nibble::row_source rows{};                    ///< of what is not stored so
  std::uint64_t bytes = 0;

  [[nodiscard]] bool is_decodable() const { return stored == nullptr || nibble::is_decodable(*stored); }
};

/// Two tensors of one name and shape.
struct tensor_pair {
  const compared_tensor* reference;
  const compared_tensor* other;
  bool is_compared;  ///< otherwise one side cannot be decoded, and the bytes differ
  tensor_errors errors{};
};

/// What two files have in common, and what they have not.
struct comparison {
  std::vector<compared_tensor> reference{};
  std::vector<compared_tensor> other{};
  std::vector<tensor_pair> pairs{};
  std::vector<std::pair<const compared_tensor*, const compared_tensor*>> shape_mismatches{};
  std::vector<std::string_view> only_in_reference{};
  std::vector<std::string_view> only_in_other{};
  tensor_errors matrices{};
  tensor_errors all{};
};

bool has_gguf_names(const nibble::reader& file) {
  return std::ranges::any_of(file.tensors(), [](const nibble::tensor_view& tensor) {
    return tensor.name().starts_with("blk.") || tensor.name() == "token_embd.weight";
  });
}

/// The tensors of a file as they are compared. `with_gguf_names` says that the other file has GGUF's names
/// and this one has not: they get those where the architecture is known. Throws usage_error.
std::vector<compared_tensor> tensors_of(const nibble::reader& file, bool with_gguf_names) {
  std::vector<compared_tensor> tensors;
  if (!with_gguf_names || !nibble::has_hugging_face_names(file.tensors(), typed_metadata(file))) {
    for (const nibble::tensor_view& tensor : file) {
      tensors.push_back({std::string(tensor.name()),
                         tensor.shape(),
                         std::string(tensor.dtype_text()),
                         &tensor,
                         {},
                         tensor.size_bytes()});
    }
    return tensors;
  }
  named_output named =
      names_for_output(file, file.tensors(), nibble::container::gguf, output_names::gguf);
  for (const nibble::renamed_weight& weight : named.tensors) {
    compared_tensor& added = tensors.emplace_back();
    added.name = weight.name;
    added.shape = weight.shape;
    added.dtype = weight.parts.empty() ? "metadata" : std::string(weight.parts.front().dtype_text());
    for (const nibble::tensor_view& part : weight.parts) added.bytes += part.size_bytes();
    if (weight.is_as_stored()) {
      added.stored = file.find(weight.parts.front().name());
    }
    if (added.stored == nullptr) added.rows = rows_for_output(weight);
  }
  return tensors;
}

void pair_tensors(comparison& files) {
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
}

/// Decodes rows to f64, which holds every value of every encoding but i64 and u64 beyond 2^53.
void decode_rows(const compared_tensor& tensor, std::uint64_t first_row, std::uint64_t row_count,
                 std::vector<float>& scratch, std::vector<double>& values) {
  if (tensor.stored == nullptr) {
    scratch.resize(static_cast<std::size_t>(row_count * tensor.shape.cols()));
    tensor.rows(first_row, row_count, scratch);
    values.assign(scratch.begin(), scratch.end());
    return;
  }
  const nibble::tensor_view& from = *tensor.stored;
  const auto count = static_cast<std::size_t>(row_count * from.cols());
  const auto first = static_cast<std::size_t>(first_row * from.cols());
  values.resize(count);
  const auto read_as = [&]<class Stored>(Stored value) {
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(&value, from.bytes().data() + (first + i) * sizeof(value), sizeof(value));
      values[i] = static_cast<double>(value);
    }
  };
  const nibble::encoding stored = value_encoding(from);
  if (stored == nibble::encoding::f64) {
    read_as(double{});
  } else if (stored == nibble::encoding::i64) {
    read_as(std::int64_t{});
  } else if (stored == nibble::encoding::i32) {
    read_as(std::int32_t{});
  } else if (stored == nibble::encoding::u64) {
    read_as(std::uint64_t{});
  } else if (stored == nibble::encoding::u32) {
    read_as(std::uint32_t{});
  } else {
    scratch.resize(count);
    nibble::dequantize_rows(from, first_row, row_count, scratch);
    std::ranges::copy(scratch, values.begin());
  }
}

/// Rows of a pair that one task compares.
struct part {
  std::size_t pair;
  std::uint64_t first_row;
  std::uint64_t row_count;
};

/// Adds whole numbers of 64 bits, of which f64 does not hold all: their differences are exact up to the
/// rounding of the difference itself.
template <class Integer>
void add_integers(const tensor_pair& pair, const part& rows, tensor_errors& errors) {
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

tensor_errors compare_rows(const tensor_pair& pair, const part& rows) {
  using nibble::encoding;
  constexpr std::uint64_t batch_elements = 1U << 15U;
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
  const std::uint64_t batch_rows =
      std::max<std::uint64_t>(1, batch_elements / pair.reference->shape.cols());
  std::vector<float> scratch;
  std::vector<double> reference;
  std::vector<double> other;
  for (std::uint64_t row = 0; row < rows.row_count; row += batch_rows) {
    const std::uint64_t count = std::min(batch_rows, rows.row_count - row);
    decode_rows(*pair.reference, rows.first_row + row, count, scratch, reference);
    decode_rows(*pair.other, rows.first_row + row, count, scratch, other);
    for (std::size_t i = 0; i < reference.size(); ++i) errors.add(reference[i], other[i]);
  }
  return errors;
}

/// Measures every pair, a million elements a task; sums are joined in one order, whatever the threads.
void measure(comparison& files, unsigned threads) {
  constexpr std::uint64_t sub_block_elements = 1U << 20U;
  std::vector<part> parts;
  for (std::size_t i = 0; i < files.pairs.size(); ++i) {
    const tensor_pair& pair = files.pairs[i];
    if (!pair.reference->is_decodable() || !pair.other->is_decodable()) continue;
    if (pair.reference->shape.elements() == 0) continue;
    const std::uint64_t rows = pair.reference->shape.rows();
    const std::uint64_t part_rows =
        std::max<std::uint64_t>(1, sub_block_elements / pair.reference->shape.cols());
    for (std::uint64_t row = 0; row < rows; row += part_rows) {
      parts.push_back({i, row, std::min(part_rows, rows - row)});
    }
  }

  std::vector<tensor_errors> errors(parts.size());
  {
    nibble::thread_pool on(threads);
    progress_bar bar;
    std::uint64_t total_bytes = 0;
    for (const tensor_pair& pair : files.pairs) {
      total_bytes += pair.reference->bytes + pair.other->bytes;
    }
    watched_executor watched(on, bar, "comparing", total_bytes);
    nibble::run_tasks(&watched, parts.size(), [&](std::size_t i) {
      errors[i] = compare_rows(files.pairs[parts[i].pair], parts[i]);
    });
  }
  for (std::size_t i = 0; i < parts.size(); ++i) files.pairs[parts[i].pair].errors += errors[i];

  for (const tensor_pair& pair : files.pairs) {
    files.all += pair.errors;
    if (pair.reference->shape.rank() >= 2) files.matrices += pair.errors;
  }
}

/// Names of the tensors whose relative RMSE is above the bound.
std::vector<std::string_view> names_above(const comparison& files, std::optional<double> bound) {
  std::vector<std::string_view> names;
  if (!bound) return names;
  for (const tensor_pair& pair : files.pairs) {
    if (pair.errors.relative_rmse() > *bound) names.push_back(pair.reference->name);
  }
  return names;
}

std::vector<std::string_view> names_not_compared(const comparison& files) {
  std::vector<std::string_view> names;
  for (const tensor_pair& pair : files.pairs) {
    if (!pair.is_compared) names.push_back(pair.reference->name);
  }
  return names;
}

std::vector<std::string> error_cells(const tensor_errors& errors) {
  if (errors.elements() == 0) return {"-", "-", "-", "-", "-"};
  const auto cosine = errors.cosine();
  return {fmt::format("{:.3e}", errors.max_abs_error()), fmt::format("{:.3e}", errors.rmse()),
          fmt::format("{:.3e}", errors.relative_rmse()), fmt::format("{:.2f}", errors.sqnr_db()),
          cosine ? fmt::format("{:.8f}", *cosine) : "-"};
}

std::string to_text(const comparison& files, const diff_options& options) {
  using side = table::side;
  table errors({{"name", side::left},
                {"shape", side::right},
                {"from", side::left},
                {"to", side::left},
                {"max abs error", side::right},
                {"rmse", side::right},
                {"relative rmse", side::right},
                {"sqnr dB", side::right},
                {"cosine", side::right}});
  const auto add = [&](std::vector<std::string> cells, std::vector<std::string> more) {
    std::ranges::move(more, std::back_inserter(cells));
    errors.add_row(std::move(cells));
  };
  for (const tensor_pair& pair : files.pairs) {
    add({nibble::escape_text(pair.reference->name), pair.reference->shape.to_string(),
         nibble::escape_text(pair.reference->dtype), nibble::escape_text(pair.other->dtype)},
        pair.is_compared ? error_cells(pair.errors)
                         : std::vector<std::string>{"?", "?", "?", "?", "?"});
  }
  errors.add_rule();
  add({"all matrices", "", "", ""}, error_cells(files.matrices));
  add({"all tensors", "", "", ""}, error_cells(files.all));
  std::string text = errors.to_string();

  const auto list = [&](std::string_view what, std::string_view name) {
    text += fmt::format("{}: '{}'\n", what, nibble::escape_text(name));
  };
  const std::string reference = nibble::escape_text(options.reference);
  const std::string other = nibble::escape_text(options.other);
  const tensor_pair* worst = nullptr;
  for (const tensor_pair& pair : files.pairs) {
    if (!pair.is_compared || pair.errors.elements() == 0 || pair.errors.are_equal()) continue;
    const bool is_worse =
        worst == nullptr || pair.errors.relative_rmse() > worst->errors.relative_rmse();
    if (is_worse) worst = &pair;
  }
  if (worst != nullptr) list("largest relative rmse", worst->reference->name);
  for (const auto name : files.only_in_reference) list(fmt::format("only in {}", reference), name);
  for (const auto name : files.only_in_other) list(fmt::format("only in {}", other), name);
  for (const auto& [a, b] : files.shape_mismatches) {
    list(fmt::format("shapes differ, {} and {}", a->shape.to_string(), b->shape.to_string()), a->name);
  }
  for (const auto name : names_not_compared(files)) list("bytes differ and cannot be decoded", name);
  for (const auto name : names_above(files, options.max_relative_rmse)) {
    list(fmt::format("relative rmse above {}", *options.max_relative_rmse), name);
  }
  return text;
}

nlohmann::json to_json(const tensor_errors& errors) {
  using nlohmann::json;
  const auto cosine = errors.cosine();
  const bool has_values = errors.elements() != 0;
  const auto measured = [&](double value) { return has_values ? json_number(value) : json(nullptr); };
  return {{"elements", errors.elements()},
          {"equal", errors.are_equal()},
          {"infinite_errors", errors.infinite_errors()},
          {"max_abs_error", measured(errors.max_abs_error())},
          {"rmse", measured(errors.rmse())},
          {"relative_rmse", measured(errors.relative_rmse())},
          {"sqnr_db", measured(errors.sqnr_db())},
          {"cosine", cosine ? json(*cosine) : json(nullptr)}};
}

nlohmann::json to_json(const nibble::shape& dimensions) {
  const auto list = dimensions.dimensions();
  return std::vector<std::uint64_t>(list.begin(), list.end());
}

nlohmann::json to_json(const comparison& files, const diff_options& options, bool is_fine) {
  using nlohmann::json;
  json tensors = json::array();
  for (const tensor_pair& pair : files.pairs) {
    json entry = pair.is_compared ? to_json(pair.errors) : json::object();
    entry["name"] = pair.reference->name;
    entry["shape"] = to_json(pair.reference->shape);
    entry["elements"] = pair.reference->shape.elements();
    entry["encoding_a"] = pair.reference->dtype;
    entry["encoding_b"] = pair.other->dtype;
    tensors.push_back(std::move(entry));
  }
  json mismatches = json::array();
  for (const auto& [a, b] : files.shape_mismatches) {
    mismatches.push_back(
        {{"name", a->name}, {"shape_a", to_json(a->shape)}, {"shape_b", to_json(b->shape)}});
  }
  const auto bound = options.max_relative_rmse;
  return {{"a", options.reference},
          {"b", options.other},
          {"ok", is_fine},
          {"max_error", bound ? json(*bound) : json(nullptr)},
          {"tensors", std::move(tensors)},
          {"all_matrices", to_json(files.matrices)},
          {"all_tensors", to_json(files.all)},
          {"above_max_error", names_above(files, bound)},
          {"only_in_a", files.only_in_reference},
          {"only_in_b", files.only_in_other},
          {"shape_mismatches", std::move(mismatches)},
          {"not_compared", names_not_compared(files)}};
}

}  // namespace

exit_code diff(const diff_options& options) {
  const nibble::reader reference = open_input(options.reference, options.single);
  const nibble::reader other = open_input(options.other, options.single);
  const bool is_named_alike = has_gguf_names(reference) == has_gguf_names(other);
  comparison files;
  files.reference = tensors_of(reference, !is_named_alike && has_gguf_names(other));
  files.other = tensors_of(other, !is_named_alike && has_gguf_names(reference));
  pair_tensors(files);
  const bool has_tensors = reference.size() != 0 || other.size() != 0;
  if (has_tensors && files.pairs.empty() && files.shape_mismatches.empty()) {
    throw usage_error(fmt::format("{} and {} share no tensor: there is nothing to compare",
                                  nibble::escape_text(options.reference),
                                  nibble::escape_text(options.other)));
  }
  measure(files, options.threads);
  const bool is_fine =
      files.only_in_reference.empty() && files.only_in_other.empty() &&
      files.shape_mismatches.empty() && names_not_compared(files).empty() &&
      names_above(files, options.max_relative_rmse).empty() &&
      !(options.max_relative_rmse && files.all.relative_rmse() > *options.max_relative_rmse);
  if (options.json) {
    print_json(schema_version::diff, to_json(files, options, is_fine));
  } else {
    print_out(to_text(files, options));
  }
  return is_fine ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
