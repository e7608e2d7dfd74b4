#include <nibble/format/tensor_source.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/compute/quantize.hpp>

#include <support/apr_bytes.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::planned_tensor;
using nibble::shape;
using nibble::tensor_chunks;
using nibble::tensor_source;

namespace {

using bytes_t = std::vector<std::byte>;

planned_tensor planned(encoding which, const shape& dimensions) {
  return {"w", which, dimensions, *nibble::stored_bytes(which, dimensions)};
}

/// The chunks put together, asked for from the last to the first.
bytes_t joined(const planned_tensor& tensor, const tensor_source& source) {
  const tensor_chunks chunks(tensor, source, nullptr, [] {});
  bytes_t all(static_cast<std::size_t>(tensor.size_bytes), std::byte{0xEE});
  std::uint64_t end = tensor.size_bytes;
  for (std::size_t chunk = chunks.count(); chunk-- > 0;) {
    bytes_t buffer(3, std::byte{1});
    const auto bytes = chunks.bytes(chunk, buffer);
    CHECK(chunks.offset_bytes(chunk) + bytes.size() == end);
    end = chunks.offset_bytes(chunk);
    std::copy(bytes.begin(), bytes.end(), all.begin() + static_cast<std::ptrdiff_t>(end));
  }
  CHECK(end == 0);
  return all;
}

nibble::block_source blocks_of(const bytes_t& bytes, std::size_t block_bytes) {
  return [&bytes, block_bytes](std::uint64_t first, std::span<std::byte> to) {
    REQUIRE(to.size() % block_bytes == 0);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(first * block_bytes), to.size(),
                to.begin());
  };
}

}  // namespace

TEST_CASE("the chunks of every source are the tensor's bytes", "[tensor_source]") {
  for (const shape& dimensions : {shape{700, 173}, shape{3, 70001}, shape{5}, shape{}, shape{0, 4}}) {
    const auto values = nibble_test::gaussian(static_cast<std::size_t>(dimensions.elements()), 9);
    const auto cols = static_cast<std::ptrdiff_t>(dimensions.cols());
    const nibble::row_source rows = [&](std::uint64_t first, std::uint64_t, std::span<float> to) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first) * cols, to.size(), to.begin());
    };
    for (const encoding which : {encoding::f32, encoding::f16, encoding::q8, encoding::q4,
                                 encoding::apr_q8, encoding::apr_q4}) {
      CAPTURE(dimensions.to_string(), nibble::to_string(which));
      const planned_tensor tensor = planned(which, dimensions);
      bytes_t expected(static_cast<std::size_t>(tensor.size_bytes));
      nibble::quantize(which, dimensions, values, expected);
      const nibble::packing_options how{.rule = nibble::packing_rule::best};
      CHECK(joined(tensor, nibble::values_to_pack{values, how}) == expected);
      CHECK(joined(tensor, nibble::rows_to_pack{rows, how}) == expected);
      CHECK(joined(tensor, nibble::stored_in_memory{expected}) == expected);
      const auto& figures = nibble::describe(which);
      if (!figures.has_blocks()) continue;
      CHECK(joined(tensor, nibble::stored_on_demand{blocks_of(expected, figures.block_bytes)}) ==
            expected);
    }
  }
}

TEST_CASE("stored bytes come in whole blocks of about a mebibyte", "[tensor_source]") {
  for (const auto& [which, block_bytes] :
       {std::pair{encoding::u8, 1U}, {encoding::q4, 20U}, {encoding::q6_k, 210U}}) {
    const std::uint64_t chunk = (1U << 20U) / block_bytes * block_bytes;
    for (const std::uint64_t size : {chunk - block_bytes, chunk, chunk + block_bytes, 3 * chunk}) {
      const std::uint64_t elements = size / block_bytes * nibble::describe(which).block_elements;
      const planned_tensor tensor = planned(which, shape{elements});
      REQUIRE(tensor.size_bytes == size);
      const auto stored = nibble_test::random_bytes(static_cast<std::size_t>(size), 4);
      const tensor_source memory = nibble::stored_in_memory{stored};
      const tensor_chunks chunks(tensor, memory, nullptr, [] {});
      CHECK(chunks.count() == (size + chunk - 1) / chunk);
      bytes_t unused;
      const auto first = chunks.bytes(0, unused);
      CHECK(first.data() == stored.data());
      CHECK(unused.empty());
      CHECK(joined(tensor, memory) == stored);
      CHECK(joined(tensor, nibble::stored_on_demand{blocks_of(stored, block_bytes)}) == stored);
    }
  }
}

TEST_CASE("the scale of a whole tensor is found before the first chunk", "[tensor_source]") {
  const auto values = nibble_test::gaussian(3 * 70001, 2);
  const auto reads_of = [&](encoding which) {
    const planned_tensor tensor = planned(which, shape{3, 70001});
    const tensor_source source = nibble::values_to_pack{values, {.rule = nibble::packing_rule::best}};
    std::atomic<int> chunks_read{0};
    const tensor_chunks chunks(tensor, source, nullptr, [&] { ++chunks_read; });
    CHECK(chunks.name() == "w");
    return chunks_read.load();
  };
  CHECK(reads_of(encoding::apr_q8) == 2 * 3);
  CHECK(reads_of(encoding::q8) == 0);
}
