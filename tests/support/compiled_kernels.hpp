#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/multiply.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/compute/value_counts.hpp>
#include <nibble/kernel/float_panel_products.hpp>

/// What the public functions hand to one architecture's kernels, for every encoding: compiled once, in
/// best_kernels.cpp and portable_kernels.cpp, as it takes minutes in every file that uses it.
#define NIBBLE_TEST_KERNELS(linkage, architecture)                                                    \
  linkage template void nibble::kernel::multiply_checked<architecture>(                               \
      std::span<const nibble::checked_product>, const nibble::checked_activations&,                   \
      nibble::matmul_mode, nibble::executor*, std::span<std::byte>);                                  \
  linkage template nibble::repacked_weight nibble::kernel::make_repacked<architecture>(               \
      const nibble::tensor_view&, nibble::matmul_mode, nibble::executor*);                            \
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

/// Small-batch products of those encodings that are held against their bound one by one.
#define NIBBLE_TEST_SMALL_BATCH(linkage, architecture, codec, value)                              \
  linkage template void nibble::kernel::multiply_small_batch<architecture, nibble::codec, value>( \
      const nibble::tensor_view&, nibble::kernel::row_range,                                      \
      const nibble::kernel::activation_tile<value>&, const nibble::kernel::product_output&) noexcept;
#define NIBBLE_TEST_ALL_SMALL_BATCHES(linkage, architecture)           \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q4, float)            \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, apr_q4, float)        \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q8, float)            \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, apr_q8, float)        \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, f16, float)           \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q4_0, float)          \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q8_0, float)          \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q4_k, float)          \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q5_0, float)          \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q6_k, float)          \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q4, std::int16_t)     \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, apr_q4, std::int16_t) \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q8, std::int16_t)     \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, apr_q8, std::int16_t) \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q8_0, std::int16_t)   \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q5_0, std::int16_t)   \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q4, std::int8_t)      \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, apr_q4, std::int8_t)  \
  NIBBLE_TEST_SMALL_BATCH(linkage, architecture, q4_0, std::int8_t)

NIBBLE_TEST_KERNELS(extern, nibble::simd::best_architecture)
NIBBLE_TEST_KERNELS(extern, nibble::simd::portable)
NIBBLE_TEST_ALL_SMALL_BATCHES(extern, nibble::simd::block_architecture<nibble::simd::best_architecture>)
NIBBLE_TEST_ALL_SMALL_BATCHES(extern, nibble::simd::portable)
