#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <nibble/core/shape.hpp>
#include <nibble/core/shared_function.hpp>

namespace nibble {

/// A weight that several stored tensors make up together (codes, scales, zero points), as the rule of its
/// scheme says: its rows are decoded to f32 as they are asked for. nibble::checkpoint lists such weights
/// as tensor_view::composed().
class composed_weight {
 public:
  /// Fills `values` with rows first_row .. first_row + row_count of the weight as a matrix of rows x cols:
  /// values.size() is row_count * cols, and the rows are the weight's. Called from any thread, by several
  /// at once; gives the same each time, and throws std::bad_alloc alone.
  using decoder =
      shared_function<void(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values)>;

  /// What the parts say: `size_bytes` is the sum of theirs, `file_offset_bytes` where the codes start in
  /// their file. The bytes of the parts must outlive the weight.
  composed_weight(std::string name, std::string scheme, const nibble::shape& dimensions,
                  std::uint64_t file_offset_bytes, std::uint64_t size_bytes, decoder decode)
      : name_(std::move(name)),
        scheme_(std::move(scheme)),
        shape_(dimensions),
        file_offset_bytes_(file_offset_bytes),
        size_bytes_(size_bytes),
        decode_(std::move(decode)) {}

  /// UTF-8: "model.layers.0.mlp.up_proj.weight".
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// What the rule is called: "fp8", "gptq".
  [[nodiscard]] const std::string& scheme() const noexcept { return scheme_; }
  /// Of the weight that is decoded, outermost dimension first.
  [[nodiscard]] const nibble::shape& shape() const noexcept { return shape_; }
  /// Where the codes start in their file.
  [[nodiscard]] std::uint64_t file_offset_bytes() const noexcept { return file_offset_bytes_; }
  /// Stored bytes of all parts.
  [[nodiscard]] std::uint64_t size_bytes() const noexcept { return size_bytes_; }

  /// See decoder.
  void decode_rows(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    decode_(first_row, row_count, values);
  }

 private:
  std::string name_;
  std::string scheme_;
  nibble::shape shape_;
  std::uint64_t file_offset_bytes_;
  std::uint64_t size_bytes_;
  decoder decode_;
};

}  // namespace nibble
