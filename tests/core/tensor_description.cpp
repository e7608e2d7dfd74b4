#include <nibble/core/tensor_description.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <nibble/core/tensor_view.hpp>

#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::error_code;
using nibble::shape;
using nibble::tensor_description;
using nibble::tensor_info;
using nibble::tensor_view;

// What has bytes can stand for what has none, and never the other way round.
static_assert(std::is_convertible_v<const tensor_view&, const tensor_description&>);
static_assert(!std::is_constructible_v<tensor_view, const tensor_description&>);

TEST_CASE("a description says what its entry says", "[tensor_description]") {
  const tensor_info info{.name = "k_proj.weight",
                         .encoding = encoding::q4,
                         .dtype_id = 8,
                         .dtype = "own",
                         .shape = {5, 2, 33},
                         .file_offset_bytes = 4096 + 64,
                         .size_bytes = 400,
                         .crc32 = 0xDEADBEEFU};
  const tensor_description tensor(info);
  CHECK(tensor.name().data() == info.name.data());
  CHECK(tensor.has_encoding());
  CHECK(tensor.encoding() == encoding::q4);
  CHECK(tensor.dtype_id() == 8U);
  CHECK(tensor.dtype_text() == "q4");
  CHECK(tensor.shape() == shape{5, 2, 33});
  CHECK(tensor.elements() == 330);
  CHECK(tensor.rows() == 10);
  CHECK(tensor.cols() == 33);
  CHECK(tensor.size_bytes() == 400);
  CHECK(tensor.packing_ratio() == 4.0 * 330 / 400);
  CHECK(tensor.file_offset_bytes() == 4160);
  CHECK(tensor.alignment_bytes() == 64);
  CHECK(tensor.crc32() == 0xDEADBEEFU);

  const tensor_info copy = tensor.info();
  CHECK(copy.name == info.name);
  CHECK(copy.name.data() != info.name.data());
  CHECK(copy.encoding == info.encoding);
  CHECK(copy.dtype_id == info.dtype_id);
  CHECK(copy.dtype == info.dtype);
  CHECK(copy.shape == info.shape);
  CHECK(copy.file_offset_bytes == info.file_offset_bytes);
  CHECK(copy.size_bytes == info.size_bytes);
  CHECK(copy.crc32 == info.crc32);
}

TEST_CASE("a description of nothing is an empty vector", "[tensor_description]") {
  const tensor_description tensor;
  CHECK(tensor.name().empty());
  CHECK(tensor.encoding() == encoding::f32);
  CHECK(tensor.elements() == 0);
  CHECK(tensor.size_bytes() == 0);
  CHECK_FALSE(tensor.packing_ratio());
  CHECK_FALSE(tensor.crc32());
}

TEST_CASE("rows beyond the tensor are refused, however large", "[tensor_description]") {
  const tensor_info info{.name = "w", .encoding = encoding::u8, .shape = {7, 3}, .size_bytes = 21};
  const tensor_description tensor(info);
  constexpr std::uint64_t huge = ~std::uint64_t{0};
  for (const std::uint64_t first :
       {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{7}, std::uint64_t{8}, huge, huge - 2}) {
    for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4},
                                      std::uint64_t{7}, std::uint64_t{8}, huge, huge - 2}) {
      CAPTURE(first, count);
      // By subtraction alone, so that nothing overflows.
      const bool is_inside = first <= 7 && count <= 7 - first;
      const auto thrown = nibble_test::error_of([&] { tensor.require_rows(first, count); });
      CHECK(thrown.has_value() == !is_inside);
      if (!thrown) continue;
      CHECK(thrown->code() == error_code::out_of_range);
      CHECK(thrown->detail().tensor == "w");
      CHECK(thrown->detail().expected == "within 7 rows");
    }
  }
}

TEST_CASE("rows of a view have a size and a place of their own, and no checksum",
          "[tensor_description]") {
  const auto bytes = nibble_test::random_bytes(10 * 2 * 20, 3);
  const tensor_info info{.name = "w",
                         .encoding = encoding::q4,
                         .shape = {5, 2, 33},
                         .file_offset_bytes = 128,
                         .size_bytes = bytes.size(),
                         .crc32 = 1};
  const tensor_view view(info, bytes);
  CHECK(view.crc32() == 1U);
  CHECK(view.size_bytes() == 400);
  const tensor_view rows = view.rows(3, 4);
  CHECK(rows.shape() == shape{4, 33});
  CHECK(rows.size_bytes() == 160);
  CHECK(rows.bytes().size() == 160);
  CHECK(rows.bytes().data() == bytes.data() + 120);
  CHECK(rows.file_offset_bytes() == 128 + 120);
  CHECK_FALSE(rows.crc32());

  const tensor_view host("host", encoding::q4, {5, 2, 33}, bytes);
  CHECK(host.size_bytes() == 400);
  CHECK_FALSE(host.crc32());
}
