#pragma once

/// Of functions that loop over lanes or blocks: inlined into another loop they would be unrolled before the
/// compiler looks for vectors.
#if defined(__GNUC__)
#define NIBBLE_VECTOR_LOOP [[gnu::noinline]]
#else
#define NIBBLE_VECTOR_LOOP
#endif
