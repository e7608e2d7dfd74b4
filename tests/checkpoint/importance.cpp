#include <nibble/checkpoint/importance.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>

using nibble::error_code;
using nibble_test::append_number;
using nibble_test::byte_list;
using nibble_test::code_of;
using nibble_test::error_of;

namespace {

byte_list stored_floats(const std::vector<float>& values) {
  byte_list bytes;
  for (const float value : values) append_number(bytes, std::bit_cast<std::uint32_t>(value));
  return bytes;
}

/// An entry of the older form.
struct older_entry {
  std::string name;
  std::int32_t calls;
  std::vector<float> values;
};

/// A file of the older form, number by number.
byte_list older_file(const std::vector<older_entry>& entries,
                     std::optional<std::pair<std::int32_t, std::string>> end = {}) {
  byte_list file;
  const auto append_text = [&](const std::string& text) {
    append_number(file, static_cast<std::int32_t>(text.size()));
    nibble_test::append_bytes(file, nibble_test::bytes_of(text));
  };
  append_number(file, static_cast<std::int32_t>(entries.size()));
  for (const older_entry& each : entries) {
    append_text(each.name);
    append_number(file, each.calls);
    append_number(file, static_cast<std::int32_t>(each.values.size()));
    nibble_test::append_bytes(file, stored_floats(each.values));
  }
  if (end) {
    append_number(file, end->first);
    append_text(end->second);
  }
  return file;
}

/// The two tensors of a weight in GGUF.
void append_weight(nibble_test::gguf_file& file, const std::string& name, std::vector<float> sums,
                   std::vector<float> counts) {
  file.tensors.push_back({name + ".in_sum2",
                          nibble_test::gguf_id::u8,  // f32's number among tensor types
                          {sums.size() / counts.size(), counts.size()},
                          stored_floats(sums)});
  file.tensors.push_back({name + ".counts", 0, {1, counts.size()}, stored_floats(counts)});
}

nibble_test::gguf_file gguf_of_importance() {
  namespace id = nibble_test::gguf_id;
  nibble_test::gguf_file file;
  file.metadata = {
      {"general.type", id::string, nibble_test::string_bytes("imatrix")},
      {"imatrix.datasets", id::array,
       nibble_test::array_bytes(id::string, {nibble_test::string_bytes("wiki.train.raw")})},
      {"imatrix.chunk_count", id::u32, nibble_test::number_bytes(std::uint32_t{7})},
      {"imatrix.chunk_size", id::u32, nibble_test::number_bytes(std::uint32_t{512})}};
  append_weight(file, "blk.0.attn_q.weight", {8.0F, 0.0F, 2.0F}, {4.0F});
  append_weight(file, "blk.1.ffn_up_exps.weight", {3.0F, 6.0F, 5.0F, 9.0F, 4.0F, 2.0F},
                {3.0F, 0.0F, 2.0F});
  return file;
}

std::vector<float> listed(std::span<const float> values) { return {values.begin(), values.end()}; }

/// The text of the error that reading `file` throws.
std::string refusal_of(const byte_list& file) {
  const auto thrown = error_of([&] { const nibble::importance ignored(file, "i.dat"); });
  return thrown ? thrown->what() : "none";
}

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinite = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("importance in GGUF is the mean of squares, and 1 where nothing was counted") {
  const nibble::importance in(gguf_of_importance().bytes(), "i.gguf");
  CHECK(in.file_name() == "i.gguf");
  REQUIRE(in.entries().size() == 2);
  CHECK(in.entries()[0].name == "blk.0.attn_q.weight");
  CHECK(in.entries()[0].mean_squares == std::vector<float>{2.0F, 0.0F, 0.5F});
  CHECK(in.entries()[1].matrices == 3);
  CHECK(in.entries()[1].mean_squares == std::vector<float>{1.0F, 2.0F, 1.0F, 1.0F, 2.0F, 1.0F});
  CHECK(in.chunk_count() == 7);
  CHECK(in.chunk_tokens() == 512);
  REQUIRE(in.datasets().size() == 1);
  CHECK(in.datasets()[0] == "wiki.train.raw");
}

TEST_CASE("importance in the older form is the sum over the calls, with or without an end") {
  const byte_list whole =
      older_file({{"blk.1.ffn_down.weight", 0, {3.0F}}, {"blk.0.attn_q.weight", 4, {8.0F, 0.0F, 2.0F}}},
                 std::pair(9, std::string("text")));
  const nibble::importance in(whole, "i.dat");
  REQUIRE(in.entries().size() == 2);
  CHECK(in.entries()[0].mean_squares == std::vector<float>{2.0F, 0.0F, 0.5F});
  CHECK(in.find("blk.1.ffn_down.weight")->mean_squares == std::vector<float>{3.0F});
  CHECK(in.chunk_count() == 9);
  CHECK(in.chunk_tokens() == 0);
  REQUIRE(in.datasets().size() == 1);
  CHECK(in.datasets()[0] == "text");

  const nibble_test::temporary_directory directory;
  const std::string path = directory / "i.dat";
  nibble_test::write_file(path, older_file({{"a.weight", 2, {4.0F}}}));
  const nibble::importance endless(path);
  CHECK(endless.find("a.weight")->mean_squares == std::vector<float>{2.0F});
  CHECK(endless.datasets().empty());
  CHECK(endless.find("a") == nullptr);
  CHECK(code_of([&] { const nibble::importance ignored(directory / "none"); }) ==
        error_code::file_not_found);
}

TEST_CASE("a weight's importance is found under either convention's name") {
  const nibble::importance in(gguf_of_importance().bytes(), "i.gguf");
  const std::vector<float> q{2.0F, 0.0F, 0.5F};
  CHECK(listed(in.of("llama", "blk.0.attn_q.weight", {5, 3})) == q);
  CHECK(listed(in.of("qwen2", "model.layers.0.self_attn.q_proj.weight", {5, 3})) == q);
  CHECK(listed(in.of("unheard of", "blk.0.attn_q.weight", {5, 3})) == q);
  CHECK(in.of("unheard of", "model.layers.0.self_attn.q_proj.weight", {5, 3}).empty());
  CHECK(in.of("llama", "model.layers.0.self_attn.k_proj.weight", {5, 3}).empty());

  CHECK(in.of("qwen2_moe", "blk.1.ffn_up_exps.weight", {3, 8, 2}).size() == 6);
  const auto expert = [&](int number) {
    return listed(in.of("qwen2_moe",
                        "model.layers.1.mlp.experts." + std::to_string(number) + ".up_proj.weight",
                        {8, 2}));
  };
  CHECK(expert(0) == std::vector<float>{1.0F, 2.0F});
  CHECK(expert(2) == std::vector<float>{2.0F, 1.0F});
  const auto beyond = error_of([&] { expert(3); });
  REQUIRE(beyond);
  CHECK(beyond->code() == error_code::bad_importance);
}

TEST_CASE("importance of another model's shape is refused by name") {
  const nibble::importance in(gguf_of_importance().bytes(), "i.gguf");
  const auto thrown = error_of([&] { (void)in.of("llama", "blk.0.attn_q.weight", {5, 4}); });
  REQUIRE(thrown);
  CHECK(std::string(thrown->what()) ==
        "i.gguf: tensor 'blk.0.attn_q.weight': importance: bad_importance: found 3 columns under "
        "'blk.0.attn_q.weight', of another model, expected 4 columns");
  const auto stack = error_of([&] { (void)in.of("qwen2_moe", "blk.1.ffn_up_exps.weight", {4, 8, 2}); });
  REQUIRE(stack);
  CHECK(stack->detail().expected == "2 columns of 4 matrices");
}

TEST_CASE("importance that is negative, NaN or infinite is refused with its place") {
  for (const auto& [value, text] : {std::pair(-0.5F, "-0.5"), std::pair(not_a_number, "nan"),
                                    std::pair(infinite, "inf"), std::pair(-infinite, "-inf")}) {
    CHECK(refusal_of(older_file({{"w", 2, {1.0F, 0.0F, value}}})) ==
          std::string("i.dat: tensor 'w': value 2: bad_importance: found ") + text +
              ", expected a finite number from 0 on");
    auto file = gguf_of_importance();
    append_weight(file, "w", {1.0F, value}, {1.0F});
    CHECK(refusal_of(file.bytes()).find("tensor 'w': in_sum2 1: bad_importance") != std::string::npos);
    auto counted = gguf_of_importance();
    append_weight(counted, "w", {1.0F, 2.0F}, {1.0F, value});
    CHECK(refusal_of(counted.bytes()).find("tensor 'w': count 1: bad_importance") != std::string::npos);
  }
  auto tiny = gguf_of_importance();
  append_weight(tiny, "w", {3e38F}, {1e-30F});
  CHECK(refusal_of(tiny.bytes()).find("mean square 0: bad_importance: found inf") != std::string::npos);
}

TEST_CASE("sums without counts, and what is no importance, are refused") {
  auto lone = gguf_of_importance();
  lone.tensors.pop_back();
  CHECK(refusal_of(lone.bytes())
            .find("tensor 'blk.1.ffn_up_exps.weight': counts: bad_importance: "
                  "found nothing") != std::string::npos);
  auto other = gguf_of_importance();
  other.tensors.erase(other.tensors.begin());
  CHECK(refusal_of(other.bytes()).find("'blk.0.attn_q.weight': in_sum2: bad_importance") !=
        std::string::npos);
  auto halves = gguf_of_importance();
  halves.tensors[0] = {"blk.0.attn_q.weight.in_sum2", 1, {3}, byte_list(6)};
  CHECK(refusal_of(halves.bytes()).find("in_sum2: bad_importance: found f16, expected f32") !=
        std::string::npos);
  auto uneven = gguf_of_importance();
  uneven.tensors[1] = {"blk.0.attn_q.weight.counts", 0, {2}, stored_floats({1.0F, 1.0F})};
  CHECK(refusal_of(uneven.bytes()).find("counts: bad_importance: found 2") != std::string::npos);

  const std::string model = refusal_of(nibble_test::gguf_file{
      .metadata = {{"general.type", nibble_test::gguf_id::string, nibble_test::string_bytes("model")}},
  }
                                           .bytes());
  CHECK(model == "i.dat: general.type: bad_importance: found \"model\", expected \"imatrix\"");
  CHECK(refusal_of(nibble_test::gguf_file{}.bytes()).find("entries: bad_importance: found none") !=
        std::string::npos);
  CHECK(refusal_of(nibble_test::bytes_of(std::string_view("APR\0aaaaaaaaaaaaaa", 18))) ==
        "i.dat: first bytes: unknown_container: found those of an .apr file, expected an importance "
        "matrix of llama.cpp");
}

TEST_CASE("the older form is refused wherever it is cut short, and where a weight comes twice") {
  const byte_list whole =
      older_file({{"a", 1, {1.0F, 2.0F}}, {"b", 1, {3.0F}}}, std::pair(1, std::string("t")));
  const std::size_t end_bytes = 9;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const byte_list part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto code = code_of([&] { const nibble::importance ignored(part, "i.dat"); });
    // After the entries the file may end, and after the number of chunks.
    const bool is_whole = size + end_bytes == whole.size() || size + end_bytes - 4 == whole.size();
    INFO(size);
    CHECK(code == (is_whole ? std::nullopt : std::optional(error_code::truncated)));
  }
  CHECK(code_of([&] {
          const nibble::importance ignored(older_file({{"a", 1, {1.0F}}, {"a", 1, {2.0F}}}), "i");
        }) == error_code::duplicate_name);
  CHECK(code_of([&] {
          const nibble::importance ignored(older_file({{"a", -1, {1.0F}}}), "i");
        }) == error_code::bad_importance);
  byte_list negative;
  append_number(negative, std::int32_t{-3});
  CHECK(code_of([&] { const nibble::importance ignored(negative, "i"); }) ==
        error_code::bad_importance);
}
