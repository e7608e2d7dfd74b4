#include <engine/rotary.hpp>

#include <cmath>
#include <vector>

#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble_engine::rotary_pairs;

TEST_CASE("pairs turn by their position's angle, in both conventions", "[engine]") {
  constexpr std::size_t heads = 3;
  for (const rotary_pairs pairs : {rotary_pairs::adjacent, rotary_pairs::halves}) {
    for (const std::size_t head_dim : {2U, 6U, 10U}) {
      nibble_engine::model_config config;
      config.pairs = pairs;
      for (std::size_t i = 0; i < head_dim / 2; ++i) {
        config.rotary_frequencies.push_back(
            std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
      }
      nibble_engine::rotary turned(config);
      std::size_t reached = 0;
      for (const std::size_t position : {0U, 1U, 5U, 4U, 300U, 7U}) {
        if (position >= reached) {
          reached = position + 1;
          turned.reach(reached);
        } else {
          turned.reach(position + 1);
        }
        const std::vector<float> before = nibble_test::gaussian(heads * head_dim, 9, 1.0F);
        std::vector<float> found(before);
        found.push_back(7.0F);
        turned.turn(found.data(), heads, position);
        CHECK(found.back() == 7.0F);
        for (std::size_t head = 0; head < heads; ++head) {
          for (std::size_t i = 0; i < head_dim / 2; ++i) {
            const bool is_adjacent = pairs == rotary_pairs::adjacent;
            const std::size_t a = head * head_dim + (is_adjacent ? 2 * i : i);
            const std::size_t b = is_adjacent ? a + 1 : a + head_dim / 2;
            const double angle = static_cast<double>(position) * config.rotary_frequencies[i];
            CAPTURE(is_adjacent, head_dim, position, head, i);
            CHECK(std::abs(double{found[a]} - (double{before[a]} * std::cos(angle) -
                                               double{before[b]} * std::sin(angle))) < 1e-6);
            CHECK(std::abs(double{found[b]} - (double{before[a]} * std::sin(angle) +
                                               double{before[b]} * std::cos(angle))) < 1e-6);
          }
        }
      }
    }
  }
}
