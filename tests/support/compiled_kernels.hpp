#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/multiply.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/compute/value_counts.hpp>
#include <nibble/kernel/bit_code_products.hpp>
#include <nibble/kernel/float_panel_products.hpp>
#include <nibble/kernel/lane_row_products.hpp>
#include <nibble/kernel/pack_blocks.hpp>
#include <nibble/kernel/small_batch_products.hpp>

/// What the public functions hand to one architecture's kernels, for every encoding: compiled once, in
/// best_kernels.cpp and portable_kernels.cpp, as it takes minutes in every file that uses it.
#define NIBBLE_TEST_KERNELS(linkage, architecture)                                                    \
  linkage template void nibble::kernel::multiply_checked<architecture>(                               \
      std::span<const nibble::checked_product>, const nibble::checked_activations&,                   \
      nibble::matmul_mode, nibble::executor*, std::span<std::byte>);                                  \
  linkage template nibble::repacked_weight nibble::kernel::make_repacked<architecture>(               \
      const nibble::tensor_view&, nibble::matmul_mode, const nibble::repack_options&);                \
  linkage template nibble::value_counts nibble::kernel::count_values<architecture>(                   \
      const nibble::tensor_view&);                                                                    \
  linkage template nibble::kernel::range_decoder nibble::kernel::decoder_of<architecture>(            \
      const nibble::tensor_view&);                                                                    \
  linkage template nibble::kernel::float_panel_source<architecture>                                   \
  nibble::kernel::float_panel_source_of<architecture>(const nibble::tensor_view&);                    \
  linkage template void nibble::kernel::decode_rows_on<architecture>(                                 \
      nibble::executor*, const nibble::tensor_view&, std::uint64_t, std::uint64_t, float*);           \
  linkage template void nibble::kernel::decode_rows_on<architecture>(                                 \
      nibble::executor*, const nibble::tensor_view&, std::uint64_t, std::uint64_t, nibble::float16*); \
  linkage template void nibble::kernel::decode_rows_on<architecture>(                                 \
      nibble::executor*, const nibble::tensor_view&, std::uint64_t, std::uint64_t, nibble::bfloat16*);

/// Products by one of the loops of kernel/, of an encoding that its test holds against their bound.
#define NIBBLE_TEST_PRODUCTS(linkage, multiply, architecture, codec, value)           \
  linkage template void nibble::kernel::multiply<architecture, nibble::codec, value>( \
      const nibble::tensor_view&, nibble::kernel::row_range,                          \
      const nibble::kernel::activation_tile<value>&, const nibble::kernel::product_output&) noexcept;

#define NIBBLE_TEST_SMALL_BATCHES(linkage, architecture)                                  \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q4, float)            \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, apr_q4, float)        \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q8, float)            \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, apr_q8, float)        \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, f16, float)           \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q4_0, float)          \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q8_0, float)          \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q4_k, float)          \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q5_0, float)          \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q6_k, float)          \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q4, std::int16_t)     \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, apr_q4, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q8, std::int16_t)     \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, apr_q8, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q8_0, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, mxfp4, std::int16_t)  \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q4, std::int8_t)      \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, apr_q4, std::int8_t)  \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_small_batch, architecture, q4_0, std::int8_t)
#define NIBBLE_TEST_BIT_CODES(linkage, architecture)                                    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q2_k, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q3_k, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q4_k, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q5_k, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q6_k, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, iq4_xs, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q2_k, std::int8_t)    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q3_k, std::int8_t)    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q4_k, std::int8_t)    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q5_k, std::int8_t)    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q6_k, std::int8_t)
#define NIBBLE_TEST_MORE_BIT_CODES(linkage, architecture)                               \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, iq4_nl, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q5_0, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q5_1, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q5_0, std::int8_t)    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_bit_codes, architecture, q5_1, std::int8_t)
#define NIBBLE_TEST_LANE_ROWS_OF_FLOATS(linkage, architecture)                 \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4, float)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q8, float)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4_0, float) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4_1, float) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q8_0, float) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, apr_q4, float)
#define NIBBLE_TEST_LANE_ROWS_OF_CODES(linkage, architecture)                         \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q8, std::int16_t)   \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4_0, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4_1, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q8_0, std::int16_t) \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4, std::int8_t)    \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4_0, std::int8_t)  \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, q4_1, std::int8_t)  \
  NIBBLE_TEST_PRODUCTS(linkage, multiply_lane_rows, architecture, apr_q4, std::int8_t)

#define NIBBLE_TEST_BEST_KERNELS(linkage)                                                           \
  NIBBLE_TEST_KERNELS(linkage, nibble::simd::best_architecture)                                     \
  NIBBLE_TEST_SMALL_BATCHES(linkage,                                                                \
                            nibble::simd::block_architecture<nibble::simd::best_architecture>)      \
  NIBBLE_TEST_BIT_CODES(linkage, nibble::simd::block_architecture<nibble::simd::best_architecture>) \
  NIBBLE_TEST_LANE_ROWS_OF_FLOATS(linkage, nibble::simd::best_architecture)                         \
  NIBBLE_TEST_LANE_ROWS_OF_CODES(linkage,                                                           \
                                 nibble::simd::integer_architecture<nibble::simd::best_architecture>)
#define NIBBLE_TEST_PORTABLE_KERNELS(linkage)                      \
  NIBBLE_TEST_KERNELS(linkage, nibble::simd::portable)             \
  NIBBLE_TEST_SMALL_BATCHES(linkage, nibble::simd::portable)       \
  NIBBLE_TEST_BIT_CODES(linkage, nibble::simd::portable)           \
  NIBBLE_TEST_MORE_BIT_CODES(linkage, nibble::simd::portable)      \
  NIBBLE_TEST_LANE_ROWS_OF_FLOATS(linkage, nibble::simd::portable) \
  NIBBLE_TEST_LANE_ROWS_OF_CODES(linkage, nibble::simd::portable)

/// Packing, in packers.cpp.
#define NIBBLE_TEST_PACKERS(linkage)                                                             \
  linkage template nibble::packed_blocks nibble::kernel::pack_blocks<nibble::this_architecture>( \
      const nibble::values_of_blocks&, std::byte*);

NIBBLE_TEST_PACKERS(extern)
NIBBLE_TEST_BEST_KERNELS(extern)
NIBBLE_TEST_PORTABLE_KERNELS(extern)
