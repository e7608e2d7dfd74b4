#include <xsimd/xsimd.hpp>
#include <nibble/core/shape.hpp>
