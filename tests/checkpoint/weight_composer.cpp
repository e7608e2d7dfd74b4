#include <nibble/checkpoint/weight_composer.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <support/catch.hpp>
#include <support/outcome.hpp>

using nibble::encoding;
using nibble::tensor_view;
using nibble::weight_composer;
using nibble_test::missing_parts;
using nibble_test::outcome_of;

namespace {

/// Five tensors of 8 bytes: two of a weight, one that scales inputs, two plain ones.
struct stored_tensors {
  std::vector<std::byte> bytes = std::vector<std::byte>(8);
  std::vector<tensor_view> views;

  stored_tensors() {
    for (const char* const name : {"a.weight", "l.input_scale", "l.qweight", "l.scales", "z.weight"}) {
      views.emplace_back(name, encoding::f32, nibble::shape{2}, bytes);
    }
  }
};

}  // namespace

TEST_CASE("a weight stands where its codes stood, its parts are listed no more", "[weight_composer]") {
  const stored_tensors stored;
  weight_composer composer(stored.views);
  CHECK(composer.stored().size() == 5);
  CHECK(composer.find("l.scales") == &stored.views[3]);
  CHECK(composer.find("l.zeros") == nullptr);
  for (const tensor_view& each : stored.views) CHECK(composer.is_free(each));
  composer.leave_out(stored.views[1], "it scales inputs");
  composer.add("l.weight", "gptq", {4, 6}, stored.views[2], {&stored.views[3], nullptr},
               [](std::uint64_t, std::uint64_t, std::span<float>) {});
  CHECK(composer.size() == 1);
  for (std::size_t i = 0; i < stored.views.size(); ++i) {
    CHECK(composer.is_free(stored.views[i]) == (i == 0 || i == 4));
  }
  const weight_composer::result made = std::move(composer).finish();
  REQUIRE(made.tensors.size() == 3);
  CHECK(made.tensors[0].name() == "a.weight");
  CHECK(made.tensors[1].name() == "l.weight");
  CHECK(made.tensors[1].composed() == made.weights[0].get());
  CHECK(made.tensors[1].size_bytes() == 16);
  CHECK(made.tensors[1].shape() == nibble::shape{4, 6});
  CHECK(made.tensors[2].name() == "z.weight");
  REQUIRE(made.notes.size() == 1);
  CHECK(made.notes[0].tensor == "l.input_scale");
  CHECK(made.notes[0].text.find("it scales inputs") != std::string::npos);
}

TEST_CASE("parts that are missing or of another shape are refused by name", "[weight_composer]") {
  const stored_tensors stored;
  const weight_composer composer(stored.views);
  CHECK(&composer.require("l.weight", "l.scales", "gptq") == &stored.views[3]);
  const auto missing =
      outcome_of([&] { static_cast<void>(composer.require("l.weight", "l.qzeros", "gptq")); });
  CHECK(missing.code == "bad_scheme");
  CHECK(missing_parts(missing.message, {"'l.weight'", "l.qzeros", "gptq"}).empty());
  weight_composer::require_shape("l.weight", stored.views[3], encoding::f32, {2});
  for (const auto& [dtype, shape] :
       {std::pair(encoding::f16, nibble::shape{2}), std::pair(encoding::f32, nibble::shape{2, 1})}) {
    const auto refused = outcome_of([&, &dtype = dtype, &shape = shape] {
      weight_composer::require_shape("l.weight", stored.views[3], dtype, shape);
    });
    CHECK(refused.code == "bad_scheme");
    CHECK(missing_parts(refused.message, {"'l.weight'", "l.scales", "f32 of 2", shape.to_string()})
              .empty());
  }
}

TEST_CASE("the module of a part's name", "[weight_composer]") {
  CHECK(nibble::without_ending("l.qweight", ".qweight") == "l");
  CHECK(nibble::without_ending(".qweight", ".qweight") == "");
  CHECK(nibble::without_ending("l.weight", ".qweight") == std::nullopt);
}
