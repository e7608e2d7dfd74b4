#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/repacked_weight.hpp>
#include <nibble/compute/value_census.hpp>

/// What the public functions hand to one architecture's kernels, for every encoding: compiled once, in
/// best_kernels.cpp and portable_kernels.cpp, as it takes minutes in every file that uses it.
#define NIBBLE_TEST_KERNELS(linkage, architecture)                                                    \
  linkage template void nibble::kernel::multiply_proved<architecture>(                                \
      std::span<const nibble::proved_product>, const nibble::matmul_options&, std::span<std::byte>);  \
  linkage template nibble::repacked_weight nibble::kernel::make_repacked<architecture>(               \
      const nibble::tensor_view&, nibble::matmul_mode, nibble::executor*);                            \
  linkage template nibble::value_census nibble::kernel::count_values<architecture>(                   \
      const nibble::tensor_view&);                                                                    \
  linkage template nibble::kernel::run_decoder nibble::kernel::decoder_of<architecture>(              \
      const nibble::tensor_view&);                                                                    \
  linkage template void nibble::kernel::decode_rows_on<architecture>(                                 \
      nibble::executor*, const nibble::tensor_view&, std::uint64_t, std::uint64_t, float*);           \
  linkage template void nibble::kernel::decode_rows_on<architecture>(                                 \
      nibble::executor*, const nibble::tensor_view&, std::uint64_t, std::uint64_t, nibble::float16*); \
  linkage template void nibble::kernel::decode_rows_on<architecture>(                                 \
      nibble::executor*, const nibble::tensor_view&, std::uint64_t, std::uint64_t, nibble::bfloat16*);

NIBBLE_TEST_KERNELS(extern, nibble::simd::best_architecture)
NIBBLE_TEST_KERNELS(extern, nibble::simd::portable)
