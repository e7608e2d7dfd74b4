#include <nibble/core/composed_weight.hpp>

#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/tensor_view.hpp>

#include <support/catch.hpp>
#include <support/outcome.hpp>

using nibble::composed_weight;
using nibble::tensor_view;
using nibble_test::missing_parts;
using nibble_test::outcome_of;

TEST_CASE("a composed weight says what it is and decodes the rows that are asked for",
          "[composed_weight]") {
  std::vector<std::uint64_t> asked;
  const composed_weight weight(
      "l.weight", "fp8", {4, 3}, 640, 77,
      [&](std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
        asked = {first_row, row_count, values.size()};
        for (std::size_t i = 0; i < values.size(); ++i)
          values[i] = static_cast<float>(3 * first_row + i);
      });
  CHECK(weight.name() == "l.weight");
  CHECK(weight.scheme() == "fp8");
  CHECK(weight.shape() == nibble::shape{4, 3});
  CHECK(weight.file_offset_bytes() == 640);
  CHECK(weight.size_bytes() == 77);
  std::vector<float> values(6);
  weight.decode_rows(1, 2, values);
  CHECK(asked == std::vector<std::uint64_t>{1, 2, 6});
  CHECK(values == std::vector<float>{3, 4, 5, 6, 7, 8});
}

TEST_CASE("the view of a composed weight has its name and shape, and neither encoding nor bytes",
          "[composed_weight]") {
  const composed_weight weight("l.weight", "gptq", {4, 3}, 640, 77,
                               [](std::uint64_t, std::uint64_t, std::span<float>) {});
  const tensor_view view(weight);
  CHECK(view.composed() == &weight);
  CHECK(view.name() == "l.weight");
  CHECK(view.shape() == nibble::shape{4, 3});
  CHECK(view.rows() == 4);
  CHECK(view.cols() == 3);
  CHECK(view.size_bytes() == 77);
  CHECK(view.file_offset_bytes() == 640);
  CHECK(view.dtype_text() == "gptq");
  CHECK_FALSE(view.has_encoding());
  CHECK(view.bytes().empty());
  for (const auto& refused : {outcome_of([&] { static_cast<void>(view.encoding()); }),
                              outcome_of([&] { static_cast<void>(view.rows(0, 1)); }),
                              outcome_of([&] { static_cast<void>(view.columns(0, 3)); }),
                              outcome_of([&] { static_cast<void>(view.columns(1, 1)); })}) {
    CHECK(refused.code == "unsupported_encoding");
    CHECK(missing_parts(refused.message, {"'l.weight'", "gptq"}).empty());
  }
  CHECK(tensor_view().composed() == nullptr);
}
