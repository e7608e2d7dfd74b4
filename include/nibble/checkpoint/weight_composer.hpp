#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/composed_weight.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/finding.hpp>

namespace nibble {

/// The stored tensors of a checkpoint while schemes make weights of them. Each scheme looks for the names
/// that it knows, checks what it finds, and adds the weights; what it took is listed no more.
class weight_composer {
 public:
  /// `stored` and the names in it must outlive the composer.
  explicit weight_composer(std::span<const tensor_view> stored)
      : stored_(stored), names_(stored.size(), name_at()), roles_(stored.size(), role::stored) {}

  weight_composer(const weight_composer&) = delete;
  weight_composer& operator=(const weight_composer&) = delete;

  /// All stored tensors, also those that were taken.
  [[nodiscard]] std::span<const tensor_view> stored() const noexcept { return stored_; }
  /// The stored tensor of that name, or null.
  [[nodiscard]] const tensor_view* find(std::string_view name) const noexcept {
    const auto place = names_.find(name, name_at());
    return place ? &stored_[*place] : nullptr;
  }
  /// Whether a tensor of stored() is no part of a weight yet, and is not left out.
  [[nodiscard]] bool is_free(const tensor_view& tensor) const noexcept {
    return roles_[place_of(tensor)] == role::stored;
  }
  /// The part of `weight` that has that name. Throws bad_scheme where there is none.
  [[nodiscard]] const tensor_view& require(std::string_view weight, std::string_view part,
                                           std::string_view scheme) const {
    if (const tensor_view* const found = find(part)) return *found;
    refuse(weight, part, "no tensor of that name",
           join_text({"what ", scheme, " decodes the weight with"}));
  }

  /// Throws bad_scheme: of the weight `weight` the part `part` is `found`, and not `expected`.
  [[noreturn]] static void refuse(std::string_view weight, std::string_view part, std::string found,
                                  std::string expected) {
    throw error(error_code::bad_scheme, {.tensor = std::string(weight),
                                         .field = std::string(part),
                                         .found = std::move(found),
                                         .expected = std::move(expected)});
  }
  /// Throws bad_scheme, naming both shapes, unless `part` has the shape and the dtype.
  static void require_shape(std::string_view weight, const tensor_view& part, encoding dtype,
                            const shape& expected) {
    const bool has_dtype = part.has_encoding() && part.encoding() == dtype;
    if (has_dtype && part.shape() == expected) return;
    refuse(weight, part.name(), join_text({part.dtype_text(), " of ", part.shape().to_string()}),
           join_text({to_string(dtype), " of ", expected.to_string()}));
  }

  /// Adds a weight in the place of its codes. `codes` and `others` (null: none) become its parts.
  void add(std::string name, std::string_view scheme, const shape& dimensions, const tensor_view& codes,
           std::initializer_list<const tensor_view*> others, composed_weight::decoder decode) {
    std::uint64_t bytes = codes.size_bytes();
    roles_[place_of(codes)] = role::codes;
    for (const tensor_view* const other : others) {
      if (other == nullptr) continue;
      roles_[place_of(*other)] = role::part;
      bytes += other->size_bytes();
    }
    weights_.push_back({place_of(codes), std::make_unique<const composed_weight>(
                                             std::move(name), std::string(scheme), dimensions,
                                             codes.file_offset_bytes(), bytes, std::move(decode))});
  }

  /// Leaves a tensor out, and notes why.
  void leave_out(const tensor_view& tensor, std::string_view why) {
    roles_[place_of(tensor)] = role::left_out;
    notes_to_.add({.tensor = std::string(tensor.name()),
                   .field = "quantization",
                   .text = join_text({"left out: ", why})});
  }

  /// Number of weights added.
  [[nodiscard]] std::size_t size() const noexcept { return weights_.size(); }

  /// What the schemes have made.
  struct result {
    std::vector<std::unique_ptr<const composed_weight>> weights{};  ///< what views point to
    std::vector<tensor_view> tensors{};                             ///< in the order of the stored ones
    std::vector<finding> notes{};                                   ///< what was left out
  };
  /// Ends it.
  [[nodiscard]] result finish() && {
    std::move(notes_to_).finish();
    result made{.notes = std::move(notes_)};
    std::vector<const composed_weight*> at(stored_.size(), nullptr);
    for (auto& [place, weight] : weights_) {
      at[place] = weight.get();
      made.weights.push_back(std::move(weight));
    }
    for (std::size_t i = 0; i < stored_.size(); ++i) {
      if (roles_[i] == role::stored) made.tensors.push_back(stored_[i]);
      if (at[i] != nullptr) made.tensors.emplace_back(*at[i]);
    }
    return made;
  }

 private:
  enum class role : std::uint8_t { stored, codes, part, left_out };

  struct names_of {
    std::span<const tensor_view> tensors;
    [[nodiscard]] std::string_view operator()(std::size_t place) const noexcept {
      return tensors[place].name();
    }
  };
  [[nodiscard]] names_of name_at() const noexcept { return {stored_}; }
  [[nodiscard]] std::size_t place_of(const tensor_view& tensor) const noexcept {
    return static_cast<std::size_t>(&tensor - stored_.data());
  }

  struct placed_weight {
    std::size_t place;  ///< of its codes
    std::unique_ptr<const composed_weight> weight;
  };

  std::span<const tensor_view> stored_;
  name_index names_;
  std::vector<role> roles_;
  std::vector<placed_weight> weights_;
  std::vector<finding> notes_;
  note_series notes_to_{notes_};
};

/// `name` without `ending`, or nothing where it ends otherwise: the module of "l.qweight".
[[nodiscard]] inline std::optional<std::string> without_ending(std::string_view name,
                                                               std::string_view ending) {
  if (!name.ends_with(ending)) return std::nullopt;
  return std::string(name.substr(0, name.size() - ending.size()));
}

}  // namespace nibble
