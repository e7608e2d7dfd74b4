#include <nibble/kernel/decode.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <fmt/format.h>

#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/guarded_memory.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::tensor_view;
using nibble_test::any_stored_bytes;
using nibble_test::decodable_encodings;
using nibble_test::guarded_memory;
using nibble_test::independent_decoder;
using nibble_test::placed;
using best = nibble::simd::best_architecture;
using twin = nibble::simd::portable;

constexpr float sentinel = -12345.0F;

TEST_CASE("the vector kernels equal the scalar codec bit for bit", "[decode]") {
  // NaN payloads aside, which format/README.md does not compare.
  const auto check = [&]<nibble::BlockCodec Codec>(Codec) {
    using block = typename Codec::block;
    const auto bytes = nibble_test::random_bytes(3000 * sizeof(block), 7);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(block)) {
      block scalar_block;
      std::memcpy(&scalar_block, bytes.data() + at, sizeof(block));
      std::array<float, Codec::block_elements> scalar{};
      std::array<float, Codec::block_elements> vectored{};
      Codec::unpack(scalar_block, scalar);
      nibble::kernel::decode_block<best, Codec>(bytes.data() + at, vectored.data());
      if (nibble_test::first_difference(scalar, vectored) != -1) FAIL("best, block at " << at);
      nibble::kernel::decode_block<twin, Codec>(bytes.data() + at, vectored.data());
      if (nibble_test::first_difference(scalar, vectored) != -1) FAIL("portable, block at " << at);
    }
  };
  std::size_t codecs = 0;
  for (const encoding which : decodable_encodings) {
    nibble::visit_codec(which, "w", [&]<nibble::Codec Codec>(Codec codec) {
      // A ScalarCodec has no kernel but its own unpack.
      if constexpr (nibble::BlockCodec<Codec> && !nibble::ScalarCodec<Codec>) {
        check(codec);
        ++codecs;
      }
    });
  }
  CHECK(codecs == 16);
}

TEMPLATE_TEST_CASE("a run is decoded from any element on for any length", "[decode]", best, twin) {
  constexpr std::size_t elements = 340;
  for (const encoding which : decodable_encodings) {
    const auto bytes = any_stored_bytes(which, 1, elements, 5);
    const auto expected = independent_decoder(nibble::to_string(which), bytes, elements).rows(0, 1);
    // Across the first two ends of blocks.
    const std::size_t start = nibble::describe(which).block_cols() == 256 ? 200 : 0;
    nibble::visit_codec(which, "w", [&]<nibble::Codec Codec>(Codec) {
      for (std::size_t first = start; first <= start + 70; ++first) {
        for (std::size_t count = 0; count <= 70; ++count) {
          std::array<float, 72> values;
          values.fill(sentinel);
          if constexpr (nibble::InterleavedCodec<Codec>) {
            nibble::kernel::decode_lane<TestType, Codec>(bytes.data(), 0, first, count,
                                                         values.data() + 1);
          } else {
            nibble::kernel::decode_range<TestType, Codec>(bytes.data(), first, count,
                                                          values.data() + 1);
          }
          const auto found = std::span(values).subspan(1, count);
          const bool right =
              nibble_test::first_difference(found, std::span(expected).subspan(first, count)) == -1 &&
              values[0] == sentinel && values[count + 1] == sentinel;
          if (!right)
            FAIL(fmt::format("{}: {} elements from {}", nibble::to_string(which), count, first));
        }
      }
    });
  }
  SUCCEED("every run");
}

TEMPLATE_TEST_CASE("values copied past the caches are those that are not, and nothing beside them",
                   "[decode]", best, twin) {
  namespace kernel = nibble::kernel;
  std::vector<float> values(4200);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  for (const std::size_t count : {0U, 1U, 15U, 16U, 17U, 31U, 32U, 33U, 100U, 4095U, 4160U}) {
    for (std::size_t offset = 0; offset < 17; ++offset) {
      alignas(64) std::array<float, 4200> to;
      to.fill(-1.0F);
      kernel::copy_past_caches<TestType>(values.data() + offset % 5, count, to.data() + offset);
      nibble::simd::order_stores_past_caches(TestType{});
      for (std::size_t i = 0; i < to.size(); ++i) {
        const bool is_inside = i >= offset && i < offset + count;
        if (to[i] != (is_inside ? values[i - offset + offset % 5] : -1.0F)) {
          FAIL(count << " floats at " << offset << ": " << i);
        }
      }
    }
  }
  for (const encoding which : decodable_encodings) {
    for (const std::uint64_t cols : {1U, 31U, 97U, 4099U, 9000U}) {
      const auto bytes = any_stored_bytes(which, 3, cols, 77);
      const auto expected = independent_decoder(nibble::to_string(which), bytes, cols).rows(0, 3);
      const tensor_view view("w", which, {3, cols}, bytes);
      const auto decoder = kernel::decoder_of<TestType>(view);
      for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
        const guarded_memory<float> to(static_cast<std::size_t>(2 * cols), where);
        kernel::decode_rows<TestType>(decoder, view, 1, 2, true, to.span().data());
        for (std::size_t i = 0; i < to.span().size(); ++i) {
          if (!nibble_test::is_same_float(to.span()[i], expected[static_cast<std::size_t>(cols) + i])) {
            FAIL(nibble::to_string(which) << " " << cols << " columns: " << i);
          }
        }
      }
    }
  }
  SUCCEED("every encoding");
}

}  // namespace
