#pragma once

#include <string_view>

#include <nibble/core/architecture.hpp>
#include <nibble/simd/simd.hpp>

#if defined(NIBBLE_DISPATCH)
#include <cstddef>
#include <cstdlib>
#include <span>

#include <nibble/compute/kernel_table.hpp>

/// The kernels that nibble_add_dispatch built, best first, and a null pointer after the last.
extern "C"
#if !defined(_WIN32)  // whose objects know no visibility
    [[gnu::visibility("hidden")]]
#endif
    const nibble::kernel_table* const nibble_kernel_tables[];
#elif defined(NIBBLE_KERNELS_ELSEWHERE)
#include <nibble/compute/kernel_table.hpp>

#define NIBBLE_KERNELS_FOR(instruction_set) NIBBLE_JOIN_TWO(nibble_kernels_, instruction_set)

/// The kernels that nibble_add_kernels built. The name holds the instruction set: a unit that is
/// compiled for another one than they are does not link.
extern "C"
#if !defined(_WIN32)
    [[gnu::visibility("hidden")]]
#endif
    const nibble::kernel_table NIBBLE_KERNELS_FOR(NIBBLE_INSTRUCTION_SET);
#endif

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// An architecture whose kernels are linked from another object, by way of a kernel_table: those that
/// are picked when the program runs, or those of the unit's own instruction set.
template <class Architecture>
concept LinkedKernels = requires {
  Architecture::kernels();
};

#if defined(NIBBLE_DISPATCH)

/// The architecture of targets that were given to nibble_add_dispatch (cmake/nibble-dispatch.cmake).
struct picked_at_run_time {
  /// The program's kernels for this machine, or those that NIBBLE_ARCH in the environment names where
  /// it is set and not empty; chosen at the first call that succeeds. Throws unsupported_architecture,
  /// naming what there is.
  [[nodiscard]] static const kernel_table& kernels() {
    static const kernel_table& picked = pick();
    return picked;
  }

 private:
  static const kernel_table& pick() {
    std::size_t count = 0;
    while (nibble_kernel_tables[count] != nullptr) ++count;
    const char* const forced = std::getenv("NIBBLE_ARCH");
    return pick_kernels(std::span<const kernel_table* const>(nibble_kernel_tables, count),
                        simd::available_cpu_features(), forced == nullptr ? "" : forced);
  }
};

using default_architecture = picked_at_run_time;

/// The name of the kernels in use: "avx2". Throws unsupported_architecture, as every function does that
/// needs kernels.
[[nodiscard]] inline std::string_view dispatched_architecture() {
  return picked_at_run_time::kernels().name;
}

#else

#if defined(NIBBLE_KERNELS_ELSEWHERE)
/// The architecture of targets that were given to nibble_add_kernels (cmake/nibble-kernels.cmake).
struct compiled_elsewhere {
  /// The program's kernels for the instruction set of this translation unit.
  [[nodiscard]] static const kernel_table& kernels() noexcept {
    return NIBBLE_KERNELS_FOR(NIBBLE_INSTRUCTION_SET);
  }
};

using default_architecture = compiled_elsewhere;
#else
/// Where products and decoding are computed unless a call says otherwise: the instruction set that
/// this translation unit is compiled for.
using default_architecture = simd::best_architecture;
#endif

/// The name of what this translation unit was compiled for: "avx2_fma_f16".
[[nodiscard]] inline std::string_view dispatched_architecture() noexcept {
  constexpr std::string_view prefix = "compiled_for_";
  return std::string_view(NIBBLE_INSTRUCTION_SET_NAME).substr(prefix.size());
}

#endif

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
