#include <support/compiled_kernels.hpp>

NIBBLE_TEST_PORTABLE_KERNELS()
