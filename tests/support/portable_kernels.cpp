#include <support/compiled_kernels.hpp>

NIBBLE_TEST_KERNELS(, nibble::simd::portable)
NIBBLE_TEST_ALL_ROW_PRODUCTS(, nibble::simd::portable)
