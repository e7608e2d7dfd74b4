#include <nibble/format/gguf/serialise.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/tensor_info.hpp>
#include <nibble/format/apr/serialise.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/safetensors/serialise.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>
#include <support/planned_tensors.hpp>

using nibble::encoding;
using nibble::planned_tensor;
using nibble::gguf::serialiser;
using nibble_test::byte_list;
using nibble_test::gguf_file;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using nibble_test::planned;
using nlohmann::json;

namespace {

/// The sample without the type that this library does not know, sorted as it is written.
gguf_file sample_as_written() {
  gguf_file file = nibble_test::sample_gguf_file();
  std::erase_if(file.tensors, [](const auto& tensor) { return tensor.name == "other"; });
  std::ranges::sort(file.tensors, {}, &nibble_test::gguf_tensor::name);
  std::ranges::sort(file.metadata, {}, &nibble_test::gguf_value::key);
  return file;
}

const std::vector<planned_tensor>& sample_plan() {
  static const std::vector<planned_tensor> plan = {planned("token_embd.weight", encoding::f32, {3, 5}),
                                                   planned("blk.1.q", encoding::q4_0, {2, 64}),
                                                   planned("blk.0.k", encoding::q4_k, {3, 1, 256}),
                                                   planned("norm", encoding::f16, {7}),
                                                   planned("scalar", encoding::f64, {}),
                                                   planned("none", encoding::q8_0, {0, 32}),
                                                   planned("last", encoding::i8, {2, 1, 1, 3})};
  return plan;
}

/// The whole file that a serialiser plans, with these tensors' bytes.
byte_list file_of(const serialiser& made, const gguf_file& sorted) {
  byte_list file = made.front({});
  file.resize(static_cast<std::size_t>(made.file_bytes()));
  for (std::size_t place = 0; place < sorted.tensors.size(); ++place) {
    std::ranges::copy(sorted.tensors[place].bytes,
                      file.begin() + static_cast<std::ptrdiff_t>(made.offset_bytes(place)));
  }
  return file;
}

}  // namespace

TEST_CASE("a GGUF file is written as the format says, byte for byte", "[gguf_serialise]") {
  const serialiser made({planned("w", encoding::f16, {2, 3}), planned("b", encoding::i8, {5})},
                        {{"general.alignment", 64}, {"k", "v"}});
  const byte_list front = made.front({});
  byte_list expected = nibble_test::bytes_of_hex(
      "47475546 03000000 0200000000000000 0200000000000000"
      // general.alignment: u32 64
      "1100000000000000 67656e6572616c2e616c69676e6d656e74 04000000 40000000"
      // k: str v
      "0100000000000000 6b 08000000 0100000000000000 76"
      // b: 1 dimension, i8, at 0
      "0100000000000000 62 01000000 0500000000000000 18000000 0000000000000000"
      // w: 2 dimensions, innermost first, f16, at 64
      "0100000000000000 77 02000000 0300000000000000 0200000000000000 01000000 4000000000000000");
  CHECK(expected.size() < 192);
  expected.resize(192);
  CHECK(front == expected);
  CHECK(made.offset_bytes(0) == 192);
  CHECK(made.offset_bytes(1) == 256);
  CHECK(made.file_bytes() == 320);
  CHECK(std::vector<std::size_t>(made.order().begin(), made.order().end()) ==
        std::vector<std::size_t>{1, 0});
}

TEST_CASE("what was parsed is written again as it stood, every value of it", "[gguf_serialise]") {
  for (const bool has_alignment : {false, true}) {
    gguf_file sorted = sample_as_written();
    if (has_alignment) {
      sorted.alignment = 128;
      sorted.metadata.push_back({"general.alignment", nibble_test::gguf_id::u32,
                                 nibble_test::number_bytes(std::uint32_t{128})});
      std::ranges::sort(sorted.metadata, {}, &nibble_test::gguf_value::key);
    }
    const byte_list file = sorted.bytes();
    const json metadata = nibble::gguf::parse(file).metadata;
    CHECK(file_of(serialiser(sample_plan(), metadata), sorted) == file);
    // Through text, as an .apr file holds it.
    CHECK(file_of(serialiser(sample_plan(), json::parse(metadata.dump())), sorted) == file);
  }
}

TEST_CASE("the order of the plan changes no byte of a GGUF file", "[gguf_serialise]") {
  nibble_test::require_order_changes_nothing(
      {planned("a", encoding::f32, {3}), planned("b", encoding::f16, {3}),
       planned("c", encoding::f32, {0}), planned("d", encoding::i8, {2})},
      [](const auto& tensors) {
        return serialiser(tensors, {{"k", "v"}}).front({});
      });
}

TEST_CASE("every encoding goes out under its own type, its twin's or not at all", "[gguf_serialise]") {
  const std::map<encoding, encoding> twins = {{encoding::q4, encoding::q4_1},
                                              {encoding::apr_q4, encoding::q4_0}};
  std::size_t taken = 0;
  for (const nibble::encoding_description& row : nibble::encodings) {
    CAPTURE(row.name);
    const auto twin = twins.find(row.encoding);
    const encoding stored = twin == twins.end() ? row.encoding : twin->second;
    const auto make = [&] {
      return serialiser({planned("w", row.encoding, {2, 256})}, json::object());
    };
    if (nibble::describe(stored).gguf_type) {
      auto file = make().front({});
      file.resize(static_cast<std::size_t>(make().file_bytes()));
      const auto parsed = nibble::gguf::parse(file);
      CHECK(parsed.tensors[0].encoding == stored);
      CHECK(parsed.tensors[0].dtype_id == *nibble::describe(stored).gguf_type);
      CHECK(parsed.notes.empty());
      ++taken;
    } else {
      const auto result = outcome_of([&] { static_cast<void>(make()); });
      CHECK(result.code == "unsupported_encoding");
      CHECK(missing_parts(result.message, {"'w'", std::string(row.name), "GGUF"}).empty());
    }
  }
  CHECK(taken == 35);
}

TEST_CASE("what GGUF cannot hold is refused by name", "[gguf_serialise]") {
  struct row {
    planned_tensor tensor;
    std::string code;
    std::vector<std::string> named;
  };
  const std::string longest(63, 'n');
  const std::vector<row> rows = {
      {planned(longest, encoding::f32, {1}), "taken", {}},
      {planned(longest + "n", encoding::f32, {1}), "bad_name", {longest, "64 bytes", "less than 64"}},
      {planned("w", encoding::f32, {1, 1, 1, 1}), "taken", {}},
      {planned("w", encoding::f32, {1, 1, 1, 1, 1}), "bad_shape", {"'w'", "5 dimensions", "at most 4"}},
      {planned("w", encoding::q4_1, {2, 33}), "bad_shape", {"'w'", "2x33", "q4_1", "blocks of 32"}},
      {planned("w", encoding::q6_k, {2, 128}), "bad_shape", {"'w'", "2x128", "blocks of 256"}},
      {planned("w", encoding::q8_0, {}), "bad_shape", {"'w'", "scalar"}},
      {planned("w", encoding::q8_0, {0, 5}), "bad_shape", {"'w'", "0x5"}},
      {planned("w", encoding::q8_0, {5, 0}), "taken", {}},
      {planned("w", encoding::f32, {std::uint64_t{1} << 63U, 0}), "bad_shape", {"'w'", "below 2^63"}},
      {planned("w", encoding::f64, {std::uint64_t{1} << 60U}), "bad_layout", {"2^63"}},
  };
  for (const row& one : rows) {
    const auto result = outcome_of([&] { serialiser({one.tensor}, json::object()); });
    CHECK(result.code == one.code);
    CHECK(missing_parts(result.message, one.named) == "");
  }
}

TEST_CASE("an alignment that is none is refused", "[gguf_serialise]") {
  for (const json& wrong : {json(0), json(33), json(-32), json(1U << 21U), json("32"), json(32.0),
                            json(nullptr), json::array({32})}) {
    const auto result = outcome_of([&] { serialiser({}, {{"general.alignment", wrong}}); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"general.alignment", "1048576"}).empty());
  }
  CHECK(serialiser({}, {{"general.alignment", 1U << 20U}}).file_bytes() == 1U << 20U);
  CHECK(serialiser({}, json::object()).file_bytes() == 32);
  CHECK(outcome_of([] { serialiser({}, json::array()); }).code == "bad_metadata");
}

TEST_CASE("a type that is not known goes back under its own id, and nowhere else", "[gguf_serialise]") {
  gguf_file sorted = nibble_test::sample_gguf_file();
  std::ranges::sort(sorted.tensors, {}, &nibble_test::gguf_tensor::name);
  std::ranges::sort(sorted.metadata, {}, &nibble_test::gguf_value::key);
  const byte_list file = sorted.bytes();
  const auto read = nibble::gguf::parse(file);
  std::vector<planned_tensor> plan;
  for (const nibble::tensor_info& tensor : read.tensors) {
    plan.push_back({.name = tensor.name,
                    .encoding = tensor.encoding.value_or(encoding::u8),
                    .shape = tensor.shape,
                    .size_bytes = tensor.size_bytes});
    if (tensor.encoding) continue;
    plan.back().unknown_dtype = {.container = nibble::container::gguf,
                                 .id = tensor.dtype_id.value_or(0)};
  }
  CHECK(file_of(serialiser(plan, read.metadata), sorted) == file);

  const auto as = [&](auto kind) {
    return outcome_of([&] { static_cast<void>(decltype(kind)(plan, json::object())); });
  };
  const nibble::apr::serialiser apr({}, json::object());
  const nibble::safetensors::serialiser safetensors({}, json::object());
  const planned_tensor unknown = *std::ranges::find(plan, "other", &planned_tensor::name);
  plan = {unknown};
  CHECK(missing_parts(as(apr).message, {"'other'", "unsupported_encoding", "id 36"}) == "");
  CHECK(missing_parts(as(safetensors).message, {"'other'", "unsupported_encoding", "id 36"}) == "");
  plan[0].unknown_dtype = {.container = nibble::container::safetensors, .name = "X7"};
  CHECK(missing_parts(as(serialiser({}, json::object())).message,
                      {"'other'", "unsupported_encoding", "X7"}) == "");
  CHECK(as(safetensors).code == "taken");
}
