#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <nibble/nibble.hpp>

#include "names_for_output.hpp"
#include "typed_metadata.hpp"
#include "value_encoding.hpp"

namespace nibble_command {

/// A tensor of one of the files, under the name by which it is compared.
struct compared_tensor {
  std::string name{};
  nibble::shape shape{};
  std::string dtype{};
  const nibble::tensor_view* stored = nullptr;  ///< null where its values are moved to that name
  nibble::row_source rows{};                    ///< of what is not stored so
  std::uint64_t bytes = 0;

  [[nodiscard]] bool is_decodable() const { return stored == nullptr || nibble::is_decodable(*stored); }
};

/// Whether a file's tensors have GGUF's names.
[[nodiscard]] inline bool has_gguf_names(const nibble::reader& file) {
  return std::ranges::any_of(file.tensors(), [](const nibble::tensor_view& tensor) {
    return tensor.name().starts_with("blk.") || tensor.name() == "token_embd.weight";
  });
}

/// The tensors of a file as they are compared. `with_gguf_names` says that another file has GGUF's names
/// and this one has not: they get those where the architecture is known. Throws usage_error.
[[nodiscard]] inline std::vector<compared_tensor> tensors_of(const nibble::reader& file,
                                                             bool with_gguf_names) {
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

/// Decodes rows to f64, which holds every value of every encoding but i64 and u64 beyond 2^53.
inline void decode_rows(const compared_tensor& tensor, std::uint64_t first_row, std::uint64_t row_count,
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

}  // namespace nibble_command
