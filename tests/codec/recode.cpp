#include <nibble/codec/recode.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/codecs.hpp>

#include <codec/block_distributions.hpp>
#include <support/catch.hpp>

namespace {

template <class Codec>
nibble::pack_status packed_before_recoding(std::span<const float> values, typename Codec::block& to) {
  if constexpr (requires { Codec::pack(values, to, nibble::packing_rule::best); }) {
    return Codec::pack(values, to, nibble::packing_rule::best);
  } else {
    return Codec::pack(values, to);
  }
}

/// Every value that elements of a block can have is found through unpack alone: by storing each code.
template <class Codec>
std::vector<std::array<float, Codec::block_elements>> values_by_code(
    const typename Codec::block& block) {
  constexpr bool is_signed_byte = std::same_as<Codec, nibble::q8_0>;
  const int codes = [&] {
    if constexpr (Codec::has_min)
      return static_cast<int>(Codec::largest_code) + 1;
    else
      return static_cast<int>(Codec::highest_code - Codec::lowest_code) + 1;
  }();
  std::vector<std::array<float, Codec::block_elements>> values(static_cast<std::size_t>(codes));
  for (int code = 0; code < codes; ++code) {
    auto changed = block;
    std::array<std::uint8_t, Codec::block_elements> all;
    all.fill(static_cast<std::uint8_t>(is_signed_byte ? code - 127 : code));
    Codec::store_codes(all, changed);
    Codec::unpack(changed, values[static_cast<std::size_t>(code)]);
  }
  return values;
}

template <class Codec>
void require_recodes_to_nearest() {
  constexpr std::size_t elements = Codec::block_elements;
  const std::string_view name = nibble::to_string(Codec::encoding);
  std::mt19937 generator(4);
  for (auto& of : nibble_test::block_distributions()) {
    while (of.values.size() % elements != 0) of.values.push_back(of.values[of.values.size() % 32]);
    const std::size_t blocks = std::min<std::size_t>(of.values.size() / elements, 6);
    for (std::size_t at = 0; at < blocks * elements; at += elements) {
      const auto values = std::span<const float>(of.values).subspan(at, elements);
      typename Codec::block block{};
      REQUIRE(packed_before_recoding<Codec>(values, block) == nibble::pack_status::packed);
      const auto before = block;
      const auto by_code = values_by_code<Codec>(block);
      // Other values than those that the scales were chosen for, some of them far outside.
      const std::size_t count = at == 0 ? elements : 1 + generator() % elements;
      std::vector<float> wanted(count);
      std::normal_distribution<float> noise(1.0F, 0.3F);
      for (std::size_t j = 0; j < count; ++j) wanted[j] = values[j] * noise(generator);
      if (count > 2) wanted[count / 2] *= 50.0F;
      nibble::recode<Codec>(wanted, block);
      std::array<float, elements> decoded{};
      Codec::unpack(block, decoded);
      for (std::size_t j = 0; j < count; ++j) {
        const auto error_of = [&](float value) {
          return std::fabs(static_cast<double>(wanted[j]) - static_cast<double>(value));
        };
        double least = error_of(by_code[0][j]);
        for (const auto& all : by_code) least = std::min(least, error_of(all[j]));
        const double step = std::fabs(static_cast<double>(by_code[1][j] - by_code[0][j]));
        const double slack = 0x1p-14 * step + 0x1p-22 * std::fabs(static_cast<double>(wanted[j]));
        if (!(error_of(decoded[j]) <= least + slack)) {
          FAIL(fmt::format("{}, {}: {} became {}", name, of.name, wanted[j], decoded[j]));
        }
        const auto grid = nibble::grid_of_element<Codec>(before, j);
        if (grid.value_of(grid.code_of(wanted[j])) != decoded[j]) FAIL(name << ": grid");
        if (grid.highest - grid.lowest + 1 != static_cast<int>(by_code.size())) FAIL(name << ": ends");
      }
      // Spare codes are 0, and scales are what they were.
      auto zeros = block;
      auto zeros_before = before;
      std::array<std::uint8_t, elements> none{};
      Codec::store_codes(none, zeros);
      Codec::store_codes(none, zeros_before);
      REQUIRE(std::memcmp(&zeros, &zeros_before, sizeof(zeros)) == 0);
      std::array<float, elements> of_zeros{};
      Codec::unpack(zeros, of_zeros);
      for (std::size_t j = count; j < elements; ++j) {
        if (decoded[j] != of_zeros[j]) FAIL(name << ": spare code " << j);
      }
      // What lies on the grid keeps its code.
      auto again = block;
      nibble::recode<Codec>(std::span<const float>(decoded).first(count), again);
      std::array<float, elements> decoded_again{};
      Codec::unpack(again, decoded_again);
      if (decoded_again != decoded) FAIL(name << ": values of the grid moved");
    }
  }
}

TEMPLATE_TEST_CASE("recoding puts every value on the nearest that the block's scales allow", "[recode]",
                   nibble::q4, nibble::q8, nibble::apr_q4, nibble::q4_0, nibble::q4_1, nibble::q5_0,
                   nibble::q5_1, nibble::q8_0, nibble::q2_k, nibble::q3_k, nibble::q4_k, nibble::q5_k,
                   nibble::q6_k) {
  STATIC_REQUIRE(nibble::AffineCodec<TestType>);
  require_recodes_to_nearest<TestType>();
}

}  // namespace
