#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/nearest_names.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/file_order.hpp>

namespace nibble {

/// The tensors of an open container, as every reader lists them: in the order in which their bytes
/// stand in the file, found by name. Tensor is tensor_view or tensor_description.
template <class Tensor>
class tensor_list {
 public:
  /// The container's path, or what the caller named its bytes.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// All of them.
  [[nodiscard]] std::span<const Tensor> tensors() const noexcept { return tensors_; }
  /// The first tensor, for loops over all.
  [[nodiscard]] auto begin() const noexcept { return tensors_.begin(); }
  /// Behind the last one.
  [[nodiscard]] auto end() const noexcept { return tensors_.end(); }
  /// Number of tensors.
  [[nodiscard]] std::size_t size() const noexcept { return tensors_.size(); }

  /// The tensor of that name, or null.
  [[nodiscard]] const Tensor* find(std::string_view tensor) const noexcept {
    const auto place = names_.find(tensor, name_at());
    return place ? &tensors_[*place] : nullptr;
  }
  /// Whether there is a tensor of that name.
  [[nodiscard]] bool contains(std::string_view tensor) const noexcept {
    return find(tensor) != nullptr;
  }
  /// The tensor of that name. Throws no_such_tensor, which gives the names nearest to it.
  [[nodiscard]] const Tensor& operator[](std::string_view tensor) const {
    if (const Tensor* const found = find(tensor)) return *found;
    std::string nearest;
    for (const std::string& name : nearest_names(tensor, tensors_.size(), name_at())) {
      nearest += join_text({nearest.empty() ? "perhaps '" : "' or '", name});
    }
    throw error(
        error_code::no_such_tensor,
        {.file = name_,
         .tensor = std::string(tensor),
         .expected = nearest.empty() ? "nothing, for the file holds no tensors" : nearest + "'"});
  }

  const Tensor& operator[](std::nullptr_t) const = delete;

 protected:
  /// No tensors yet, of a container of that name.
  explicit tensor_list(std::string name) : name_(std::move(name)) {}

  /// Lists what make_tensor() makes of every entry of a directory. `names` is the index of their
  /// names, or empty where parsing made none.
  template <class MakeTensor>
  void list(std::span<const tensor_info> entries, name_index names, const MakeTensor& make_tensor) {
    tensors_.reserve(entries.size());
    const bool is_in_order = for_each_in_file_order(
        entries, [&](const tensor_info& tensor) { tensors_.push_back(make_tensor(tensor)); });
    names_ = is_in_order && names.size() == tensors_.size() ? std::move(names)
                                                            : name_index(tensors_.size(), name_at());
  }
  /// Keeps the tensors for which `is_kept` is true.
  template <class IsKept>
  void keep_if(const IsKept& is_kept) {
    const auto removed =
        std::erase_if(tensors_, [&](const Tensor& tensor) { return !is_kept(tensor); });
    if (removed != 0) names_ = name_index(tensors_.size(), name_at());
  }
  /// Lists these. Returns the first whose name another one before it has, or null.
  [[nodiscard]] const Tensor* list(std::vector<Tensor> tensors) {
    tensors_ = std::move(tensors);
    names_ = name_index(tensors_.size(), name_at());
    const auto repeated = names_.first_repeated(name_at());
    return repeated ? &tensors_[*repeated] : nullptr;
  }

 private:
  /// The names of tensors, by their place.
  struct names_of {
    std::span<const Tensor> tensors;
    [[nodiscard]] std::string_view operator()(std::size_t place) const noexcept {
      return tensors[place].name();
    }
  };
  [[nodiscard]] names_of name_at() const noexcept { return {tensors_}; }

  std::string name_;
  std::vector<Tensor> tensors_;
  name_index names_;
};

}  // namespace nibble
