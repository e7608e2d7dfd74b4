#include <nibble/format/apr/serialise.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/apr/parse.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/planned_tensors.hpp>

using nibble::encoding;
using nibble::planned_tensor;
using nibble::apr::serialiser;
using nibble_test::missing_parts;
using nibble_test::number_at;
using nibble_test::outcome_of;
using nibble_test::planned;
using nlohmann::json;

namespace {

json metadata_of(const std::vector<std::byte>& front) {
  const auto size = number_at<std::uint32_t>(front, 20);
  return json::parse(nibble_test::text_of(std::span(front).subspan(64, size)));
}

json metadata_for(std::vector<planned_tensor> tensors, json metadata = json::object()) {
  const std::size_t count = tensors.size();
  serialiser made(std::move(tensors), std::move(metadata));
  return metadata_of(made.front(std::vector<std::uint32_t>(count)));
}

std::uint16_t flags_for(std::vector<planned_tensor> tensors, json metadata = json::object()) {
  const std::size_t count = tensors.size();
  serialiser made(std::move(tensors), std::move(metadata));
  return number_at<std::uint16_t>(made.front(std::vector<std::uint32_t>(count)), 6);
}

}  // namespace

TEST_CASE("the front of a file is that of Python's struct, json and zlib", "[apr_serialise]") {
  serialiser made({planned("w.c", encoding::apr_q8, {3}), planned("w.a", encoding::f32, {2}),
                   planned("w.b", encoding::q4, {1, 32})},
                  {{"architecture", "llama"}});
  const std::vector<std::uint32_t> sums = {0x0A1B2C3D, 0x99887766, 0xDEADBEEF};
  CHECK(made.front(sums) ==
        nibble_test::bytes_of_hex(
            "4150520002002004030000004000000000000000300100008001000000000000000200000000000052b3dfe9"
            "00000000000000000000000000000000000000007b22617263686974656374757265223a226c6c616d61222c"
            "226e6962626c65223a7b226372633332223a2230613162326333643939383837373636646561646265656622"
            "2c227061636b696e67223a5b7b22626c6f636b5f6279746573223a342c22626c6f636b5f656c656d656e7473"
            "223a312c22656e636f64696e67223a22663332227d2c7b22626c6f636b5f6279746573223a32302c22626c6f"
            "636b5f656c656d656e7473223a33322c22656e636f64696e67223a227134227d2c7b22656e636f64696e6722"
            "3a226170725f7138227d5d2c2274656e736f7273223a22303030313032222c2276657273696f6e223a317d2c"
            "227175616e74697a6174696f6e223a7b2262697473223a342c22626c6f636b5f73697a65223a33322c227175"
            "616e745f74797065223a227134227d7d000000000000000000000000000000000300772e6100010200000000"
            "000000000000000000000008000000000000000300772e620802010000000000000020000000000000004000"
            "00000000000014000000000000000300772e6381010300000000000000800000000000000007000000000000"
            "00000000000000000000000000000000000000000000000000000000"));
  CHECK(std::ranges::equal(made.order(), std::vector<std::size_t>{1, 2, 0}));
  CHECK(made.offset_bytes(0) == 512);
  CHECK(made.offset_bytes(1) == 576);
  CHECK(made.offset_bytes(2) == 640);
  CHECK(made.data_end() == 704);
  CHECK(made.file_bytes() == 704 + 4);
}

TEST_CASE("the order of the plan changes no byte", "[apr_serialise]") {
  const std::vector<std::uint32_t> sums = {1, 2, 3, 4, 5};
  nibble_test::require_order_changes_nothing(
      {planned("\xC3\xA9", encoding::f16, {3}), planned("a", encoding::q8, {5, 40}),
       planned("Z", encoding::apr_q4, {2, 7}), planned("a.10", encoding::f32, {}),
       planned("a.9", encoding::q4, {0, 3})},
      [&](const auto& tensors) {
        serialiser made(tensors, {{"k", 1}});
        for (std::size_t place = 1; place < 5; ++place) {
          CHECK(tensors[made.order()[place - 1]].name < tensors[made.order()[place]].name);
        }
        return made.front(sums);
      });
}

TEST_CASE("what the serialiser places, the parser finds without a note", "[apr_serialise]") {
  std::vector<planned_tensor> tensors;
  for (std::size_t i = 0; i < nibble::encodings.size(); ++i) {
    if (!nibble::encodings[i].apr_dtype_id) continue;
    for (const nibble::shape& shape :
         {nibble::shape{}, {7}, {0, 3}, {3, 300}, {2, 1, 3, 1, 1, 2, 1, 256}}) {
      tensors.push_back(
          planned("t" + std::to_string(tensors.size()), nibble::encodings[i].encoding, shape));
    }
  }
  serialiser made(tensors, {{"k", "v"}});
  auto file = made.front(std::vector<std::uint32_t>(tensors.size(), 7));
  file.resize(static_cast<std::size_t>(made.file_bytes()));
  const auto parsed = nibble::apr::parse(file);
  CHECK(parsed.notes.empty());
  REQUIRE(parsed.tensors.size() == tensors.size());
  for (std::size_t place = 0; place < tensors.size(); ++place) {
    const planned_tensor& tensor = tensors[made.order()[place]];
    const nibble::tensor_info& found = parsed.tensors[place];
    CHECK(found.name == tensor.name);
    CHECK(found.encoding == tensor.encoding);
    CHECK(found.shape == tensor.shape);
    CHECK(found.size_bytes == tensor.size_bytes);
    CHECK(found.file_offset_bytes == made.offset_bytes(place));
    CHECK(found.file_offset_bytes % 64 == 0);
    CHECK(found.crc32 == 7U);
    CHECK(found.dtype_id == static_cast<std::uint32_t>(
                                nibble_test::figures_of(nibble::to_string(tensor.encoding)).dtype_id));
  }
}

TEST_CASE("what .apr has no dtype id for is refused by name", "[apr_serialise]") {
  std::size_t refused = 0;
  for (const auto& row : nibble::encodings) {
    const auto result = nibble_test::outcome_of(
        [&] { serialiser({planned("w", row.encoding, {256})}, json::object()); });
    CAPTURE(row.name);
    if (row.apr_dtype_id) {
      CHECK(result.code == "taken");
    } else {
      CHECK(result.code == "unsupported_encoding");
      CHECK(nibble_test::missing_parts(result.message, {"'w'", std::string(row.name), ".apr"}).empty());
      ++refused;
    }
  }
  CHECK(refused == 14);
}

TEST_CASE("no checksum moves a byte", "[apr_serialise]") {
  serialiser made({planned("a", encoding::q4, {5, 5}), planned("b", encoding::f32, {3})},
                  json::object());
  const auto zeros = made.front(std::vector<std::uint32_t>{0, 0});
  const auto ones = made.front(std::vector<std::uint32_t>{0xFFFFFFFF, 0xFFFFFFFF});
  REQUIRE(zeros.size() == ones.size());
  CHECK(zeros.size() == made.offset_bytes(0));
  std::size_t different = 0;
  for (std::size_t i = 0; i < zeros.size(); ++i) different += zeros[i] != ones[i] ? 1U : 0U;
  CHECK(different == 16);
}

TEST_CASE("the quantization object tells other programs what they can read", "[apr_serialise]") {
  SECTION("nothing quantized") {
    const json metadata =
        metadata_for({planned("a", encoding::f32, {3}), planned("b", encoding::i8, {3})});
    CHECK_FALSE(metadata.contains("quantization"));
  }
  SECTION("a former file's object does not survive") {
    CHECK_FALSE(metadata_for({planned("a", encoding::f16, {3})}, {{"quantization", {{"bits", 4}}}})
                    .contains("quantization"));
    CHECK(metadata_for({planned("a", encoding::apr_q4, {3})},
                       {{"quantization", {{"bits", 9}, {"more", 1}}}})["quantization"] ==
          json{{"quant_type", "apr_q4"}, {"bits", 4}, {"block_size", 32}, {"symmetric", true}});
  }
  SECTION("apr_q8") {
    CHECK(metadata_for({planned("a", encoding::apr_q8, {3})})["quantization"] ==
          json{{"quant_type", "apr_q8"}, {"bits", 8}, {"block_size", nullptr}, {"symmetric", true}});
  }
  SECTION("an encoding with a min is not symmetric") {
    CHECK(metadata_for({planned("a", encoding::q4_1, {32})})["quantization"]["symmetric"] == false);
  }
  SECTION("q4 or q8 anywhere leaves symmetric out") {
    CHECK(metadata_for({planned("a", encoding::q4, {3})})["quantization"] ==
          json{{"quant_type", "q4"}, {"bits", 4}, {"block_size", 32}});
    CHECK(metadata_for({planned("a", encoding::q8, {3})})["quantization"] ==
          json{{"quant_type", "q8"}, {"bits", 8}, {"block_size", 32}});
    CHECK(metadata_for({planned("a", encoding::apr_q8, {1000}),
                        planned("b", encoding::q8, {3})})["quantization"] ==
          json{{"quant_type", "apr_q8"}, {"bits", 8}, {"block_size", nullptr}});
    CHECK_FALSE(metadata_for({planned("a", encoding::apr_q8, {1000}),
                              planned("b", encoding::q4, {0})})["quantization"]
                    .contains("symmetric"));
  }
  SECTION("of several encodings the one of most elements is named") {
    CHECK(metadata_for({planned("a", encoding::apr_q8, {60}), planned("b", encoding::apr_q4, {50}),
                        planned("c", encoding::apr_q4, {11}),
                        planned("d", encoding::f32, {500})})["quantization"]["quant_type"] == "apr_q4");
  }
}

TEST_CASE("flags say row-major, quantized and vocabulary", "[apr_serialise]") {
  CHECK(flags_for({planned("a", encoding::f32, {3})}) == 0x400);
  CHECK(flags_for({planned("a", encoding::q4, {3})}) == 0x420);
  CHECK(flags_for({planned("a", encoding::apr_q8, {3})}) == 0x420);
  CHECK(flags_for({planned("a", encoding::f32, {3})}, {{"tokenizer.vocabulary", {"a"}}}) == 0x600);
  CHECK(flags_for({planned("a", encoding::q8, {3})}, {{"tokenizer.vocabulary", {"a"}}}) == 0x620);
  CHECK(flags_for({planned("a", encoding::f32, {3})}, {{"quantization", {{"bits", 4}}}}) == 0x400);
}

TEST_CASE("metadata is kept as it is, but for what the library says itself", "[apr_serialise]") {
  const json given{
      {"z", 1}, {"a", {1, 2.5, nullptr, true, {{"deep", "\xC3\xA9"}}}}, {"", ""}, {"nibble", "mine"}};
  json kept = metadata_for({planned("a", encoding::f32, {3})}, given);
  CHECK(kept["nibble"].is_object());
  kept["nibble"] = "mine";
  CHECK(kept == given);
}

TEST_CASE("metadata that a file cannot hold is refused", "[apr_serialise]") {
  const auto refused = [](const json& metadata) {
    return outcome_of([&] { serialiser({}, metadata); });
  };
  for (const json& wrong : {json(1), json("text"), json(nullptr), json::array({1}), json(true)}) {
    const auto result = refused(wrong);
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"metadata", "a JSON object"}).empty());
  }
  CHECK(refused({{"a", std::numeric_limits<double>::quiet_NaN()}}).code == "bad_metadata");
  CHECK(refused({{"a", {std::numeric_limits<double>::infinity()}}}).code == "bad_metadata");
  CHECK(refused({{"a", "\xFF"}}).code == "bad_metadata");
  CHECK(refused({{"a", json::binary({1})}}).code == "bad_metadata");
  CHECK(outcome_of([&] { serialiser({}, {{"a", 1}}); }).code == "taken");
}

TEST_CASE("metadata ends at 64 MiB", "[apr_serialise]") {
  const auto with_text = [](std::size_t bytes) { return json{{"a", std::string(bytes, 'x')}}; };
  const std::size_t overhead = metadata_for({}, with_text(0)).dump().size();
  const std::size_t most = (std::size_t{64} << 20U) - overhead;
  CHECK(outcome_of([&] { serialiser({}, with_text(most)); }).code == "taken");
  const auto result = outcome_of([&] { serialiser({}, with_text(most + 1)); });
  CHECK(result.code == "bad_metadata");
  CHECK(missing_parts(result.message, {"67108865", "67108864"}).empty());
}

TEST_CASE("a file over 2^64 bytes is refused before anything is written", "[apr_serialise]") {
  const nibble::shape huge{std::uint64_t{1} << 60U};  // 2^63 bytes as f64
  const auto result = outcome_of([&] {
    serialiser({planned("a", encoding::f64, huge), planned("b", encoding::f64, huge)}, json::object());
  });
  CHECK(result.code == "bad_layout");
  CHECK(missing_parts(result.message, {"file size", "2^64"}).empty());
}
