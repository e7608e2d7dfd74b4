#include <support/compiled_kernels.hpp>

NIBBLE_TEST_KERNELS(, nibble::simd::best_architecture)
NIBBLE_TEST_ALL_ROW_PRODUCTS(, nibble::simd::block_architecture<nibble::simd::best_architecture>)
