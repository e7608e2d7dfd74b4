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

}  // namespace
