#include <nibble/codec/super_block_search.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

#include <support/catch.hpp>

namespace {

struct candidate {
  int number = 0;
  double error = 0.0;
};
using one_group = std::array<nibble::grid_trials, 1>;

}  // namespace

TEST_CASE("the two of least error are kept, the lesser first", "[super_block_search]") {
  std::mt19937 generator(2);
  for (int turn = 0; turn < 300; ++turn) {
    nibble::best_two<candidate> best;
    CHECK(best.kept().empty());
    std::vector<double> errors;
    for (std::size_t left = 1 + generator() % 9U; left != 0; --left) {
      const double error = static_cast<double>(generator() % 1000U);
      if (std::find(errors.begin(), errors.end(), error) != errors.end()) continue;
      errors.push_back(error);
      best.offer({static_cast<int>(errors.size()), error});
    }
    std::sort(errors.begin(), errors.end());
    REQUIRE(best.kept().size() == std::min<std::size_t>(errors.size(), 2));
    for (std::size_t i = 0; i < best.kept().size(); ++i) CHECK(best.kept()[i].error == errors[i]);
  }
  nibble::best_two<candidate> same;
  same.offer({1, 5.0});
  same.offer({2, 5.0});
  CHECK(same.kept().size() == 1);
}

TEST_CASE("candidates are renewed as long as the error becomes less", "[super_block_search]") {
  std::vector<int> tried;
  const auto attempt = [&](candidate& next, one_group&) {
    tried.push_back(next.number);
    next.error = std::fabs(next.number - 7.0);
  };
  const auto renew = [](const one_group&, candidate next) {
    next.number += 2;
    return next;
  };
  const std::array<candidate, 2> some{candidate{2}, candidate{20}};
  const candidate kept =
      nibble::refine_candidates<one_group>(std::span<const candidate>(some), 8, attempt, renew);
  CHECK(kept.number == 6);
  // The second candidate's first renewal errs more.
  CHECK(tried == std::vector<int>{2, 4, 6, 8, 20, 22});
  tried.clear();
  CHECK(nibble::refine_candidates<one_group>(std::span<const candidate>(some), 2, attempt, renew)
            .number == 4);
  CHECK(tried == std::vector<int>{2, 4, 20, 22});
  const auto none =
      nibble::refine_candidates<one_group>(std::span<const candidate>(), 2, attempt, renew);
  CHECK(std::isinf(none.error));
}

TEST_CASE("of neighbours each sub-block takes what errs less", "[super_block_search]") {
  struct numbers {
    nibble::lanes_of_floats of_lanes{};
    double error = 0.0;
  };
  nibble::lanes_of_floats wanted;
  for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
    wanted[lane] = static_cast<float>(lane % 4);
  }
  const auto attempt = [&](numbers& next, one_group& trials) {
    next.error = 0.0;
    for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
      trials[0].dd[lane] = std::fabs(next.of_lanes[lane] - wanted[lane]);
      next.error += static_cast<double>(trials[0].dd[lane]);
    }
  };
  const auto neighbors = [](const numbers& centre, const auto& use) {
    for (const float more : {-1.0F, 1.0F}) {
      numbers other = centre;
      for (float& number : other.of_lanes) number += more;
      use(other);
    }
  };
  const auto improved = [&](int turns) {
    numbers found{.error = 100.0};
    nibble::improve_candidate<one_group>(
        found, turns, neighbors, attempt,
        [](const numbers& from, std::size_t, std::size_t lane, numbers& to) {
          to.of_lanes[lane] = from.of_lanes[lane];
        },
        [](const one_group&, numbers&) {});
    return found;
  };
  CHECK(improved(4).error == 0.0);
  CHECK(improved(4).of_lanes == wanted);
  // Numbers of 0, 1, 2, 3 are reached from 0 one a turn: two times 1 and 2 are left.
  CHECK(improved(1).error == 6.0);
}
