#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/weight_memory.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/repacked_panels.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// What repack() may be told.
struct repack_options {
  nibble::executor* executor = nullptr;  ///< runs the work; null: the calling thread does
  /// Where the copy lies: in one for all weights of a model, those of less than several MiB lie in huge
  /// pages too, and are multiplied faster where memory is what limits products. Null: each by itself.
  weight_memory* memory = nullptr;
};

/// A weight with a second copy of its codes, in memory, for products in one mode: as repack() makes it.
/// It moves and is not copied; its products may run on several threads at once.
class repacked_weight {
 public:
  /// For kernels; hosts call repack().
  repacked_weight(const tensor_view& weight, matmul_mode mode, repacked_panels panels)
      : weight_(weight), mode_(mode), panels_(std::move(panels)) {}

  /// The weight that was repacked. Products in other modes are its own.
  [[nodiscard]] const tensor_view& weight() const noexcept { return weight_; }
  /// The mode of the products that the copy is for.
  [[nodiscard]] matmul_mode mode() const noexcept { return mode_; }
  /// Memory held besides the weight's; 0 where another order of its codes is of no use.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return panels_.memory.bytes().size(); }
  /// For kernels.
  [[nodiscard]] const repacked_panels& panels() const noexcept { return panels_; }

 private:
  tensor_view weight_;
  matmul_mode mode_;
  repacked_panels panels_;
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The panels of a weight whose rows_are_blocks, for products with Value; a task repacks one panel.
template <class Architecture, Activation Value>
[[nodiscard]] repacked_panels make_panels(const code_panel_source<Architecture, Value>& source,
                                          const stored_codes& codes, const tensor_view& weight,
                                          const repack_options& options) {
  repacked_panels made =
      allocate_panels<Architecture, Value>(weight, codes, source.has_offsets, options.memory);
  run_tasks(options.executor, made.panels,
            [&](std::size_t index) { store_panel(source, codes, weight, index, made); });
  return made;
}

/// repack() for one architecture. Throws unsupported_encoding.
template <class Architecture>
[[nodiscard]] repacked_weight make_repacked(const tensor_view& weight, matmul_mode mode,
                                            const repack_options& options) {
  using panel_architecture = simd::integer_architecture<Architecture>;
  repacked_panels made;
  visit_stored_codec(weight.encoding(), weight.name(), [&]<Codec Codec>(Codec) {
    if (!rows_are_blocks<Codec>(weight)) return;
    const auto make = [&]<Activation Value>(Value) {
      if constexpr (has_repacked_panels<Architecture, Codec, Value>()) {
        made = make_panels(code_panel_source_of<panel_architecture, Codec, Value>(),
                           stored_codes_of<panel_architecture, Codec, Value>(), weight, options);
      }
    };
    // Products of bytes in place are faster than panels of words.
    const activation_format format = panel_format_for<Architecture, Codec>(weight, mode);
    if (format != activation_format_for<Architecture, Codec>(weight, mode)) return;
    switch (format) {
      case activation_format::int8_codes: make(std::int8_t{}); break;
      case activation_format::int16_codes: make(std::int16_t{}); break;
      default: break;
    }
  });
  return {weight, mode, std::move(made)};
}

}  // namespace kernel

/// Copies a weight into the order in which products in `mode` (int16 or int8) take it, for hosts that
/// trade memory for speed. It takes as many bytes as the weight has for q4, q4_0, q4_1, q8_0 and, in int16,
/// q8 with vectors of 8 lanes or more; 21/8 bits a weight for q2_k, 29/8 for q3_k, 37/8 for q4_k, 45/8 for
/// q5_k and 53/8 for q6_k; for others 6 bits where codes are nibbles, 7 where they are five bits and 10 where
/// they are more, and one less where values are just scale * code. nibble::matmul(repacked, x, y) then
/// multiplies by the copy.
///
/// The bytes of `weight` are to outlive the copy. In exact mode, and for weights whose codes have no
/// products of panels in this mode, there is nothing to gain: size_bytes() is 0 then, and products are taken
/// from the weight. They are, too, where kernels for another instruction set multiply than those that
/// repacked, and in int16 for many rows of x with codes in two, three, five or six bits. Results lie within
/// the bounds of matmul() and may differ from those without repacking, within them. The copy is the same for
/// every executor.
///
/// Throws unsupported_encoding, and std::bad_alloc.
template <class Architecture = default_architecture>
[[nodiscard]] repacked_weight repack(const tensor_view& weight, matmul_mode mode,
                                     const repack_options& options = {}) {
  if constexpr (LinkedKernels<Architecture>) {
    require_codec(weight.encoding(), weight.name());
    return Architecture::kernels().repack(weight, mode, options);
  } else {
    return kernel::make_repacked<Architecture>(weight, mode, options);
  }
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
