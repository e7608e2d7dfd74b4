#include <nibble/compute/dispatch.hpp>

#include <string>
#include <type_traits>

#include <support/catch.hpp>

// What nibble_add_dispatch makes of this header is tested in tests/dispatch/.
namespace {

TEST_CASE("without nibble_add_dispatch a unit's kernels are those it is compiled for", "[dispatch]") {
  static_assert(std::is_same_v<nibble::default_architecture, nibble::simd::best_architecture>);
  static_assert(!nibble::LinkedKernels<nibble::default_architecture>);
  CHECK("compiled_for_" + std::string(nibble::dispatched_architecture()) == NIBBLE_ARCHITECTURE_NAME);
}

}  // namespace
