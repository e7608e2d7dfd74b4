#include <nibble/verify.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/nibble.hpp>
#include <nibble/source_reader.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>
#include <support/noted_source.hpp>

using nibble::reader;
using nibble_test::apr_file;
using nibble_test::apr_tensor;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::put_number;
using nibble_test::recorded_sample;
using nibble_test::tame_tensor;

namespace {

using file_bytes = std::vector<std::byte>;

/// A file that records its packing, of tensors stored as the encodings named.
file_bytes recorded(std::vector<apr_tensor> tensors, const std::vector<std::string>& encodings) {
  const std::string record = nibble_test::record_text(tensors, encodings);
  return apr_file{.metadata = "{\"nibble\":" + record + "}", .tensors = std::move(tensors)}.bytes();
}

file_bytes stored_floats(const std::vector<float>& values) {
  file_bytes bytes(values.size() * 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    put_number(bytes, 4 * i, std::bit_cast<std::uint32_t>(values[i]));
  }
  return bytes;
}

/// A matrix of ones with so many zeros at its front.
apr_tensor matrix_with_zeros(std::uint64_t rows, std::uint64_t cols, std::size_t zeros,
                             float zero = 0.0F) {
  std::vector<float> values(static_cast<std::size_t>(rows * cols), 1.0F);
  std::fill_n(values.begin(), zeros, zero);
  return {.name = "m", .dimensions = {rows, cols}, .bytes = stored_floats(values)};
}

std::vector<std::string> texts_of(const std::vector<nibble::finding>& findings) {
  std::vector<std::string> texts;
  for (const nibble::finding& one : findings) {
    texts.push_back(fmt::format("{} {}|{}|{}",
                                one.severity == nibble::finding::kind::problem ? "problem" : "note",
                                one.tensor, one.field, one.text));
  }
  return texts;
}

std::vector<std::string> findings_of(const file_bytes& file, nibble::executor* on = nullptr) {
  return texts_of(reader(file).examine({.executor = on}));
}

outcome verified(const file_bytes& file) {
  return outcome_of([&] { reader(file, "the file").verify(); });
}

/// One thread a task, last task first.
class threads_executor final : public nibble::executor {
 public:
  void run(std::size_t tasks, nibble::task_reference body) override {
    std::vector<std::thread> threads;
    for (std::size_t task = tasks; task-- > 0;) threads.emplace_back([=] { body(task); });
    for (std::thread& thread : threads) thread.join();
  }
};

}  // namespace

TEST_CASE("examining a GGUF file tells its layout and its values", "[verify]") {
  nibble_test::gguf_file file{
      .metadata = {{"general.alignment", nibble_test::gguf_id::u32,
                    nibble_test::number_bytes(std::uint32_t{4})}},
      .tensors = {{"fine", 0, {2}, nibble_test::bytes_of_hex("0000803f 00000040")},
                  {"nan", 0, {2}, nibble_test::bytes_of_hex("0000c07f 00000040")},
                  {"other", 36, {2}, nibble_test::bytes_of_hex("00000000")}},
      .alignment = 4};
  const auto bytes = file.bytes();
  const reader in(bytes);
  std::string found;
  for (const nibble::finding& one : in.examine()) {
    found +=
        fmt::format("{} {} {};", one.severity == nibble::finding::kind::problem ? "problem" : "note",
                    one.tensor, one.field);
  }
  CHECK(found == "note  general.alignment;problem nan values;note other dtype;");
  const outcome result = outcome_of([&] { in.verify(); });
  CHECK(result.code == "damaged");
  CHECK(missing_parts(result.message, {"'nan'", "1 NaN"}).empty());
}

TEST_CASE("a sound file has nothing to be found", "[verify]") {
  CHECK(findings_of(recorded_sample().bytes()).empty());
  CHECK(verified(recorded_sample().bytes()).code == "taken");
  CHECK(findings_of(apr_file{}.bytes()).empty());
}

TEST_CASE("every bit of a recorded file that flips is found by opening or verifying", "[verify]") {
  const file_bytes whole = recorded(
      {tame_tensor("a", "f32", {1, 3}), tame_tensor("b", "q4", {33}), tame_tensor("c", "apr_q8", {5})},
      {"f32", "q4", "apr_q8"});
  REQUIRE(verified(whole).code == "taken");
  file_bytes file = whole;
  std::map<std::string, int> caught;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      file[at] ^= static_cast<std::byte>(1 << bit);
      const std::string code = verified(file).code;
      if (code == "taken") FAIL_CHECK("bit " << bit << " of byte " << at << " flipped unseen");
      ++caught[code];
      file[at] = whole[at];
    }
  }
  CHECK(caught["damaged"] > 1000);
  CHECK(caught["header_checksum"] > 400);
}

TEST_CASE("a tensor whose bytes are not those recorded is named by verify", "[verify]") {
  file_bytes file = recorded_sample().bytes();
  {
    const reader in(file);
    const auto at = static_cast<std::size_t>(in["g.q4"].file_offset_bytes());
    file[at + 30] ^= std::byte{1};
  }
  // With a right footer, so that only the tensor's own checksum speaks.
  nibble_test::seal_footer(file);
  const outcome result = verified(file);
  CHECK(result.code == "damaged");
  CHECK(
      missing_parts(result.message, {"the file", "tensor 'g.q4'", "crc32", "recorded CRC-32"}).empty());
  const auto findings = findings_of(file);
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].starts_with("problem g.q4|crc32|"));
}

TEST_CASE("a wrong footer is found by verify, with a record or without", "[verify]") {
  for (const apr_file& sample :
       {recorded_sample(), apr_file{.tensors = {tame_tensor("a", "f32", {3})}}}) {
    file_bytes file = sample.bytes();
    file.back() ^= std::byte{0x10};
    const auto findings = findings_of(file);
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].starts_with("problem |footer|"));
    CHECK(missing_parts(verified(file).message, {"footer", "CRC-32"}).empty());
  }
}

TEST_CASE("verify names every problem there is", "[verify]") {
  file_bytes file = recorded_sample().bytes();
  {
    const reader in(file);
    file[static_cast<std::size_t>(in["a.apr_q4"].file_offset_bytes()) + 3] ^= std::byte{1};
    file[static_cast<std::size_t>(in["h.q8"].file_offset_bytes()) + 3] ^= std::byte{1};
  }
  CHECK(missing_parts(verified(file).message, {"footer", "'a.apr_q4' crc32", "'h.q8' crc32"}).empty());
}

TEST_CASE("scales that are not finite are found", "[verify]") {
  struct row {
    std::string encoding;
    std::vector<std::uint64_t> dimensions;
    std::size_t at;  ///< of a 16-bit scale or min
  };
  const std::vector<row> rows = {{"q4", {2, 40}, 0},  {"q4", {2, 40}, 2},  {"q4", {2, 40}, 62},
                                 {"q8", {1, 64}, 0},  {"q8", {1, 64}, 38}, {"apr_q4", {50}, 0},
                                 {"apr_q4", {50}, 18}};
  for (const row& one : rows) {
    for (const std::uint16_t bits :
         {std::uint16_t{0x7C00}, std::uint16_t{0xFC00}, std::uint16_t{0x7E00}, std::uint16_t{0x7C01}}) {
      CAPTURE(one.encoding, one.at, bits);
      apr_tensor tensor = tame_tensor("w", one.encoding, one.dimensions);
      put_number(tensor.bytes, one.at, bits);
      const auto findings = findings_of(recorded({tensor}, {one.encoding}));
      REQUIRE_FALSE(findings.empty());
      CHECK(missing_parts(findings[0], {"problem w|scales|1 "}).empty());
      CHECK(verified(recorded({tensor}, {one.encoding})).code == "damaged");
    }
  }
  for (const std::uint32_t bits : {0x7F800000U, 0xFF800000U, 0x7FC00000U, 0x7F800001U}) {
    apr_tensor tensor = tame_tensor("w", "apr_q8", {5});
    put_number(tensor.bytes, 0, bits);
    CHECK(
        missing_parts(findings_of(recorded({tensor}, {"apr_q8"}))[0], {"problem w|scales|1 "}).empty());
  }
}

TEST_CASE("NaN and infinity among plain values are found and counted", "[verify]") {
  apr_tensor tensor{.name = "w", .dimensions = {6}, .bytes = stored_floats({1, 2, 3, 4, 5, 6})};
  put_number(tensor.bytes, 4, std::uint32_t{0x7FC00000});
  put_number(tensor.bytes, 8, std::uint32_t{0xFF800000});
  put_number(tensor.bytes, 20, std::uint32_t{0x7F800001});
  const auto findings = findings_of(recorded({tensor}, {"f32"}));
  REQUIRE(findings.size() == 1);
  CHECK(missing_parts(findings[0], {"problem w|values", "2 NaN", "1 infinite", "of 6"}).empty());
  apr_tensor half = tame_tensor("w", "f16", {4});
  put_number(half.bytes, 6, std::uint16_t{0x7C00});
  CHECK(missing_parts(findings_of(recorded({half}, {"f16"}))[0], {"0 NaN", "1 infinite"}).empty());
}

TEST_CASE("doubles beyond f32 are finite, and those that are not are found", "[verify]") {
  const auto of_doubles = [](const std::vector<double>& values) {
    apr_tensor tensor{.name = "w", .dtype_id = 3, .dimensions = {1, values.size()}};
    for (const double value : values) {
      nibble_test::append_number(tensor.bytes, std::bit_cast<std::uint64_t>(value));
    }
    return findings_of(recorded({tensor}, {"f64"}));
  };
  CHECK(of_doubles({1e300, -1e300, 1e-320, 0.0}).empty());
  const auto findings = of_doubles({std::bit_cast<double>(std::uint64_t{0x7FF0000000000001}), 1.0,
                                    std::bit_cast<double>(std::uint64_t{0xFFF0000000000000}), 1e300,
                                    std::bit_cast<double>(std::uint64_t{0xFFF8000000000000})});
  REQUIRE(findings.size() == 1);
  CHECK(missing_parts(findings[0], {"problem w|values", "2 NaN", "1 infinite", "of 5"}).empty());
  CHECK(of_doubles({0.0, -0.0, 0.0, 0.0, 1.0}).empty());
  CHECK(of_doubles({0.0, -0.0, 0.0, 0.0, 0.0}).size() == 1);
}

TEST_CASE("a matrix of more than 80 % zeros is found, at the border exactly", "[verify]") {
  const auto is_found = [](std::uint64_t rows, std::uint64_t cols, std::size_t zeros,
                           float zero = 0.0F) {
    const auto findings = findings_of(recorded({matrix_with_zeros(rows, cols, zeros, zero)}, {"f32"}));
    for (const std::string& found : findings) {
      CHECK(missing_parts(found, {"problem m|values", "zeros", "80 %"}).empty());
    }
    return !findings.empty();
  };
  CHECK_FALSE(is_found(10, 10, 80));
  CHECK(is_found(10, 10, 81));
  CHECK(is_found(10, 10, 81, -0.0F));
  for (std::uint64_t elements = 1; elements <= 31; ++elements) {
    const std::size_t most = elements * 8 / 10;
    CAPTURE(elements, most);
    CHECK_FALSE(is_found(1, elements, most));
    CHECK(is_found(1, elements, most + 1));
  }
  // Vectors may be zero, biases are: that is worth a note.
  for (const apr_tensor& zero :
       {apr_tensor{.name = "b", .dimensions = {50}, .bytes = stored_floats(std::vector<float>(50))},
        apr_tensor{.name = "b", .bytes = stored_floats({0.0F})}}) {
    const auto findings = findings_of(recorded({zero}, {"f32"}));
    REQUIRE(findings.size() == 1);
    CHECK(missing_parts(findings[0], {"note b|values", "all zeros"}).empty());
  }
  CHECK(findings_of(recorded({{.name = "b", .bytes = stored_floats({1.0F})}}, {"f32"})).empty());
}

TEST_CASE("packed zeros are counted as they decode", "[verify]") {
  // min 0 and all codes 0 decode to zeros; in the row's second block the spare codes do not count.
  apr_tensor tensor{.name = "w", .dtype_id = 8, .dimensions = {2, 33}, .bytes = file_bytes(80)};
  for (std::size_t block = 0; block < 4; ++block) {
    put_number(tensor.bytes, 20 * block, std::uint16_t{0x3C00});
  }
  CHECK(missing_parts(findings_of(recorded({tensor}, {"q4"}))[0], {"100.0 % zeros"}).empty());
  const auto set_to_ones = [&](std::size_t block, std::size_t codes) {
    for (std::size_t j = 0; j < codes; ++j)
      tensor.bytes[20 * block + 4 + j % 16] |= j < 16 ? std::byte{1} : std::byte{16};
  };
  set_to_ones(0, 13);
  CHECK(
      missing_parts(findings_of(recorded({tensor}, {"q4"}))[0], {"80.3 % zeros"}).empty());  // 53 of 66
  set_to_ones(0, 14);
  CHECK(findings_of(recorded({tensor}, {"q4"})).empty());  // 52 of 66
}

TEST_CASE("what opening noted, examine lists, and verify does not throw over", "[verify]") {
  apr_file file{.tensors = {tame_tensor("a", "f32", {3}), tame_tensor("b", "f32", {2})},
                .flags = 0x1008,
                .has_footer = false};
  file.tensors[1].offset = 24;
  file_bytes bytes = file.bytes();
  bytes[5] = std::byte{3};
  bytes[60] = std::byte{1};
  nibble_test::seal_header(bytes);
  const auto findings = findings_of(bytes);
  std::string all;
  for (const std::string& found : findings) {
    CHECK(found.starts_with("note "));
    all += found + "\n";
  }
  CHECK(missing_parts(all, {"minor version 3", "header.reserved", "not known", "row-major", "signature",
                            "b|offset", "layout", "footer|absent"})
            .empty());
  CHECK(verified(bytes).code == "taken");
}

TEST_CASE("examining on threads finds the same", "[verify]") {
  file_bytes file = recorded_sample().bytes();
  for (std::size_t at = 1200; at < file.size(); at += 50) file[at] ^= std::byte{0xFF};
  threads_executor threads;
  nibble::serial_executor serial;
  const auto alone = findings_of(file);
  CHECK_FALSE(alone.empty());
  CHECK(findings_of(file, &threads) == alone);
  CHECK(findings_of(file, &serial) == alone);
}

TEST_CASE("one tensor is verified alone, and nothing else is looked at", "[verify]") {
  file_bytes file = recorded_sample().bytes();
  const reader in(file, "the file");
  std::map<std::string, std::uint32_t> sums;
  for (const nibble::tensor_view& tensor : in) {
    REQUIRE(tensor.crc32());
    CHECK(*tensor.crc32() == nibble_test::plain_crc32(tensor.bytes()));
    CHECK_NOTHROW(in.verify(tensor.name()));
    CHECK_NOTHROW(nibble::verify(in, tensor.name()));
    CHECK(in.examine(tensor.name()).empty());
  }
  // The bytes change behind the reader: of one tensor, and of the footer.
  file[static_cast<std::size_t>(in["h.q8"].file_offset_bytes()) + 9] ^= std::byte{1};
  file.back() ^= std::byte{1};
  threads_executor threads;
  for (const nibble::tensor_view& tensor : in) {
    const std::string name(tensor.name());
    CAPTURE(name);
    for (nibble::executor* const on :
         {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&threads)}) {
      const outcome result = outcome_of([&] { in.verify(name, {.executor = on}); });
      const auto findings = texts_of(in.examine(name, {.executor = on}));
      if (name != "h.q8") {
        CHECK(result.code == "taken");
        CHECK(findings.empty());
        continue;
      }
      CHECK(result.code == "damaged");
      CHECK(missing_parts(result.message, {"the file", "'h.q8' crc32: recorded CRC-32"}).empty());
      CHECK(result.message.find("footer") == std::string::npos);
      REQUIRE(findings.size() == 1);
      CHECK(findings[0].starts_with("problem h.q8|crc32|"));
      CHECK(texts_of(nibble::examine(tensor, {.executor = on})) == findings);
      CHECK(outcome_of([&] { nibble::verify(tensor); }).code == "damaged");
    }
  }
  const outcome none = outcome_of([&] { in.verify("h.q9"); });
  CHECK(none.code == "no_such_tensor");
  CHECK(missing_parts(none.message, {"the file", "'h.q8'"}).empty());
  CHECK(outcome_of([&] { static_cast<void>(in.examine("")); }).code == "no_such_tensor");
}

TEST_CASE("one tensor of a set is verified in its shard", "[verify]") {
  const nibble_test::temporary_directory folder;
  const std::vector<float> ones(64, 1.0F);
  nibble::writer out;
  for (const char* const name : {"a", "b", "c"}) out.add<nibble::f32>(name, {2, 32}, ones);
  const auto paths = out.write(folder / "m.apr", {.shard_size_bytes = 300});
  REQUIRE(paths.size() == 3);
  {
    const reader second(paths[1]);
    file_bytes bytes = nibble_test::read_file(paths[1]);
    bytes[static_cast<std::size_t>(second["b"].file_offset_bytes()) + 2] ^= std::byte{1};
    nibble_test::write_file(paths[1], bytes);
  }
  const reader set = reader::open_set(paths[0]);
  CHECK_NOTHROW(set.verify("a"));
  CHECK_NOTHROW(set.verify("c"));
  CHECK(set["b"].crc32());
  const auto findings = set.examine("b");
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].file == paths[1]);
  CHECK(findings[0].field == "crc32");
  const outcome result = outcome_of([&] { set.verify("b"); });
  CHECK(result.code == "damaged");
  CHECK(missing_parts(result.message, {paths[0], paths[1], "'b' crc32"}).empty());
}

TEST_CASE("a tensor that was loaded or that a host holds is examined like any other", "[verify]") {
  const file_bytes nan = stored_floats({1.0F, std::bit_cast<float>(0x7FC00000U)});
  const nibble::tensor_view view("host", nibble::encoding::f32, {2}, nan);
  const auto findings = texts_of(nibble::examine(view));
  REQUIRE(findings.size() == 1);
  CHECK(missing_parts(findings[0], {"problem host|values|", "1 NaN", "F-DATA-QUALITY-001"}).empty());
  CHECK(missing_parts(outcome_of([&] { nibble::verify(view); }).message, {"'host'", "1 NaN"}).empty());

  const nibble_test::noted_source source(recorded_sample().bytes());
  const nibble::source_reader in(source);
  for (const nibble::tensor_description& tensor : in) {
    CHECK(nibble::examine(in.load(tensor.name())).empty());
    CHECK_NOTHROW(nibble::verify(in.load(tensor.name())));
  }
}
