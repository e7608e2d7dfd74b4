#include <nibble/format/gguf/read_front.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/gguf_bytes.hpp>
#include <support/noted_source.hpp>

using nibble::gguf::parse;
using nibble::gguf::read_front;
using nibble_test::byte_list;
using nibble_test::gguf_file;
using nibble_test::noted_source;
using nibble_test::outcome_of;

TEST_CASE("of a GGUF file little behind the tensor list is read", "[gguf_read_front]") {
  namespace id = nibble_test::gguf_id;
  for (const std::size_t count : {0U, 1U, 3000U, 20000U}) {
    gguf_file file{.metadata = nibble_test::sample_gguf_metadata()};
    std::vector<byte_list> words;
    for (std::size_t i = 0; i < 2 * count; ++i) {
      words.push_back(nibble_test::string_bytes(std::string(i % 23, 'w')));
    }
    file.metadata.push_back({"words", id::array, nibble_test::array_bytes(id::string, words)});
    file.metadata.push_back(
        {"numbers", id::array,
         nibble_test::array_bytes(id::u8, std::vector<byte_list>(7 * count, byte_list(1)))});
    for (std::size_t i = 0; i < count; ++i) {
      file.tensors.push_back({"tensor." + std::to_string(i), 24, {300}, byte_list(300)});
    }
    const noted_source source(file.bytes());
    const auto whole = parse(source.bytes());
    const auto front = read_front(source, source.size_bytes());
    REQUIRE(source.is_read_in_order());
    if (count != 0) {
      const std::uint64_t data_offset = whole.tensors[0].file_offset_bytes;
      CHECK(front.size() < data_offset + nibble::gguf::max_read_ahead_bytes);
    }
    const auto parsed = parse(front, source.size_bytes());
    CHECK(parsed.metadata == whole.metadata);
    REQUIRE(parsed.tensors.size() == count);
    for (std::size_t i = 0; i < count; ++i) {
      if (parsed.tensors[i].file_offset_bytes != whole.tensors[i].file_offset_bytes) FAIL(i);
    }
  }
}

TEST_CASE("a front of a GGUF file that ends anywhere or lies is refused as the file is",
          "[gguf_read_front]") {
  const byte_list whole = nibble_test::sample_gguf_file().bytes();
  const auto require_same = [](const byte_list& bytes) {
    const noted_source source(bytes);
    const auto expected = outcome_of([&] { static_cast<void>(parse(bytes)); });
    const auto found =
        outcome_of([&] { static_cast<void>(parse(read_front(source, bytes.size()), bytes.size())); });
    CAPTURE(bytes.size());
    REQUIRE(source.is_read_in_order());
    REQUIRE(found.code == expected.code);
    REQUIRE(found.message == expected.message);
    return found.code == "taken";
  };
  for (std::size_t size = 1; size < whole.size(); ++size) {
    require_same({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
  }
  gguf_file large{.metadata = nibble_test::sample_gguf_metadata()};
  for (std::size_t i = 0; i < 9000; ++i) {
    large.tensors.push_back({"tensor." + std::to_string(i), 24, {3}, byte_list(3)});
  }
  CHECK(require_same(large.bytes()));
  for (const std::size_t flaw : {5U, 4000U, 8999U}) {
    gguf_file changed = large;
    changed.tensors[flaw].rank = 9;
    CHECK_FALSE(require_same(changed.bytes()));
    changed = large;
    changed.tensors[flaw].name_bytes = std::uint64_t{1} << 40U;
    CHECK_FALSE(require_same(changed.bytes()));
  }
  std::mt19937 random(5);
  std::size_t taken = 0;
  constexpr std::size_t files = 4000;
  for (std::size_t i = 0; i < files; ++i) {
    byte_list changed = whole;
    for (std::size_t flaws = i % 3; flaws-- > 0;) {
      changed[random() % changed.size()] = static_cast<std::byte>(random());
    }
    taken += require_same(changed) ? 1U : 0U;
  }
  CHECK(taken > files / 3);
  CHECK(taken < files);
}

TEST_CASE("what metadata may take bounds what is read of a GGUF file that lies", "[gguf_read_front]") {
  /// A file of 200 MiB whose metadata claim a string of 100.
  class endless final : public nibble::byte_source {
   public:
    explicit endless(byte_list start) : start_(std::move(start)) {}
    [[nodiscard]] std::uint64_t size_bytes() const override { return std::uint64_t{200} << 20U; }
    void read_at(std::uint64_t offset, std::span<std::byte> to) const override {
      for (std::size_t i = 0; i < to.size(); ++i) {
        to[i] = offset + i < start_.size() ? start_[static_cast<std::size_t>(offset) + i] : std::byte{};
      }
    }

   private:
    byte_list start_;
  };
  byte_list start = gguf_file{.metadata_count = 1}.bytes();
  nibble_test::append_gguf_string(start, "key");
  nibble_test::append_number(start, nibble_test::gguf_id::string);
  nibble_test::append_number(start, std::uint64_t{100} << 20U);
  const endless source(start);
  const auto front = read_front(source, source.size_bytes());
  CHECK(front.size() <= nibble::gguf::max_read_ahead_bytes);
  const auto refused = outcome_of([&] { static_cast<void>(parse(front, source.size_bytes())); });
  CHECK(refused.code == "bad_metadata");
  CHECK(nibble_test::missing_parts(refused.message, {"metadata 0, value", "104857600", "67108888"}) ==
        "");
}
