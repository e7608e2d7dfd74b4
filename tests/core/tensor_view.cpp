#include <nibble/core/tensor_view.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/random_values.hpp>

namespace {

using nibble::encoding;
using nibble::error_code;
using nibble::shape;
using nibble::tensor_info;
using nibble::tensor_view;
using nibble_test::error_of;

TEST_CASE("a view of nothing is an empty f32 vector", "[tensor_view]") {
  const tensor_view nothing;
  CHECK(nothing.name().empty());
  CHECK(nothing.encoding() == encoding::f32);
  CHECK(nothing.shape() == shape{0});
  CHECK(nothing.elements() == 0);
  CHECK(nothing.bytes().empty());
  CHECK_FALSE(nothing.packing_ratio());
}

TEST_CASE("a view of host bytes refers to them and copies nothing", "[tensor_view]") {
  const auto bytes = nibble_test::random_bytes(64 * 6 * 36, 1);
  const tensor_view view("mlp.weight", encoding::q8, {64, 172}, bytes);
  CHECK(view.name() == "mlp.weight");
  CHECK(view.has_encoding());
  CHECK(view.encoding() == encoding::q8);
  CHECK(view.dtype_text() == "q8");
  CHECK_FALSE(view.dtype_id());
  CHECK(view.elements() == 64U * 172U);
  CHECK(view.rows() == 64);
  CHECK(view.cols() == 172);
  CHECK(view.bytes().data() == bytes.data());
  CHECK(view.bytes().size() == bytes.size());
  CHECK(view.packing_ratio() == 4.0 * 64 * 172 / (64 * 6 * 36));
  CHECK(view.file_offset_bytes() == 0);
}

TEST_CASE("a view refuses bytes of another number than encoding and shape need", "[tensor_view]") {
  const auto bytes = nibble_test::random_bytes(1000, 2);
  const auto refusal = [&](encoding which, const shape& dimensions, std::size_t size) {
    return error_of([&] {
      static_cast<void>(tensor_view("w\n", which, dimensions, std::span(bytes).first(size)));
    });
  };
  for (const encoding which : {encoding::q4, encoding::apr_q8, encoding::q6_k, encoding::f16}) {
    const shape dimensions{2, 33};
    const auto needed = static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions));
    CHECK_FALSE(refusal(which, dimensions, needed));
    for (const std::size_t wrong : {std::size_t{0}, needed - 1, needed + 1, needed * 2}) {
      const auto thrown = refusal(which, dimensions, wrong);
      REQUIRE(thrown);
      CHECK(thrown->code() == error_code::size_mismatch);
      CHECK(thrown->detail().tensor == "w\n");
      CHECK(thrown->detail().found == std::to_string(wrong));
      CHECK(thrown->detail().expected ==
            std::to_string(needed) + " for " + std::string(nibble::to_string(which)) + " of 2x33");
    }
  }
  CHECK_FALSE(refusal(encoding::apr_q8, {0, 7}, 0));
  REQUIRE(refusal(encoding::apr_q8, {0, 7}, 4));
  // A size that wraps must not pass for the few bytes it wraps to.
  const auto beyond = refusal(encoding::f64, {std::uint64_t{1} << 61U}, 0);
  REQUIRE(beyond);
  CHECK(beyond->code() == error_code::size_mismatch);
}

TEST_CASE("a view of a directory's entry says what the entry says", "[tensor_view]") {
  const auto bytes = nibble_test::random_bytes(40, 3);
  const tensor_info info{.name = "k_proj.weight",
                         .encoding = encoding::q4,
                         .dtype_id = 8,
                         .shape = {2, 32},
                         .file_offset_bytes = 4096 + 64,
                         .size_bytes = 40};
  const tensor_view view(info, bytes);
  CHECK(view.name().data() == info.name.data());
  CHECK(view.encoding() == encoding::q4);
  CHECK(view.dtype_id() == 8U);
  CHECK(view.dtype_text() == "q4");
  CHECK(view.shape() == shape{2, 32});
  CHECK(view.file_offset_bytes() == 4160);
  CHECK(view.bytes().data() == bytes.data());
}

TEST_CASE("a tensor of an unknown dtype is listed and refuses to name an encoding", "[tensor_view]") {
  const auto bytes = nibble_test::random_bytes(10, 4);
  const tensor_info by_id{.name = "odd\x1b", .dtype_id = 77, .shape = {10}, .size_bytes = 10};
  const tensor_view numbered(by_id, bytes);
  CHECK_FALSE(numbered.has_encoding());
  CHECK(numbered.dtype_text() == "id 77");
  CHECK(numbered.elements() == 10);
  CHECK(numbered.bytes().size() == 10);
  const auto thrown = error_of([&] { static_cast<void>(numbered.encoding()); });
  REQUIRE(thrown);
  CHECK(thrown->code() == error_code::unsupported_encoding);
  CHECK(thrown->detail().tensor == "odd\x1b");
  CHECK(thrown->detail().found == "id 77");

  const tensor_info by_name{.name = "odd", .dtype = "F8_E4M3", .shape = {10}, .size_bytes = 10};
  const tensor_view named(by_name, bytes);
  CHECK(named.dtype_text() == "F8_E4M3");
  CHECK_FALSE(named.dtype_id());
  const auto refused = error_of([&] { static_cast<void>(named.encoding()); });
  REQUIRE(refused);
  CHECK(refused->detail().found == "F8_E4M3");
}

TEST_CASE("alignment is the largest power of two up to a page that divides the offset",
          "[tensor_view]") {
  const auto alignment_at = [](std::uint64_t offset) {
    const tensor_info info{
        .name = "w", .encoding = encoding::f32, .shape = {0}, .file_offset_bytes = offset};
    return tensor_view(info, {}).alignment_bytes();
  };
  for (std::uint64_t offset = 1; offset < 20000; ++offset) {
    std::uint64_t expected = 1;
    while (expected < 4096 && offset % (expected * 2) == 0) expected *= 2;
    if (alignment_at(offset) != expected) FAIL(offset << " is said to lie on " << alignment_at(offset));
  }
  CHECK(alignment_at(0) == 4096);
  CHECK(alignment_at(std::uint64_t{1} << 40U) == 4096);
  CHECK(alignment_at((std::uint64_t{1} << 40U) + 8) == 8);
}

TEST_CASE("a view of columns refers to their blocks in every row", "[tensor_view]") {
  const auto bytes = nibble_test::random_bytes(10 * 3 * 20, 5);
  const tensor_info info{.name = "w",
                         .encoding = encoding::q4,
                         .shape = {5, 2, 70},
                         .file_offset_bytes = 128,
                         .size_bytes = bytes.size(),
                         .crc32 = 1};
  const tensor_view view(info, bytes);
  CHECK(view.is_contiguous());
  CHECK(view.row_stride_bytes() == 60);
  CHECK(view.data() == bytes.data());

  const tensor_view last = view.columns(32, 38);
  CHECK(last.name() == "w");
  CHECK(last.encoding() == encoding::q4);
  CHECK(last.shape() == shape{10, 38});
  CHECK(last.size_bytes() == 400);
  CHECK(last.file_offset_bytes() == 148);
  CHECK_FALSE(last.crc32());
  CHECK_FALSE(last.is_contiguous());
  CHECK(last.row_stride_bytes() == 60);
  for (std::uint64_t row = 0; row < 10; ++row) {
    CHECK(last.row_bytes(row).data() == bytes.data() + row * 60 + 20);
    CHECK(last.row_bytes(row).size() == 40);
  }

  // Rows of columns, and columns of rows.
  for (const tensor_view& part :
       {last.rows(3, 4), view.rows(3, 4).columns(32, 38), view.columns(32, 38).rows(1, 9).rows(2, 4),
        view.columns(0, 70).rows(3, 4).columns(32, 38).columns(0, 38)}) {
    CHECK(part.shape() == shape{4, 38});
    CHECK(part.size_bytes() == 160);
    CHECK(part.data() == bytes.data() + 200);
    CHECK(part.file_offset_bytes() == 128 + 200);
    CHECK(part.row_stride_bytes() == 60);
    CHECK_FALSE(part.is_contiguous());
    CHECK(part.columns(32, 6).data() == bytes.data() + 220);
    CHECK(part.columns(32, 6).size_bytes() == 80);
  }

  // One row has its bytes end to end, and so have all columns.
  CHECK(last.rows(9, 1).is_contiguous());
  CHECK(last.rows(9, 1).bytes().data() == bytes.data() + 560);
  CHECK(last.rows(9, 1).bytes().size() == 40);
  CHECK(view.columns(0, 70).is_contiguous());
  CHECK(view.columns(0, 70).bytes().data() == bytes.data());
  CHECK(view.columns(0, 70).bytes().size() == bytes.size());
  CHECK(view.columns(0, 70).shape() == shape{10, 70});
  for (const tensor_view& nothing :
       {view.columns(0, 0), view.columns(70, 0), view.columns(5, 0), last.rows(10, 0)}) {
    CHECK(nothing.elements() == 0);
    CHECK(nothing.size_bytes() == 0);
    CHECK(nothing.bytes().empty());
  }
}

TEST_CASE("rows and columns of interleaved rows are views of whole groups", "[tensor_view]") {
  // 20 rows are three groups of 8, 70 columns three blocks of 32: 480 bytes a group.
  const auto bytes = nibble_test::random_bytes(3 * 3 * 160, 9);
  const tensor_view view("w", encoding::q4_r8, {20, 70}, bytes);
  CHECK(view.block_rows() == 8);
  CHECK(view.block_row_stride_bytes() == 480);
  CHECK(view.row_stride_bytes() == 0);
  CHECK(tensor_view("w", encoding::f32, {3, 5}, nibble_test::random_bytes(60, 1)).block_rows() == 1);

  const tensor_view middle = view.rows(8, 8);
  CHECK(middle.shape() == shape{8, 70});
  CHECK(middle.bytes().data() == bytes.data() + 480);
  CHECK(middle.bytes().size() == 480);
  const tensor_view last = view.rows(8, 12);
  CHECK(last.bytes().size() == 960);
  CHECK(last.rows(8, 4).bytes().data() == bytes.data() + 960);
  CHECK(view.rows(0, 20).bytes().size() == bytes.size());
  CHECK(view.rows(3, 0).bytes().empty());

  const tensor_view columns = view.columns(32, 38);
  CHECK_FALSE(columns.is_contiguous());
  CHECK(columns.data() == bytes.data() + 160);
  CHECK(columns.size_bytes() == 3 * 320);
  CHECK(columns.block_row_stride_bytes() == 480);
  CHECK(columns.rows(16, 4).is_contiguous());
  CHECK(columns.rows(16, 4).bytes().data() == bytes.data() + 960 + 160);
  CHECK(columns.rows(16, 4).bytes().size() == 320);
  CHECK(columns.rows(8, 12).columns(32, 6).data() == bytes.data() + 480 + 320);
  CHECK(error_of([&] { static_cast<void>(columns.bytes()); })->detail().found ==
        "20 rows of columns, 480 bytes from one group to the next");

  const auto refusal = [](const auto& part) {
    const auto thrown = error_of(part);
    return thrown ? std::string(to_string(thrown->code())) : std::string("taken");
  };
  for (const tensor_view& of : {view, columns}) {
    CHECK(refusal([&] { static_cast<void>(of.rows(4, 8)); }) == "unsupported_encoding");
    CHECK(refusal([&] { static_cast<void>(of.rows(8, 4)); }) == "unsupported_encoding");
    CHECK(refusal([&] { static_cast<void>(of.rows(16, 3)); }) == "unsupported_encoding");
    CHECK(refusal([&] { static_cast<void>(of.rows(16, 5)); }) == "out_of_range");
    CHECK(refusal([&] { static_cast<void>(of.row_bytes(0)); }) == "unsupported_encoding");
    CHECK(refusal([&] { static_cast<void>(of.columns(8, 30)); }) == "unsupported_encoding");
  }
  const auto thrown = error_of([&] { static_cast<void>(view.rows(8, 4)); });
  CHECK(thrown->detail().field == "rows");
  CHECK(thrown->detail().found == "4 from row 8, stored as q4_r8 of 20x70");
  CHECK(thrown->detail().expected == "rows that are whole blocks");
}

TEST_CASE("no span of bytes passes for those of columns that lie apart", "[tensor_view]") {
  const auto bytes = nibble_test::random_bytes(4 * 2 * 20, 6);
  const tensor_view view("w", encoding::q4, {4, 64}, bytes);
  const auto thrown = error_of([&] { static_cast<void>(view.columns(32, 32).bytes()); });
  REQUIRE(thrown);
  CHECK(thrown->code() == error_code::invalid_argument);
  CHECK(thrown->detail().tensor == "w");
  CHECK(thrown->detail().field == "bytes");
  CHECK(thrown->detail().found == "4 rows of columns, 40 bytes apart");
}

TEST_CASE("columns that are not whole blocks, or not the tensor's, are refused", "[tensor_view]") {
  const auto refusal = [](encoding which, const shape& dimensions, std::uint64_t first,
                          std::uint64_t count) {
    const auto bytes = nibble_test::random_bytes(
        static_cast<std::size_t>(*nibble::stored_bytes(which, dimensions)), 7);
    const tensor_view view("w", which, dimensions, bytes);
    const auto thrown = error_of([&] { static_cast<void>(view.columns(first, count)); });
    if (!thrown) return std::string("taken");
    CHECK(thrown->detail().tensor == "w");
    CHECK(thrown->detail().field == "columns");
    return std::string(to_string(thrown->code()));
  };
  CHECK(refusal(encoding::q4, {3, 70}, 32, 32) == "taken");
  CHECK(refusal(encoding::q4, {3, 70}, 32, 38) == "taken");
  CHECK(refusal(encoding::q4, {3, 70}, 16, 32) == "unsupported_encoding");
  CHECK(refusal(encoding::q4, {3, 70}, 32, 37) == "unsupported_encoding");
  CHECK(refusal(encoding::q4, {3, 70}, 0, 71) == "out_of_range");
  CHECK(refusal(encoding::q4, {3, 70}, 71, 0) == "out_of_range");
  CHECK(refusal(encoding::q4, {3, 70}, 64, ~std::uint64_t{0}) == "out_of_range");
  CHECK(refusal(encoding::q6_k, {3, 512}, 256, 256) == "taken");
  CHECK(refusal(encoding::q6_k, {3, 512}, 32, 256) == "unsupported_encoding");
  // Elements of their own may be cut anywhere.
  CHECK(refusal(encoding::f32, {3, 7}, 1, 5) == "taken");
  CHECK(refusal(encoding::i8, {7}, 1, 5) == "taken");
  // Blocks that run along the tensor start with rows here, and do not there.
  CHECK(refusal(encoding::apr_q4, {3, 64}, 32, 32) == "taken");
  CHECK(refusal(encoding::apr_q4, {3, 65}, 32, 32) == "unsupported_encoding");
  CHECK(refusal(encoding::f4, {3, 8}, 2, 4) == "taken");
  CHECK(refusal(encoding::f4, {3, 8}, 1, 4) == "unsupported_encoding");
  CHECK(refusal(encoding::f4, {3, 7}, 2, 4) == "unsupported_encoding");
  // Their scale is before all codes.
  CHECK(refusal(encoding::apr_q8, {3, 64}, 32, 32) == "unsupported_encoding");
  CHECK(refusal(encoding::apr_q8, {3, 64}, 0, 64) == "taken");
  CHECK(refusal(encoding::apr_q8, {3, 64}, 7, 0) == "taken");

  const tensor_info unknown{.name = "w", .dtype_id = 77, .shape = {2, 5}, .size_bytes = 10};
  const auto bytes = nibble_test::random_bytes(10, 8);
  const tensor_view of_unknown(unknown, bytes);
  CHECK(of_unknown.row_stride_bytes() == 0);
  const auto thrown = error_of([&] { static_cast<void>(of_unknown.columns(0, 1)); });
  REQUIRE(thrown);
  CHECK(thrown->code() == error_code::unsupported_encoding);
}

}  // namespace
