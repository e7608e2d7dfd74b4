#include <support/compiled_kernels.hpp>

NIBBLE_TEST_KERNELS(, nibble::simd::portable)
NIBBLE_TEST_ALL_SMALL_BATCHES(, nibble::simd::portable)
