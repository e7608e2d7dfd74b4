#include <nibble/checkpoint/scale_grid.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nibble/core/tensor_view.hpp>

#include <support/catch.hpp>
#include <support/outcome.hpp>

using nibble::encoding;
using nibble::fit_scale_grid;
using nibble::scale_block;
using nibble::shape;
using nibble_test::missing_parts;
using nibble_test::outcome_of;

namespace {

/// Scales that are their own places.
struct numbered_scales {
  std::vector<float> values;
  nibble::tensor_view view;

  explicit numbered_scales(const shape& dimensions) : values(dimensions.elements()) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    view = nibble::tensor_view("l.scale", encoding::f32, dimensions, std::as_bytes(std::span(values)));
  }
};

}  // namespace

TEST_CASE("every element has the scale of its block", "[scale_grid]") {
  using place_of = std::function<std::uint64_t(std::uint64_t, std::uint64_t, std::uint64_t)>;
  struct row {
    shape weight;
    shape scales;
    place_of place;  ///< of matrix, row in it, column
  };
  const std::vector<scale_block> blocks = {{4, 3}};
  const std::vector<row> rows = {
      {{10, 7}, {}, [](auto, auto, auto) { return 0; }},
      {{10, 7}, {1}, [](auto, auto, auto) { return 0; }},
      {{10, 7}, {1, 1}, [](auto, auto, auto) { return 0; }},
      {{10, 7}, {10}, [](auto, auto r, auto) { return r; }},
      {{10, 7}, {10, 1}, [](auto, auto r, auto) { return r; }},
      {{10, 7}, {1, 7}, [](auto, auto, auto c) { return c; }},
      {{10, 7}, {3, 3}, [](auto, auto r, auto c) { return r / 4 * 3 + c / 3; }},
      {{10, 7}, {3, 1, 3, 1}, [](auto, auto r, auto c) { return r / 4 * 3 + c / 3; }},
      {{2, 10, 7}, {2, 3, 3}, [](auto m, auto r, auto c) { return m * 9 + r / 4 * 3 + c / 3; }},
      {{2, 10, 7}, {2, 10}, [](auto m, auto r, auto) { return m * 10 + r; }},
      {{2, 10, 7}, {2, 10, 1}, [](auto m, auto r, auto) { return m * 10 + r; }},
      {{2, 10, 7}, {2, 1, 7}, [](auto m, auto, auto c) { return m * 7 + c; }},
      {{2, 10, 7}, {2}, [](auto m, auto, auto) { return m; }},
      {{2, 10, 7}, {2, 1, 1}, [](auto m, auto, auto) { return m; }},
      {{2, 10, 7}, {1}, [](auto, auto, auto) { return 0; }},
  };
  for (const auto& [weight, of_scales, place] : rows) {
    CAPTURE(weight.to_string(), of_scales.to_string());
    const numbered_scales scales(of_scales);
    const auto grid = fit_scale_grid("l.weight", weight, scales.view, encoding::f32, blocks);
    for (std::uint64_t r = 0; r < weight.rows(); ++r) {
      std::uint64_t next = 0;
      grid.for_each_run(r, weight.cols(),
                        [&](std::uint64_t first, std::uint64_t end, std::uint64_t at) {
                          REQUIRE(first == next);
                          REQUIRE(end > first);
                          for (std::uint64_t c = first; c < end; ++c) {
                            REQUIRE(grid.scales[at] == static_cast<float>(place(r / 10, r % 10, c)));
                          }
                          next = end;
                        });
      REQUIRE(next == weight.cols());
    }
  }
}

TEST_CASE("scales that fit no rule are refused with both shapes", "[scale_grid]") {
  const std::vector<scale_block> blocks = {{4, 3}};
  struct row {
    shape weight;
    shape scales;
  };
  for (const auto& [weight, of_scales] : std::vector<row>{{{10, 7}, {7}},
                                                          {{10, 7}, {3}},
                                                          {{10, 7}, {2, 3}},
                                                          {{10, 7}, {3, 4}},
                                                          {{10, 7}, {10, 7}},
                                                          {{10, 7}, {0}},
                                                          {{7}, {7}},
                                                          {{2, 10, 7}, {10}},
                                                          {{2, 10, 7}, {3, 3}},
                                                          {{2, 10, 7}, {2, 3, 1, 3, 1}}}) {
    CAPTURE(weight.to_string(), of_scales.to_string());
    const numbered_scales scales(of_scales);
    const auto refused = outcome_of([&] {
      static_cast<void>(fit_scale_grid("l.weight", weight, scales.view, encoding::f32, blocks));
    });
    CHECK(refused.code == "bad_scheme");
    CHECK(missing_parts(refused.message,
                        {"'l.weight'", "l.scale", weight.to_string(), of_scales.to_string()})
              .empty());
  }
  const std::vector<std::byte> wide(80);
  const nibble::tensor_view f64("l.scale", encoding::f64, {10}, wide);
  CHECK(outcome_of([&] {
          static_cast<void>(fit_scale_grid("l.weight", {10, 7}, f64, encoding::f64, blocks));
        }).code == "bad_scheme");
}
