#include <nibble/codec/block_packing.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/codecs.hpp>

#include <codec/block_distributions.hpp>
#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>

/// What a search and importance promise of every block that is packed, whatever the encoding.
namespace {

using nibble::block_packing;
using nibble::packing_search;

template <class Codec>
std::vector<std::byte> packed_as(std::span<const float> values, const block_packing& how) {
  typename Codec::block block;
  std::memset(static_cast<void*>(&block), 0, sizeof(block));
  nibble::pack_status status{};
  if constexpr (requires { Codec::pack(values, block, nibble::packing_rule::best, how); }) {
    status = Codec::pack(values, block, nibble::packing_rule::best, how);
  } else {
    status = Codec::pack(values, block, how);
  }
  if (status != nibble::pack_status::packed) FAIL(nibble::to_string(Codec::encoding) << " refused");
  const auto bytes = nibble_test::bytes_of(block);
  return {bytes.begin(), bytes.end()};
}

/// Sum of weight times what packing changes, squared.
template <class Codec>
double weighted_error(std::span<const float> values, const std::vector<std::byte>& bytes,
                      std::span<const float> weights) {
  std::array<float, Codec::block_elements> decoded{};
  Codec::unpack(nibble_test::block_from<typename Codec::block>(bytes), decoded);
  double sum = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const double difference = static_cast<double>(values[j]) - static_cast<double>(decoded[j]);
    sum += static_cast<double>(weights[j]) * difference * difference;
  }
  return sum;
}

/// Importances as they come: of one size, over many powers of two, mostly zero, one that outweighs all.
std::vector<float> some_importance(std::size_t count, std::size_t kind, std::mt19937& from) {
  std::vector<float> importance(count);
  std::lognormal_distribution<float> spread(0.0F, kind == 1 ? 6.0F : 1.0F);
  for (float& each : importance) {
    each = spread(from);
    if (kind == 2 && from() % 4U != 0U) each = 0.0F;
  }
  if (kind == 2) importance[from() % count] = 1.0F;
  if (kind == 3) importance[from() % count] = 1e5F;
  return importance;
}

template <class Codec>
void require_promises() {
  constexpr std::size_t elements = Codec::block_elements;
  const std::string_view name = nibble::to_string(Codec::encoding);
  std::mt19937 generator(31);
  double equal_gaussian = 0.0;
  double weighted_gaussian = 0.0;
  for (auto& of : nibble_test::block_distributions()) {
    if (Codec::encoding == nibble::encoding::nvfp4 &&
        std::ranges::any_of(of.values, [](float x) { return std::fabs(x) >= 2784.0F; })) {
      continue;
    }
    while (of.values.size() % elements != 0) of.values.push_back(of.values[of.values.size() % 32]);
    const std::size_t blocks = std::min<std::size_t>(of.values.size() / elements, 8);
    for (std::size_t block = 0; block < blocks; ++block) {
      const std::size_t count = block % 2 == 0 ? elements : 1 + generator() % elements;
      const auto values = std::span<const float>(of.values).subspan(block * elements, count);
      double roundings = 0.0;
      for (const float x : values) {
        roundings += 0x1p-44 * static_cast<double>(x) * static_cast<double>(x);
      }
      const std::vector<float> ones(count, 1.0F);
      const auto plain = packed_as<Codec>(values, {});
      const auto searched = packed_as<Codec>(values, {.search = packing_search::best});
      const double fast_error = weighted_error<Codec>(values, plain, ones);
      const double best_error = weighted_error<Codec>(values, searched, ones);
      if (!(best_error <= fast_error * (1.0 + 0x1p-18) + roundings)) {
        FAIL(fmt::format("{}, {}, block {}: best errs {}, fast {}", name, of.name, block, best_error,
                         fast_error));
      }
      // None, equal ones and all zeros are the same.
      const std::vector<float> threes(count, 3.0F);
      const std::vector<float> zeros(count, 0.0F);
      if (packed_as<Codec>(values, {.importance = zeros}) != plain) FAIL(name << ": zeros");
      const double of_threes =
          weighted_error<Codec>(values, packed_as<Codec>(values, {.importance = threes}), ones);
      if (!(of_threes <= fast_error * (1.0 + 0x1p-18) + roundings)) FAIL(name << ": threes");
      for (std::size_t kind = 0; kind < 4; ++kind) {
        const auto importance = some_importance(count, kind, generator);
        const auto weighted = packed_as<Codec>(values, {.importance = importance});
        const double own = weighted_error<Codec>(values, weighted, importance);
        const double equal = weighted_error<Codec>(values, plain, importance);
        const float largest = *std::ranges::max_element(importance);
        // Importance counts 2^-36 of the largest at least.
        const double slack = static_cast<double>(largest) * (roundings + 0x1p-36 * fast_error);
        if (!(own <= equal * (1.0 + 0x1p-18) + slack)) {
          FAIL(fmt::format("{}, {}, block {}, kind {}: {} against {}", name, of.name, block, kind, own,
                           equal));
        }
        if (of.name == "gaussian" && kind == 0 && count == elements) {
          equal_gaussian += equal;
          weighted_gaussian += own;
        }
        // Only ratios matter.
        auto larger = importance;
        for (float& each : larger) each *= 1024.0F;
        if (packed_as<Codec>(values, {.importance = larger}) != weighted) FAIL(name << ": scaled");
      }
    }
  }
  CAPTURE(name);
  CHECK(weighted_gaussian < equal_gaussian);
}

TEMPLATE_TEST_CASE("best errs no more than fast, and importance lessens the error that it weighs",
                   "[block_packing]", nibble::q4, nibble::q8, nibble::apr_q4, nibble::q4_0,
                   nibble::q4_1, nibble::q5_0, nibble::q5_1, nibble::q8_0, nibble::q2_k, nibble::q3_k,
                   nibble::q4_k, nibble::q5_k, nibble::q6_k, nibble::q1_0, nibble::q2_0, nibble::tq2_0,
                   nibble::nvfp4) {
  require_promises<TestType>();
}

/// Relative root mean square error over many whole blocks.
template <class Codec>
double relative_error(std::span<const float> values, packing_search search) {
  double error = 0.0;
  double power = 0.0;
  const std::vector<float> ones(Codec::block_elements, 1.0F);
  for (std::size_t at = 0; at < values.size(); at += Codec::block_elements) {
    const auto of = values.subspan(at, Codec::block_elements);
    error += weighted_error<Codec>(of, packed_as<Codec>(of, {.search = search}), ones);
    for (const float x : of) power += static_cast<double>(x) * static_cast<double>(x);
  }
  return std::sqrt(error / power);
}

TEST_CASE("on a bell curve q4 and q8 reach what blocks of their form can, fast next to it",
          "[block_packing]") {
  const auto values = nibble_test::gaussian(std::size_t{256} * 256, 11, 0.02F);
  const double q4_best = relative_error<nibble::q4>(values, packing_search::best);
  CHECK(q4_best < 0.0692);
  CHECK(relative_error<nibble::q4>(values, packing_search::fast) < 1.01 * q4_best);
  CHECK(relative_error<nibble::q8>(values, packing_search::best) < 0.0040);
  CHECK(relative_error<nibble::q8>(values, packing_search::fast) < 0.0041);
}

}  // namespace
