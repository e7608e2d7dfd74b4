// The kernels of one instruction set. nibble_add_dispatch compiles this file once for each, and all
// that the rest of a program sees of the object is its table.
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/kernel_table.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/value_census.hpp>
#include <nibble/kernel/repacked_weight.hpp>

#define NIBBLE_TABLE_NAME_OF(name) nibble_kernels_##name
#define NIBBLE_TABLE_NAME(name) NIBBLE_TABLE_NAME_OF(name)

using architecture = nibble::simd::best_architecture;

template <nibble::Float To>
static void decode(const nibble::tensor_view& from, std::uint64_t first_row, std::uint64_t row_count,
                   To* to, nibble::executor* on) {
  nibble::kernel::decode_rows_on<architecture>(on, from, first_row, row_count, to);
}

#if defined(_WIN32)
#define NIBBLE_WEAK [[gnu::selectany]]
#else
#define NIBBLE_WEAK [[gnu::weak, gnu::visibility("hidden")]]
#endif

// Weak: where several static libraries of one program bring the same kernels, one of them serves.
extern "C" {
NIBBLE_WEAK extern constinit const nibble::kernel_table NIBBLE_TABLE_NAME(NIBBLE_KERNELS) = {
    .name = NIBBLE_TEXT_OF(NIBBLE_KERNELS),
    .needs = nibble::simd::compiled_cpu_features(),
    .decode_f32 = decode<float>,
    .decode_f16 = decode<nibble::float16>,
    .decode_bf16 = decode<nibble::bfloat16>,
    .widen_f16 = nibble::kernel::widen<architecture, nibble::float16>,
    .widen_bf16 = nibble::kernel::widen<architecture, nibble::bfloat16>,
    .narrow_f16 = nibble::kernel::narrow<architecture, nibble::float16>,
    .narrow_bf16 = nibble::kernel::narrow<architecture, nibble::bfloat16>,
    .take_census = nibble::kernel::count_values<architecture>,
    .repack = nibble::kernel::make_repacked<architecture>,
    .matmul = nibble::kernel::multiply_proved<architecture>,
};
}
