// The kernels of one instruction set. nibble_add_dispatch compiles this file once for each, and all
// that the rest of a program sees of the object is its table, called NIBBLE_KERNELS. nibble_add_kernels
// compiles it with a target's own flags, whose instruction set is the table's name then.
#include <nibble/codec/block_packing.hpp>
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/kernel_table.hpp>
#include <nibble/compute/multiply.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/compute/value_counts.hpp>
#if NIBBLE_ROUNDS_ALIKE
#include <nibble/kernel/pack_blocks.hpp>
#endif

#if !defined(NIBBLE_KERNELS)
#define NIBBLE_KERNELS NIBBLE_INSTRUCTION_SET
#endif

#define NIBBLE_TABLE_NAME_OF(name) nibble_kernels_##name
#define NIBBLE_TABLE_NAME(name) NIBBLE_TABLE_NAME_OF(name)

using architecture = nibble::simd::best_architecture;

template <nibble::Float To>
static void decode(const nibble::tensor_view& from, std::uint64_t first_row, std::uint64_t row_count,
                   To* to, nibble::executor* executor) {
  nibble::kernel::decode_rows_on<architecture>(executor, from, first_row, row_count, to);
}

static nibble::packed_blocks pack(const nibble::values_of_blocks& from, std::byte* to) {
#if NIBBLE_ROUNDS_ALIKE
  return nibble::kernel::pack_blocks<>(from, to);
#else
  static_cast<void>(from);
  static_cast<void>(to);
  throw nibble::error(nibble::error_code::unsupported_architecture,
                      {.field = "packing",
                       .found = "kernels that were compiled with parts of -ffast-math",
                       .expected = "kernels that round as they are told"});
#endif
}

// Where several static libraries of one program bring the same kernels, one of them serves. Weak
// symbols of COFF are found by nobody but their own object.
#if defined(_WIN32)
#define NIBBLE_ONE_SERVES [[gnu::selectany]]
#else
#define NIBBLE_ONE_SERVES [[gnu::weak, gnu::visibility("hidden")]]
#endif

extern "C" {
NIBBLE_ONE_SERVES extern constinit const nibble::kernel_table NIBBLE_TABLE_NAME(NIBBLE_KERNELS) = {
    .name = NIBBLE_TEXT_OF(NIBBLE_KERNELS),
    .needs = nibble::simd::compiled_cpu_features(),
    .decode_f32 = decode<float>,
    .decode_f16 = decode<nibble::float16>,
    .decode_bf16 = decode<nibble::bfloat16>,
    .widen_f16 = nibble::kernel::widen<architecture, nibble::float16>,
    .widen_bf16 = nibble::kernel::widen<architecture, nibble::bfloat16>,
    .narrow_f16 = nibble::kernel::narrow<architecture, nibble::float16>,
    .narrow_bf16 = nibble::kernel::narrow<architecture, nibble::bfloat16>,
    .pack_blocks = pack,
    .count_values = nibble::kernel::count_values<architecture>,
    .repack = nibble::kernel::make_repacked<architecture>,
    .matmul = nibble::kernel::multiply_checked<architecture>,
};
}
