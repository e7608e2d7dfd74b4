#include <nibble/codec/codecs.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/file/crc32.hpp>

#include <support/catch.hpp>

/// Files that were packed from the same values hold the same bytes, in this version and the next. A
/// packer that is changed on purpose fails here once; what it errs is held elsewhere.
namespace {

/// Numbers like weights, some of them far out, some zero, some around another centre: bit for bit the
/// same from every standard library.
std::vector<float> weights(std::size_t count) {
  std::mt19937 generator(20);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::int32_t sum = 0;
    for (int part = 0; part < 4; ++part)
      sum += static_cast<std::int32_t>(generator() >> 12U) - (1 << 19);
    const int exponent = -24 - static_cast<int>(i / 512 % 7) + (generator() % 64U == 0U ? 2 : 0);
    float value = std::ldexp(static_cast<float>(sum / 4), exponent);
    if (i / 1024 % 4 == 1) value += 0.03125F;
    if (i / 1024 % 4 == 2) value -= 0.0625F;
    if (i / 1024 % 4 == 3 && generator() % 4U != 0U) value = 0.0F;
    values[i] = value;
  }
  return values;
}

/// Whole blocks, and one in part of every length.
template <class Codec, class... Rule>
std::uint32_t sum_of_packed_bytes(Rule... rule) {
  constexpr std::size_t elements = Codec::block_elements;
  const auto values = weights(std::size_t{256} * 160);
  nibble::crc32_sum sum;
  const auto add = [&](std::span<const float> packed) {
    typename Codec::block block;
    std::memset(static_cast<void*>(&block), 0, sizeof(block));
    if (Codec::pack(packed, block, rule...) != nibble::pack_status::packed) FAIL("refused");
    sum += nibble::crc32_sum(std::as_bytes(std::span(&block, 1)));
  };
  for (std::size_t at = 0; at < values.size(); at += elements) {
    add(std::span(values).subspan(at, elements));
  }
  for (std::size_t count = 1; count < elements; ++count) {
    add(std::span(values).subspan(7 * count, count));
  }
  return sum.value();
}

TEST_CASE("packers write the bytes that are recorded here", "[packed_bytes]") {
  using nibble::packing_rule;
  CHECK(sum_of_packed_bytes<nibble::q4>() == 0x0FC11182U);
  CHECK(sum_of_packed_bytes<nibble::q8>() == 0xE1B3D8D0U);
  CHECK(sum_of_packed_bytes<nibble::q4_0>() == 0xEF22B012U);
  CHECK(sum_of_packed_bytes<nibble::q4_1>() == 0x0FC11182U);
  CHECK(sum_of_packed_bytes<nibble::q5_0>() == 0xA17C1FEFU);
  CHECK(sum_of_packed_bytes<nibble::q5_1>() == 0x9E195AFAU);
  CHECK(sum_of_packed_bytes<nibble::q8_0>() == 0x72648F02U);
  CHECK(sum_of_packed_bytes<nibble::q2_k>() == 0x9D26BFC1U);
  CHECK(sum_of_packed_bytes<nibble::q3_k>() == 0x7F5B847FU);
  CHECK(sum_of_packed_bytes<nibble::q4_k>() == 0x01CFD2CCU);
  CHECK(sum_of_packed_bytes<nibble::q5_k>() == 0x3FF6F0C0U);
  CHECK(sum_of_packed_bytes<nibble::q6_k>() == 0x93514809U);
  CHECK(sum_of_packed_bytes<nibble::apr_q4>(packing_rule::reference) == 0x208376F6U);
  CHECK(sum_of_packed_bytes<nibble::apr_q4>(packing_rule::best) == 0x57DBA767U);
}

}  // namespace
