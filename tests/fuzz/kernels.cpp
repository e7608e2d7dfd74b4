// Vector kernels against the scalar codecs, for arbitrary bytes of every encoding: decoding bit for
// bit, products within the bound that matmul.hpp documents.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>

#include <codec/independent_decoder.hpp>

#include "use.hpp"

namespace {

using nibble_fuzz::require;

/// One run of blocks (a row, or the tensor) by the scalar codec.
template <nibble::Codec Codec>
void decode_range(std::span<const std::byte> from, std::span<float> to) {
  if (to.empty()) return;
  if constexpr (nibble::PlainCodec<Codec>) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      typename Codec::stored_type stored;
      std::memcpy(&stored, from.data() + i * sizeof(stored), sizeof(stored));
      to[i] = Codec::unpack(stored);
    }
  } else if constexpr (nibble::TensorScaleCodec<Codec>) {
    typename Codec::header header;
    std::memcpy(&header, from.data(), sizeof(header));
    std::vector<std::int8_t> codes(to.size());
    std::memcpy(codes.data(), from.data() + sizeof(header), codes.size());
    Codec::unpack(header.scale, codes, to);
  } else {
    while (!to.empty()) {
      typename Codec::block block;
      std::memcpy(&block, from.data(), sizeof(block));
      const std::size_t count = std::min(to.size(), Codec::block_elements);
      Codec::unpack(block, to.first(count));
      to = to.subspan(count);
      from = from.subspan(sizeof(block));
    }
  }
}

/// Rows that lie side by side, by the scalar codec of their blocks.
template <nibble::InterleavedCodec Codec>
void decode_interleaved(std::span<const std::byte> from, std::size_t cols, std::span<float> to) {
  using row_codec = typename Codec::row_codec;
  constexpr std::size_t unit = row_codec::block_elements;
  const std::size_t row_blocks = (cols + unit - 1) / unit;
  for (std::size_t row = 0; row * cols < to.size(); ++row) {
    for (std::size_t first = 0; first < cols; first += unit) {
      typename Codec::block block;
      const std::size_t at = row / Codec::block_rows * row_blocks + first / unit;
      std::memcpy(&block, from.data() + at * sizeof(block), sizeof(block));
      row_codec::unpack(Codec::load_row(block, row % Codec::block_rows),
                        to.subspan(row * cols + first, std::min(unit, cols - first)));
    }
  }
}

std::vector<float> decode_by_codec(const nibble::tensor_view& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  const auto cols = static_cast<std::size_t>(tensor.cols());
  nibble::visit_codec(tensor.encoding(), "", [&]<nibble::Codec Codec>(Codec) {
    const auto& row = nibble::describe(Codec::encoding);
    if constexpr (nibble::InterleavedCodec<Codec>) {
      if (cols != 0) decode_interleaved<Codec>(tensor.bytes(), cols, values);
    } else if (row.blocks_run_along == nibble::block_run::tensor) {
      decode_range<Codec>(tensor.bytes(), values);
    } else if (cols != 0) {
      const auto row_bytes = static_cast<std::size_t>(*nibble::stored_bytes(row, 1, cols));
      for (std::size_t i = 0; i < values.size() / cols; ++i) {
        decode_range<Codec>(tensor.bytes().subspan(i * row_bytes, row_bytes),
                            std::span(values).subspan(i * cols, cols));
      }
    }
  });
  return values;
}

/// The bound of matmul.hpp for a product of k inputs, in double, where all of it is finite and nothing
/// comes near the ends of f32.
void check_products(const nibble::tensor_view& tensor, std::span<const float> x, std::size_t x_rows) {
  const auto n = static_cast<std::size_t>(tensor.rows());
  const auto k = static_cast<std::size_t>(tensor.cols());
  const nibble_test::independent_decoder weights(nibble::to_string(tensor.encoding()), tensor.bytes(),
                                                 k);
  std::vector<std::vector<float>> y;
  for (std::size_t mode = 0; mode < nibble_fuzz::multiply_modes; ++mode) {
    y.push_back(nibble_fuzz::multiply(tensor, x, mode));
    require(y.back().size() == x_rows * n);
  }
  const bool is_coded = nibble::describe(tensor.encoding()).is_quantized() &&
                        (tensor.encoding() != nibble::encoding::apr_q4 || k % 32 == 0);
  const double roundings = (static_cast<double>(k) + 8.0) * 0x1p-24;
  const double rounding = roundings / (1.0 - roundings);
  for (std::size_t i = 0; i < x_rows; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double product = 0.0;
      double magnitudes = 0.0;
      double parts = 0.0;
      double largest = 0.0;
      for (std::size_t block = 0; block < k; block += 32) {
        double largest_of_block = 0.0;
        double weights_of_block = 0.0;
        for (std::size_t at = block; at < std::min(k, block + 32); ++at) {
          const auto activation = static_cast<double>(x[i * k + at]);
          const auto weight = static_cast<double>(weights(j, at));
          product += activation * weight;
          magnitudes += std::fabs(activation * weight);
          parts += std::fabs(activation) * weights.parts(j, at);
          largest_of_block = std::max(largest_of_block, std::fabs(activation));
          weights_of_block += std::fabs(weight);
        }
        largest += largest_of_block * weights_of_block;
      }
      if (!(parts < 1e30) || !(magnitudes < 1e30)) continue;
      for (std::size_t mode = 0; mode < nibble_fuzz::multiply_modes; ++mode) {
        double bound = rounding * magnitudes;
        if (is_coded) bound = rounding * 1.01 * std::max(parts, magnitudes);
        if (is_coded && mode != 0) bound += largest / (mode == 1 ? 64000.0 : 253.0);
        // What falls below the normal numbers of f32 may lose half of their step, term by term.
        bound += static_cast<double>(k + 8) * 0x1p-126;
        require(std::fabs(static_cast<double>(y[mode][i * n + j]) - product) <= bound);
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider from(data, size);
  const auto which = static_cast<nibble::encoding>(
      from.ConsumeIntegralInRange<std::size_t>(0, nibble::encodings.size() - 1));
  if (!nibble::is_decodable(which)) return 0;
  const auto rows = from.ConsumeIntegralInRange<std::uint64_t>(0, 19);
  const auto cols = from.ConsumeIntegralInRange<std::uint64_t>(0, from.ConsumeBool() ? 70 : 530);
  const auto x_rows = from.ConsumeIntegralInRange<std::size_t>(1, from.ConsumeBool() ? 4 : 33);
  // Activations are eighths, so that they and not their rounding are what the bounds speak of.
  std::vector<float> x(x_rows * static_cast<std::size_t>(cols));
  const auto given_x = from.ConsumeBytes<std::int8_t>(std::min<std::size_t>(x.size(), 64));
  for (std::size_t i = 0; i < x.size() && !given_x.empty(); ++i) {
    x[i] = static_cast<float>(given_x[i * 7 % given_x.size()]) * 0.125F;
  }
  // Of exactly its size and at any alignment, so that no read beside it stays unseen.
  const auto size_bytes =
      static_cast<std::size_t>(*nibble::stored_bytes(which, nibble::shape{rows, cols}));
  const auto skipped = from.ConsumeIntegralInRange<std::size_t>(0, 3);
  std::vector<std::byte> memory(skipped + size_bytes);
  const auto given = from.ConsumeRemainingBytes<std::uint8_t>();
  for (std::size_t i = 0; i < size_bytes && !given.empty(); ++i) {
    memory[skipped + i] = static_cast<std::byte>(given[i % given.size()] + i / given.size());
  }
  const nibble::tensor_view tensor("w", which, nibble::shape{rows, cols},
                                   std::span<const std::byte>(memory).subspan(skipped));
  const std::vector<float> decoded = nibble_fuzz::decode(tensor);
  const std::vector<float> expected = decode_by_codec(tensor);
  require(decoded.size() == expected.size());
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    require(std::bit_cast<std::uint32_t>(decoded[i]) == std::bit_cast<std::uint32_t>(expected[i]) ||
            (std::isnan(decoded[i]) && std::isnan(expected[i])));
  }
  if (!x.empty()) check_products(tensor, x, x_rows);
  return 0;
}
