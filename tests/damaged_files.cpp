#include <nibble/nibble.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>
#include <support/random_values.hpp>

using nibble::reader;
using nibble_test::outcome_of;

namespace {

using file_bytes = std::vector<std::byte>;

/// Opens, decodes and verifies; the code of the nibble::error that comes of it, or "taken". Anything
/// else that comes of it ends the test.
std::string use_of(const file_bytes& file) {
  return outcome_of([&] {
           const reader in(file, "damaged");
           for (const nibble::tensor_view& tensor : in) {
             if (!tensor.has_encoding() || !nibble::is_decodable(tensor.encoding())) continue;
             REQUIRE(tensor.elements() <=
                     2 * std::uint64_t{file.size()});  // no fewer than four bits each
             std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
             nibble::dequantize(tensor, values);
           }
           in.verify();
         })
      .code;
}

/// What comes of a file with each of its bits flipped, one at a time.
std::map<std::string, std::size_t> codes_of_flips(const file_bytes& whole) {
  std::map<std::string, std::size_t> codes;
  file_bytes file = whole;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      file[at] ^= static_cast<std::byte>(1 << bit);
      ++codes[use_of(file)];
      file[at] = whole[at];
    }
  }
  return codes;
}

std::map<std::string, std::size_t> codes_of_truncations(const file_bytes& whole) {
  std::map<std::string, std::size_t> codes;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    // A vector of that size, so that a sanitizer sees a read past its end.
    ++codes[use_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)})];
  }
  return codes;
}

/// What this library writes of a few tensors, as any container.
file_bytes written(nibble::container which) {
  const nibble_test::temporary_directory folder;
  const std::vector<float> matrix = nibble_test::gaussian(64 * 4, 1);
  const std::vector<float> vector = nibble_test::gaussian(5, 2);
  nibble::writer out;
  out.metadata()["architecture"] = "llama";
  const bool has_blocks = which != nibble::container::safetensors;
  out.add(has_blocks ? nibble::encoding::q4_0 : nibble::encoding::bf16, "a", {4, 64}, matrix);
  out.add(has_blocks ? nibble::encoding::q8_0 : nibble::encoding::f16, "b", {4, 64}, matrix);
  out.add(nibble::encoding::f32, "c", {5}, vector);
  out.write(folder / "file", {.container = which});
  return nibble_test::read_file(folder / "file");
}

}  // namespace

TEST_CASE("no flipped bit of an .apr file that records its packing goes unseen", "[damaged_files]") {
  for (const file_bytes& file :
       {nibble_test::recorded_sample().bytes(), written(nibble::container::apr)}) {
    REQUIRE(use_of(file) == "taken");
    const auto codes = codes_of_flips(file);
    CHECK(codes.count("taken") == 0);
    CHECK(codes.at("damaged") > 1000);
    CHECK(codes.at("header_checksum") > 400);
  }
}

TEST_CASE("the footer sees every flipped bit of an .apr file without a record", "[damaged_files]") {
  nibble_test::apr_file file{.tensors = {nibble_test::tame_tensor("a", "f32", {2, 3}),
                                         nibble_test::tame_tensor("b", "apr_q4", {3, 11})}};
  CHECK(codes_of_flips(file.bytes()).count("taken") == 0);
  // Without a footer only the header is under a checksum; the rest may flip unseen, and harms nobody.
  file.has_footer = false;
  const auto codes = codes_of_flips(file.bytes());
  CHECK(codes.at("header_checksum") > 400);
  CHECK(codes.at("taken") > 100);
}

TEST_CASE("no flipped bit of a GGUF or safetensors file does more than change what is read",
          "[damaged_files]") {
  for (const file_bytes& file :
       {nibble_test::sample_gguf_file().bytes(), written(nibble::container::gguf),
        written(nibble::container::safetensors)}) {
    REQUIRE(use_of(file) == "taken");
    const auto codes = codes_of_flips(file);
    CHECK(codes.at("taken") > 1000);
    CHECK(codes.size() >= 5);
  }
}

TEST_CASE("a file that ends too early is never taken for whole", "[damaged_files]") {
  CHECK(codes_of_truncations(nibble_test::recorded_sample().bytes()).count("taken") == 0);
  for (const nibble::container which :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    const file_bytes file = written(which);
    const auto codes = codes_of_truncations(file);
    // The padding behind the last tensor of a GGUF file holds nothing that is read.
    const std::size_t spare = which == nibble::container::gguf ? 32 - 20 : 0;
    CHECK((codes.count("taken") == 0 ? 0 : codes.at("taken")) == spare);
    CHECK(codes.at("truncated") > file.size() / 2);
  }
}

TEST_CASE("a thousand flipped bits of a large .apr file are seen, one at a time", "[damaged_files]") {
  const nibble_test::temporary_directory folder;
  const std::vector<float> values = nibble_test::gaussian(1024 * 1024, 7);
  nibble::writer out;
  out.add<nibble::q8>("a", {1024, 1024}, values);
  out.add<nibble::q4>("b", {2048, 512}, values);
  out.add<nibble::apr_q4>("c", {1000, 1000}, std::span(values).first(1'000'000));
  out.write(folder / "file.apr");
  file_bytes file = nibble_test::read_file(folder / "file.apr");
  REQUIRE(file.size() > 2'000'000);
  REQUIRE(outcome_of([&] { reader(file).verify(); }).code == "taken");
  std::mt19937 generator(11);
  for (int turn = 0; turn < 1000; ++turn) {
    const std::size_t at = generator() % file.size();
    const auto bit = static_cast<std::byte>(1U << generator() % 8U);
    file[at] ^= bit;
    // The footer's sum alone, which is over every byte: the values need not be looked at.
    const std::string code = outcome_of([&] {
                               const reader in(file);
                               const std::size_t end = file.size() - 4;
                               if (nibble::crc32_sum(std::span(file).first(end)).value() !=
                                   nibble::load_number<std::uint32_t>(file, end)) {
                                 throw nibble::error(nibble::error_code::damaged, {});
                               }
                             }).code;
    if (code == "taken") FAIL_CHECK("a bit of byte " << at << " flipped unseen");
    if (turn % 50 == 0) CHECK(outcome_of([&] { reader(file).verify(); }).code != "taken");
    file[at] ^= bit;
  }
}

TEST_CASE("a file that was read stays what it was when others truncate it", "[damaged_files]") {
  const nibble_test::temporary_directory folder;
  for (const nibble::container which :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    const file_bytes file = written(which);
    const std::string path = folder / "file";
    nibble_test::write_file(path, file);
    const reader in(path, nibble::file_access::read);
    std::filesystem::resize_file(path, 1);
    CHECK(in.file_bytes() == file.size());
    const reader whole(file);
    for (const nibble::tensor_view& tensor : in) {
      CHECK(std::ranges::equal(tensor.bytes(), whole[tensor.name()].bytes()));
    }
    CHECK_NOTHROW(in.verify());
    std::filesystem::resize_file(path, 0);
    CHECK_NOTHROW(in.verify());
    CHECK(outcome_of([&] { reader{path}; }).code == "unknown_container");
  }
}
