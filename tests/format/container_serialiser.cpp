#include <nibble/format/container_serialiser.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/apr/serialise.hpp>
#include <nibble/format/gguf/serialise.hpp>
#include <nibble/format/safetensors/serialise.hpp>

#include <support/catch.hpp>
#include <support/planned_tensors.hpp>

using nibble::ContainerSerialiser;
using nibble::encoding;
using nibble_test::planned;
using nlohmann::json;

namespace {

/// Less than the writer asks for: no data_end().
struct without_data_end {
  static constexpr bool has_footer = false;
  [[nodiscard]] std::span<const std::size_t> order() const;
  [[nodiscard]] std::uint64_t offset_bytes(std::size_t place) const;
  [[nodiscard]] std::uint64_t file_bytes() const;
  [[nodiscard]] std::vector<std::byte> front(std::span<const std::uint32_t> crc32) const;
  [[nodiscard]] static std::span<const std::byte> stored(encoding which,
                                                         std::span<const std::byte> bytes,
                                                         std::vector<std::byte>& buffer);
  static void read_back(std::span<const std::byte> front, std::uint64_t file_bytes,
                        std::span<const std::byte> footer);
};
struct with_data_end : without_data_end {
  [[nodiscard]] std::uint64_t data_end() const;
};

static_assert(ContainerSerialiser<nibble::apr::serialiser>);
static_assert(ContainerSerialiser<nibble::gguf::serialiser>);
static_assert(ContainerSerialiser<nibble::safetensors::serialiser>);
static_assert(ContainerSerialiser<with_data_end>);
static_assert(!ContainerSerialiser<without_data_end>);
static_assert(!ContainerSerialiser<int>);

}  // namespace

TEMPLATE_TEST_CASE("tensors stand where a serialiser says, between its front and its data's end",
                   "[container_serialiser]", nibble::apr::serialiser, nibble::gguf::serialiser,
                   nibble::safetensors::serialiser) {
  const std::vector<nibble::planned_tensor> tensors = {
      planned("odd", encoding::i8, {37}), planned("none", encoding::f32, {0, 3}),
      planned("wide", encoding::f32, {3, 5}), planned("half", encoding::f16, {7})};
  TestType made(tensors, json{{"k", "v"}});
  const std::vector<std::uint32_t> crc32(tensors.size(), 0x01020304U);
  const auto front = made.front(crc32);
  REQUIRE(made.order().size() == tensors.size());
  std::vector<bool> is_placed(tensors.size());
  std::uint64_t end = front.size();
  for (std::size_t place = 0; place < tensors.size(); ++place) {
    const std::size_t tensor = made.order()[place];
    CHECK_FALSE(is_placed.at(tensor));
    is_placed.at(tensor) = true;
    CHECK(made.offset_bytes(place) >= end);
    end = made.offset_bytes(place) + tensors[tensor].size_bytes;
  }
  CHECK(made.data_end() >= end);
  CHECK(made.data_end() - end < 64);
  CHECK(made.file_bytes() == made.data_end() + (TestType::has_footer ? 4U : 0U));
  const std::vector<std::byte> footer(4);
  const auto read = TestType::read_back(front, made.file_bytes(), footer);
  REQUIRE(read.tensors.size() == tensors.size());
  for (std::size_t place = 0; place < tensors.size(); ++place) {
    for (const nibble::tensor_info& info : read.tensors) {
      if (info.name != tensors[made.order()[place]].name) continue;
      CHECK(info.file_offset_bytes == made.offset_bytes(place));
    }
  }
}
