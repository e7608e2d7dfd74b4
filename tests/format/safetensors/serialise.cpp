#include <nibble/format/safetensors/serialise.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/planned_tensors.hpp>

using nibble::encoding;
using nibble::planned_tensor;
using nibble::safetensors::serialiser;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nibble_test::planned;
using nlohmann::json;

TEST_CASE("a safetensors header is written as the format says", "[safetensors_serialise]") {
  const serialiser made({planned("b", encoding::u8, {3}), planned("c", encoding::f32, {2, 1}),
                         planned("a", encoding::f16, {}), planned("z\"", encoding::f64, {0}),
                         planned("d", encoding::f32, {1})},
                        {{"format", "pt"}, {"n", 1}, {"list", {1, "x"}}});
  const std::string expected = R"({"__metadata__":{"format":"pt","list":"[1,\"x\"]","n":"1"},)"
                               R"("z\"":{"dtype":"F64","shape":[0],"data_offsets":[0,0]},)"
                               R"("c":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                               R"("d":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
                               R"("a":{"dtype":"F16","shape":[],"data_offsets":[12,14]},)"
                               R"("b":{"dtype":"U8","shape":[3],"data_offsets":[14,17]}})";
  const auto front = made.front({});
  CHECK(front.size() % 64 == 0);
  CHECK(nibble_test::number_at<std::uint64_t>(front, 0) == front.size() - 8);
  const std::string_view text = nibble_test::text_of(front).substr(8);
  CHECK(text.substr(0, expected.size()) == expected);
  CHECK(text.substr(expected.size()).find_first_not_of(' ') == std::string_view::npos);
  CHECK(text.size() - expected.size() < 64);
  CHECK(made.file_bytes() == front.size() + 17);
  CHECK(made.offset_bytes(1) == front.size());
  CHECK(made.offset_bytes(2) == front.size() + 8);
}

TEST_CASE("every tensor of a safetensors file is aligned to its dtype", "[safetensors_serialise]") {
  std::vector<planned_tensor> tensors;
  for (const encoding which :
       {encoding::u8, encoding::f16, encoding::f64, encoding::i8, encoding::i32, encoding::bf16,
        encoding::f32, encoding::i64, encoding::f6_e2m3, encoding::c64, encoding::f4, encoding::u16}) {
    const std::uint64_t unit = nibble::describe(which).block_elements;
    for (const std::uint64_t count : {1U, 3U, 5U}) {
      tensors.push_back(planned("t" + std::to_string(tensors.size()), which, {count * unit}));
    }
  }
  const serialiser made(tensors, json::object());
  for (std::size_t place = 0; place < tensors.size(); ++place) {
    const auto& row = nibble::describe(tensors[made.order()[place]].encoding);
    CHECK(made.offset_bytes(place) % (row.block_elements == 1 ? row.block_bytes : 1) == 0);
  }
}

TEST_CASE("the order of the plan changes no byte of a safetensors file", "[safetensors_serialise]") {
  nibble_test::require_order_changes_nothing(
      {planned("a", encoding::f32, {3}), planned("b", encoding::f16, {3}),
       planned("c", encoding::f32, {0}), planned("d", encoding::i8, {2})},
      [](const auto& tensors) {
        return serialiser(tensors, {{"k", "v"}}).front({});
      });
}

TEST_CASE("what is serialised as safetensors is parsed again", "[safetensors_serialise]") {
  const std::vector<planned_tensor> tensors = {
      planned("\xC3\xA9\n\"", encoding::bf16, {2, 3}), planned("", encoding::i64, {}),
      planned(std::string(5000, 'n'), encoding::f64, {1, 0, 2}), planned("x", encoding::u8, {7})};
  const serialiser made(tensors, {{"k\"", "v\n"}, {"empty", ""}});
  auto file = made.front({});
  file.resize(static_cast<std::size_t>(made.file_bytes()));
  const auto parsed = nibble::safetensors::parse(file);
  CHECK(parsed.metadata == json{{"k\"", "v\n"}, {"empty", ""}});
  REQUIRE(parsed.tensors.size() == tensors.size());
  for (std::size_t place = 0; place < tensors.size(); ++place) {
    const planned_tensor& tensor = tensors[made.order()[place]];
    CHECK(parsed.tensors[place].name == tensor.name);
    CHECK(parsed.tensors[place].encoding == tensor.encoding);
    CHECK(parsed.tensors[place].shape == tensor.shape);
    CHECK(parsed.tensors[place].file_offset_bytes == made.offset_bytes(place));
  }
}

TEST_CASE("what safetensors has no dtype for is refused", "[safetensors_serialise]") {
  for (const auto& row : nibble::encodings) {
    const auto result =
        outcome_of([&] { serialiser({planned("w", row.encoding, {256})}, json::object()); });
    if (row.family == nibble::encoding_family::plain) {
      CHECK(result.code == "taken");
    } else {
      CHECK(result.code == "unsupported_encoding");
      CHECK(missing_parts(result.message, {"'w'", std::string(row.name)}).empty());
    }
  }
}

TEST_CASE("elements narrower than a byte fill whole bytes or are refused", "[safetensors_serialise]") {
  for (const std::uint64_t count : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 8U}) {
    CAPTURE(count);
    const auto code_for = [&](encoding which) {
      return outcome_of([&] { serialiser({planned("w", which, {count})}, json::object()); }).code;
    };
    CHECK(code_for(encoding::f4) == (count % 2 == 0 ? "taken" : "bad_shape"));
    CHECK(code_for(encoding::f6_e2m3) == (count % 4 == 0 ? "taken" : "bad_shape"));
    CHECK(code_for(encoding::f6_e3m2) == (count % 4 == 0 ? "taken" : "bad_shape"));
  }
}

TEST_CASE("metadata that a safetensors file cannot hold is refused", "[safetensors_serialise]") {
  const auto code_for = [](const json& metadata) {
    return outcome_of([&] { serialiser({}, metadata); }).code;
  };
  CHECK(code_for({{"a", "\xFF"}}) == "bad_metadata");
  CHECK(code_for({{"a", {std::numeric_limits<double>::quiet_NaN()}}}) == "bad_metadata");
  CHECK(code_for(json(3)) == "bad_metadata");
  CHECK(code_for(json::array({1, 2})) == "bad_metadata");
  CHECK(code_for(json::object()) == "taken");
  CHECK(code_for({{"a", std::string(100'000'000, 'x')}}) == "bad_metadata");
}

TEST_CASE("a tensor cannot bear the name of safetensors' metadata", "[safetensors_serialise]") {
  const auto result =
      outcome_of([&] { serialiser({planned("__metadata__", encoding::f32, {1})}, json::object()); });
  CHECK(result.code == "bad_name");
  CHECK(missing_parts(result.message, {"__metadata__"}).empty());
}

TEST_CASE("a safetensors file over 2^64 bytes is refused", "[safetensors_serialise]") {
  const nibble::shape huge{std::uint64_t{1} << 60U};
  CHECK(outcome_of([&] {
          serialiser({planned("a", encoding::f64, huge), planned("b", encoding::f64, huge)},
                     json::object());
        }).code == "bad_layout");
}
