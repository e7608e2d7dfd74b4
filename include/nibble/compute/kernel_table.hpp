#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <nibble/compute/executor.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/simd/cpu_features.hpp>

namespace nibble {

struct checked_product;
struct checked_activations;
struct packed_blocks;
struct value_counts;
struct values_of_blocks;
struct repack_options;
class repacked_weight;

/// The kernels of one instruction set, as nibble_add_dispatch builds them: all that its object shows to
/// the rest of a program. Arguments are those of the public functions, which have checked them.
struct kernel_table {
  const char* name;             ///< as NIBBLE_ARCH spells it
  simd::cpu_feature_set needs;  ///< what its code was compiled with

  void (*decode_f32)(const tensor_view&, std::uint64_t first_row, std::uint64_t row_count, float* to,
                     nibble::executor* executor);
  void (*decode_f16)(const tensor_view&, std::uint64_t first_row, std::uint64_t row_count, float16* to,
                     nibble::executor* executor);
  void (*decode_bf16)(const tensor_view&, std::uint64_t first_row, std::uint64_t row_count,
                      bfloat16* to, nibble::executor* executor);

  void (*widen_f16)(const std::byte* from, std::size_t count, float* to) noexcept;
  void (*widen_bf16)(const std::byte* from, std::size_t count, float* to) noexcept;
  void (*narrow_f16)(const float* from, std::size_t count, float16* to) noexcept;
  void (*narrow_bf16)(const float* from, std::size_t count, bfloat16* to) noexcept;

  packed_blocks (*pack_blocks)(const values_of_blocks&, std::byte* to);
  value_counts (*count_values)(const tensor_view&);
  repacked_weight (*repack)(const tensor_view&, matmul_mode, const repack_options&);
  void (*matmul)(std::span<const checked_product>, const checked_activations&, matmul_mode,
                 nibble::executor*, std::span<std::byte> scratch);
};

/// The first of `tables` (best first) whose needs `available` covers, or the one named `forced` where
/// that is not empty. Throws unsupported_architecture where there is none of that name, or none that
/// this machine can run, and names those it can.
[[nodiscard]] inline const kernel_table& pick_kernels(std::span<const kernel_table* const> tables,
                                                      simd::cpu_feature_set available,
                                                      std::string_view forced) {
  std::string runnable;
  const kernel_table* named = nullptr;
  for (const kernel_table* const table : tables) {
    if (table->name == forced) named = table;
    if (!table->needs.without(available).is_empty()) continue;
    if (forced.empty() || named == table) return *table;
    if (!runnable.empty()) runnable += ", ";
    runnable += table->name;
  }
  std::string found = join_text({"'", forced, "'"});
  if (named != nullptr) {
    found += join_text({" (this machine lacks ", to_string(named->needs.without(available)), ")"});
  } else if (forced.empty()) {
    found = join_text({"a machine with ", to_string(available)});
  }
  throw error(error_code::unsupported_architecture,
              {.field = "NIBBLE_ARCH",
               .found = std::move(found),
               .expected = runnable.empty() ? "a machine that can run this program's kernels"
                                            : join_text({"one of ", runnable})});
}

}  // namespace nibble
