#include <support/compiled_kernels.hpp>

NIBBLE_TEST_KERNELS(, nibble::simd::best_architecture)
NIBBLE_TEST_ALL_SMALL_BATCHES(, nibble::simd::block_architecture<nibble::simd::best_architecture>)
