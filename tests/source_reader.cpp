#include <nibble/source_reader.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/reader.hpp>
#include <nibble/writer.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>
#include <support/noted_source.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::source_reader;
using nibble::writer;
using nibble_test::missing_parts;
using nibble_test::noted_source;
using nibble_test::outcome_of;

namespace {

using file_bytes = std::vector<std::byte>;

/// A matrix of 24 x 96 in every encoding that can be packed, and one whose rows end in incomplete blocks.
file_bytes packed_file(nibble::container container) {
  const nibble_test::temporary_directory folder;
  const std::vector<float> values = nibble_test::gaussian(24 * 96, 3);
  writer out;
  for (const encoding which : {encoding::f32, encoding::f16, encoding::bf16, encoding::q8, encoding::q4,
                               encoding::apr_q8, encoding::apr_q4}) {
    if (container == nibble::container::safetensors && nibble::describe(which).is_quantized()) continue;
    out.add(which, std::string(nibble::to_string(which)), {24, 96}, values);
    out.add(which, fmt::format("{}.odd", nibble::to_string(which)), {24, 5},
            std::span(values).first(24 * 5));
  }
  out.metadata()["k"] = "v";
  out.write(folder / "file", {.container = container});
  return nibble_test::read_file(folder / "file");
}

std::vector<float> decoded(const nibble::tensor_view& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  nibble::dequantize(tensor, values);
  return values;
}

std::vector<float> decoded_rows(const nibble::tensor_view& tensor, std::uint64_t first,
                                std::uint64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count * tensor.cols()));
  nibble::dequantize_rows(tensor, first, count, values);
  return values;
}

}  // namespace

TEST_CASE("opening a source reads what stands before the tensors", "[source_reader]") {
  for (const auto container : {nibble::container::apr, nibble::container::safetensors}) {
    const noted_source source(packed_file(container));
    const nibble::reader whole(source.bytes());
    const source_reader in(source, "the source");
    const std::uint64_t front = whole.tensors()[0].file_offset_bytes();
    CHECK(source.take_count() <= 64 + front + 4);
    CHECK(in.container() == container);
    CHECK(in.name() == "the source");
    CHECK(in.metadata() == whole.metadata());
    CHECK(in.file_bytes() == source.bytes().size());
    REQUIRE(in.size() == whole.size());
    for (std::size_t i = 0; i < in.size(); ++i) {
      const nibble::tensor_view& expected = whole.tensors()[i];
      const nibble::tensor_description& found = in.tensors()[i];
      CHECK(found.name() == expected.name());
      CHECK(found.file_offset_bytes() == expected.file_offset_bytes());
      const auto loaded = in.load(found.name());
      CHECK(source.take_count() == expected.bytes().size());
      CHECK(std::ranges::equal(loaded.view().bytes(), expected.bytes()));
      CHECK(loaded.view().shape() == expected.shape());
      CHECK(loaded.view().encoding() == expected.encoding());
      CHECK(loaded.view().name() == found.name());
    }
    CHECK(in.contains("f16"));
    CHECK(in.find("f17") == nullptr);
    CHECK(outcome_of([&] { static_cast<void>(in.load("f17")); }).code == "no_such_tensor");
    CHECK(source.take_count() == 0);
  }
}

namespace {

/// What a reader of any kind says of its tensors: one function takes both.
template <class Reader>
std::vector<std::string> described(const Reader& in) {
  std::vector<std::string> lines;
  for (const auto& tensor : in) {
    lines.push_back(fmt::format(
        "{} {} {} {} {}x{} {} {} {} {} {} {}", tensor.name(), tensor.has_encoding(),
        nibble::to_string(tensor.encoding()), tensor.dtype_text(), tensor.rows(), tensor.cols(),
        tensor.elements(), tensor.size_bytes(), tensor.file_offset_bytes(), tensor.alignment_bytes(),
        tensor.crc32().value_or(0), tensor.packing_ratio().value_or(0.0)));
    CHECK(in.find(tensor.name()) == &tensor);
    CHECK(&in[tensor.name()] == &tensor);
    CHECK(in.contains(tensor.name()));
  }
  for (const nibble::finding& note : in.notes()) lines.push_back(note.field + note.text);
  lines.push_back(outcome_of([&] { static_cast<void>(in["q5"]); }).message);
  lines.push_back(fmt::format("{} {} {}", in.name(), in.size(), in.tensors().size()));
  return lines;
}

}  // namespace

TEST_CASE("a source's tensors answer to the same names as a file's", "[source_reader]") {
  for (const auto container : {nibble::container::apr, nibble::container::safetensors}) {
    const noted_source source(packed_file(container));
    const nibble::reader whole(source.bytes(), "both");
    const source_reader pieces(source, "both");
    CHECK(described(pieces) == described(whole));
  }
  // A list that is in no order, and a GGUF file, whose index of names parsing makes.
  for (const file_bytes& bytes :
       {nibble_test::apr_file{
            .tensors = {{.name = "a", .dimensions = {1}, .bytes = file_bytes(4), .offset = 192},
                        {.name = "b", .dimensions = {0}, .offset = 64},
                        {.name = "c", .dimensions = {2}, .bytes = file_bytes(8), .offset = 64}}}
            .bytes(),
        nibble_test::gguf_file{.tensors = {{"z", 0, {2}, file_bytes(8)}, {"y", 0, {2}, file_bytes(8)}}}
            .bytes()}) {
    const noted_source source(bytes);
    const nibble::reader whole(source.bytes(), "both");
    const source_reader pieces(source, "both");
    CHECK(described(pieces) == described(whole));
  }
}

TEST_CASE("what load gives is multiplied and decoded as it is", "[source_reader]") {
  const noted_source source(packed_file(nibble::container::apr));
  const nibble::reader whole(source.bytes());
  const source_reader far(source);
  const std::vector<float> x = nibble_test::gaussian(2 * 96, 8, 1.0F);
  std::vector<float> expected(2 * 24);
  std::vector<float> y(2 * 24);
  nibble::matmul(whole["q4"], x, expected);
  nibble::matmul(far.load("q4"), x, y);
  CHECK(y == expected);
  const nibble::loaded_tensor kept = far.load("q8");
  nibble::matmul(whole["q8"], x, expected);
  nibble::matmul(kept, x, y);
  CHECK(y == expected);

  std::vector<float> values(24 * 96);
  nibble::dequantize(far.load("q4"), values);
  CHECK(values == decoded(whole["q4"]));
  std::vector<float> some(3 * 96);
  nibble::dequantize_rows(kept, 5, 3, some);
  CHECK(some == decoded_rows(whole["q8"], 5, 3));
  const nibble::tensor_view converted = kept;
  CHECK(converted.name() == "q8");
  CHECK(converted.crc32() == whole["q8"].crc32());
  CHECK_FALSE(far.load_rows("q8", 5, 3).view().crc32());
}

TEST_CASE("rows of a source are read alone and are what they are in the tensor", "[source_reader]") {
  const noted_source source(packed_file(nibble::container::apr));
  const nibble::reader whole(source.bytes());
  const source_reader in(source);
  static_cast<void>(source.take_count());
  const std::vector<float> x = nibble_test::gaussian(96, 8, 1.0F);
  std::size_t refused = 0;
  for (const nibble::tensor_view& tensor : whole) {
    const std::string name(tensor.name());
    const auto& row = nibble::describe(tensor.encoding());
    for (std::uint64_t first = 0; first <= 24; ++first) {
      for (const std::uint64_t count : {0U, 1U, 7U, 8U, 24U}) {
        if (count > 24 - first) {
          CHECK(outcome_of([&] { static_cast<void>(in.load_rows(name, first, count)); }).code ==
                "out_of_range");
          CHECK(outcome_of([&] { static_cast<void>(tensor.rows(first, count)); }).code ==
                "out_of_range");
          continue;
        }
        CAPTURE(name, first, count);
        const std::vector<float> expected = decoded_rows(tensor, first, count);
        // Five columns of apr_q4 fill whole blocks together only now and then.
        const bool is_cut = count != 0 && tensor.encoding() == encoding::apr_q4 &&
                            (first * tensor.cols() % 32 != 0 ||
                             (first + count != 24 && (first + count) * tensor.cols() % 32 != 0));
        if (is_cut) {
          for (const auto& result :
               {outcome_of([&] { static_cast<void>(in.load_rows(name, first, count)); }),
                outcome_of([&] { static_cast<void>(tensor.rows(first, count)); })}) {
            CHECK(result.code == "unsupported_encoding");
            CHECK(missing_parts(result.message, {name, "apr_q4", "whole blocks"}).empty());
          }
          ++refused;
          continue;
        }
        const auto loaded = in.load_rows(name, first, count);
        const nibble::tensor_view part = loaded.view();
        CHECK(source.take_count() == part.bytes().size());
        CHECK(part.shape() == nibble::shape({count, tensor.cols()}));
        CHECK(part.bytes().size() == nibble::stored_bytes(part.encoding(), part.shape()));
        CHECK(decoded(part) == expected);
        if (row.header_bytes != 0 && count != 0 && count != 24) {
          CHECK(outcome_of([&] { static_cast<void>(tensor.rows(first, count)); }).code ==
                "unsupported_encoding");
          ++refused;
        } else {
          const nibble::tensor_view view = tensor.rows(first, count);
          CHECK(std::ranges::equal(view.bytes(), part.bytes()));
          if (count != 0) {
            CHECK(view.bytes().data() == whole.tensors()[0].bytes().data() + view.file_offset_bytes() -
                                             whole.tensors()[0].file_offset_bytes());
          }
          CHECK(decoded(view) == expected);
        }
        if (tensor.cols() != 96 || count == 0) continue;
        std::vector<float> all(24);
        std::vector<float> some(static_cast<std::size_t>(count));
        nibble::matmul(tensor, x, all);
        nibble::matmul(part, x, some);
        CHECK(std::ranges::equal(some,
                                 std::span(all).subspan(static_cast<std::size_t>(first), some.size())));
      }
    }
  }
  CHECK(refused > 50);
}

TEST_CASE("a tensor that was damaged on the way is told by its checksum", "[source_reader]") {
  file_bytes bytes = packed_file(nibble::container::apr);
  const std::uint64_t at = nibble::reader(bytes)["q4"].file_offset_bytes() + 77;
  bytes[static_cast<std::size_t>(at)] ^= std::byte{16};
  const noted_source source(std::move(bytes));
  const source_reader in(source, "far away");
  const auto result = outcome_of([&] { static_cast<void>(in.load("q4")); });
  CHECK(result.code == "damaged");
  CHECK(missing_parts(result.message, {"far away", "'q4'", "crc32"}).empty());
  CHECK_NOTHROW(in.load("q8"));
}

TEST_CASE("what is wrong with a file is found in a source as well", "[source_reader]") {
  const file_bytes whole = packed_file(nibble::container::apr);
  const file_bytes other = packed_file(nibble::container::safetensors);
  const auto code_of_source = [](file_bytes bytes) {
    const noted_source source(std::move(bytes));
    return outcome_of([&] { source_reader in(source); }).code;
  };
  std::mt19937 generator(4);
  for (const file_bytes& good : {whole, other}) {
    CHECK(code_of_source(good) == "taken");
    for (int turn = 0; turn < 400; ++turn) {
      file_bytes bytes = good;
      if (turn % 2 == 0) {
        bytes.resize(turn < 200 ? static_cast<std::size_t>(turn) : generator() % bytes.size());
      } else {
        bytes[generator() % std::min<std::size_t>(bytes.size(), 2500)] ^= std::byte{1};
      }
      const auto expected =
          outcome_of([&] { nibble::reader in{std::span<const std::byte>(bytes)}; }).code;
      CHECK(code_of_source(bytes) == expected);
    }
  }
  CHECK(code_of_source({}) == "unknown_container");

  // An index that cannot be one is not read, however large the file says that it is.
  file_bytes lie = nibble_test::apr_file{}.bytes();
  lie.resize(1U << 20U);
  nibble_test::put_number(lie, 32, std::uint64_t{1U << 20U});
  nibble_test::seal_header(lie);
  const noted_source source(lie);
  const auto result = outcome_of([&] { source_reader in(source, "far away"); });
  CHECK(result.code == "bad_index");
  CHECK(missing_parts(result.message, {"far away", "index"}).empty());
  CHECK(source.take_count() == 64);
}

TEST_CASE("what a source throws passes through", "[source_reader]") {
  class failing_source final : public nibble::byte_source {
   public:
    [[nodiscard]] std::uint64_t size_bytes() const override { return 1000; }
    void read_at(std::uint64_t, std::span<std::byte>) const override {
      throw std::runtime_error("the line is down");
    }
  };
  const failing_source source;
  CHECK_THROWS_WITH(source_reader(source), "the line is down");
}
