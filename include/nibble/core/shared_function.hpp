#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <nibble/core/error.hpp>

namespace nibble {

/// A type-erased callable, as std::function is one, whose copies share what it holds. std::function is not
/// taken because its header takes long to compile.
template <class Signature>
class shared_function;

/// The same, with result and arguments named.
template <class Result, class... Arguments>
class shared_function<Result(Arguments...)> {
 public:
  /// Nothing to call.
  shared_function() noexcept = default;
  /// Nothing to call.
  shared_function(std::nullptr_t) noexcept {}  // NOLINT: implicit by purpose
  /// Calls `function`, which is copied or moved here. Nothing to call where it is a pointer, or another
  /// such wrapper, that is null. Throws what the copying throws, and std::bad_alloc.
  template <class Function>
  requires(!std::same_as<std::remove_cvref_t<Function>, shared_function> &&
           !std::is_member_pointer_v<std::decay_t<Function>> &&
           std::is_invocable_r_v<Result, std::decay_t<Function>&, Arguments...>)
      shared_function(Function&& function) {  // NOLINT: implicit by purpose
    using stored = std::decay_t<Function>;
    constexpr bool is_named_function = std::is_function_v<std::remove_reference_t<Function>>;
    if constexpr (!is_named_function && requires { static_cast<bool>(function == nullptr); }) {
      if (function == nullptr) return;
    }
    function_ = std::make_shared<stored>(std::forward<Function>(function));
    call_ = [](void* called, Arguments... arguments) -> Result {
      return static_cast<Result>(
          (*static_cast<stored*>(called))(std::forward<Arguments>(arguments)...));
    };
  }

  /// Whether there is something to call.
  [[nodiscard]] explicit operator bool() const noexcept { return function_ != nullptr; }

  /// Calls it. Throws what it throws, and invalid_argument where there is nothing to call.
  Result operator()(Arguments... arguments) const {
    if (function_ == nullptr) {
      throw error(error_code::invalid_argument,
                  {.field = "function", .found = "nothing to call", .expected = "a function"});
    }
    return call_(function_.get(), std::forward<Arguments>(arguments)...);
  }

  /// Whether there is nothing to call.
  friend bool operator==(const shared_function& function, std::nullptr_t) noexcept {
    return function.function_ == nullptr;
  }

 private:
  std::shared_ptr<void> function_;
  Result (*call_)(void*, Arguments...) = nullptr;
};

}  // namespace nibble
