#include <compute/compiled_kernels.hpp>

NIBBLE_TEST_KERNELS(, nibble::simd::portable)
