#include <support/compiled_kernels.hpp>

NIBBLE_TEST_BEST_KERNELS()
