#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace nibble_command {

/// What an encoding takes of a file and what it costs.
struct plan_option {
  std::size_t candidate;  ///< its place among the tensor's
  std::uint64_t bytes;
  double cost;
};

/// Chooses one option for each tensor so that the sum of costs is small and the bytes are at most a budget.
///
/// First as with one Lagrange multiplier for all: every tensor starts with its smallest option, and bytes go
/// where each removes most cost, along the lower convex hull of cost over bytes. Then what is left of the
/// budget is used: as long as a tensor can change, or one can give bytes for another, so that the sum falls
/// and the budget holds, the change that removes most is made. Where that leaves more bytes unused than is
/// allowed, the knapsack of all tensors is filled by dynamic programming.
class size_plan {
 public:
  /// Each tensor has at least one option.
  explicit size_plan(std::vector<std::vector<plan_option>> of_tensors)
      : tensors_(std::move(of_tensors)) {
    for (auto& each : tensors_) keep_worthwhile(each);
  }

  /// Bytes of the smallest options.
  [[nodiscard]] std::uint64_t least_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& each : tensors_) sum += each.front().bytes;
    return sum;
  }

  /// The chosen option of each tensor; the smallest of all where the budget is less than they take. At least
  /// `wanted_bytes` in all where some choice that is found takes as many and not more than the budget.
  [[nodiscard]] std::vector<plan_option> choose(std::uint64_t budget_bytes,
                                                std::uint64_t wanted_bytes = 0) const {
    std::vector<std::size_t> at(tensors_.size());
    std::uint64_t bytes = fill_along_hulls(at, budget_bytes);
    // Each change removes cost, so that this ends; the bound is on time alone.
    constexpr std::size_t most_changes = 4096;
    for (std::size_t i = 0; i < most_changes && bytes <= budget_bytes; ++i) {
      if (!improve(at, bytes, budget_bytes)) break;
    }
    if (bytes < wanted_bytes) fill_knapsack(at, wanted_bytes, budget_bytes);
    std::vector<plan_option> chosen;
    for (std::size_t i = 0; i < tensors_.size(); ++i) chosen.push_back(tensors_[i][at[i]]);
    return chosen;
  }

 private:
  using option_list = std::vector<plan_option>;

  /// From the smallest on, each with more bytes and less cost than the one before it.
  static void keep_worthwhile(option_list& all) {
    std::stable_sort(all.begin(), all.end(), [](const plan_option& a, const plan_option& b) {
      return a.bytes != b.bytes ? a.bytes < b.bytes : a.cost < b.cost;
    });
    option_list kept;
    for (const plan_option& each : all) {
      if (kept.empty() || each.cost < kept.back().cost) kept.push_back(each);
    }
    all = std::move(kept);
  }

  /// Cost that a byte removes.
  static double gain(const plan_option& from, const plan_option& to) noexcept {
    return (from.cost - to.cost) / static_cast<double>(to.bytes - from.bytes);
  }

  /// Places of the options on the lower convex hull of cost over bytes.
  static std::vector<std::size_t> hull_of(const option_list& all) {
    std::vector<std::size_t> hull;
    for (std::size_t i = 0; i < all.size(); ++i) {
      while (hull.size() > 1 &&
             gain(all[hull[hull.size() - 2]], all[hull.back()]) <= gain(all[hull.back()], all[i])) {
        hull.pop_back();
      }
      hull.push_back(i);
    }
    return hull;
  }

  /// Moves `at` from the smallest options on, and returns their bytes. A step that does not fit is passed
  /// by, and with it those of its tensor that come after.
  std::uint64_t fill_along_hulls(std::vector<std::size_t>& at, std::uint64_t budget_bytes) const {
    struct step {
      double gain;
      std::size_t tensor, from, to;
    };
    std::vector<step> steps;
    for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
      const option_list& all = tensors_[tensor];
      const std::vector<std::size_t> hull = hull_of(all);
      for (std::size_t i = 1; i < hull.size(); ++i) {
        steps.push_back({gain(all[hull[i - 1]], all[hull[i]]), tensor, hull[i - 1], hull[i]});
      }
    }
    std::stable_sort(steps.begin(), steps.end(),
                     [](const step& a, const step& b) { return a.gain > b.gain; });
    std::uint64_t bytes = least_bytes();
    for (const step& each : steps) {
      const option_list& all = tensors_[each.tensor];
      const std::uint64_t more = all[each.to].bytes - all[each.from].bytes;
      if (at[each.tensor] != each.from || bytes + more > budget_bytes) continue;
      bytes += more;
      at[each.tensor] = each.to;
    }
    return bytes;
  }

  /// Moves `at` to the choice of least cost that takes from `wanted_bytes` to `budget_bytes`; leaves it where
  /// none is found. Of all choices for the first tensors that take nearly as many bytes, one in
  /// `cell_count`, the one of least cost is gone on with.
  void fill_knapsack(std::vector<std::size_t>& at, std::uint64_t wanted_bytes,
                     std::uint64_t budget_bytes) const {
    constexpr std::uint64_t cell_count = 4096;
    struct cell {
      double cost = std::numeric_limits<double>::infinity();
      std::uint64_t bytes = 0;
    };
    struct step {
      std::uint32_t from;    ///< the cell of the tensors before
      std::uint32_t option;  ///< of the tensor
    };
    if (budget_bytes == 0) return;
    const auto place_of = [&](std::uint64_t bytes) {
      const double share = static_cast<double>(bytes) / static_cast<double>(budget_bytes);
      return static_cast<std::size_t>(share * static_cast<double>(cell_count));
    };
    // What the tensors after each one take at least.
    std::vector<std::uint64_t> least_after(tensors_.size() + 1);
    for (std::size_t i = tensors_.size(); i-- > 0;) {
      least_after[i] = least_after[i + 1] + tensors_[i].front().bytes;
    }
    std::vector<cell> reached(cell_count + 1);
    reached[0] = {0.0, 0};
    std::vector<std::vector<step>> steps;
    for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
      std::vector<cell> next(cell_count + 1);
      auto& steps_here = steps.emplace_back(cell_count + 1);
      for (std::size_t from = 0; from < reached.size(); ++from) {
        if (reached[from].cost == std::numeric_limits<double>::infinity()) continue;
        for (std::size_t option = 0; option < tensors_[tensor].size(); ++option) {
          const plan_option& with = tensors_[tensor][option];
          const cell now{reached[from].cost + with.cost, reached[from].bytes + with.bytes};
          if (now.bytes + least_after[tensor + 1] > budget_bytes) break;
          cell& to = next[place_of(now.bytes)];
          if (!(now.cost < to.cost)) continue;
          to = now;
          steps_here[place_of(now.bytes)] = {static_cast<std::uint32_t>(from),
                                             static_cast<std::uint32_t>(option)};
        }
      }
      reached = std::move(next);
    }
    std::size_t best = reached.size();
    for (std::size_t i = 0; i < reached.size(); ++i) {
      if (reached[i].bytes < wanted_bytes ||
          !(reached[i].cost < std::numeric_limits<double>::infinity()))
        continue;
      if (best == reached.size() || reached[i].cost < reached[best].cost) best = i;
    }
    if (best == reached.size()) return;
    for (std::size_t tensor = tensors_.size(); tensor-- > 0;) {
      at[tensor] = steps[tensor][best].option;
      best = steps[tensor][best].from;
    }
  }

  /// A tensor's change to a smaller option: what it frees and what it costs.
  struct reduction {
    std::uint64_t freed_bytes;
    double added_cost;
    std::size_t tensor, to;
  };
  /// The cheapest reductions of two tensors, the first one the cheaper.
  using cheapest_two = std::array<reduction, 2>;

  /// Of the reductions from each place on, `all` being in ascending order of what they free.
  static std::vector<cheapest_two> cheapest_from(const std::vector<reduction>& all) {
    constexpr reduction none{0, std::numeric_limits<double>::infinity(), ~std::size_t{0}, 0};
    std::vector<cheapest_two> cheapest(all.size() + 1, cheapest_two{none, none});
    for (std::size_t i = all.size(); i-- > 0;) {
      auto& [first, second] = cheapest[i] = cheapest[i + 1];
      if (all[i].added_cost < first.added_cost) {
        if (all[i].tensor != first.tensor) second = first;
        first = all[i];
      } else if (all[i].tensor != first.tensor && all[i].added_cost < second.added_cost) {
        second = all[i];
      }
    }
    return cheapest;
  }

  /// Makes the change that removes most cost within the budget: of a tensor, alone or with a reduction of
  /// another one. Whether there was one.
  bool improve(std::vector<std::size_t>& at, std::uint64_t& bytes, std::uint64_t budget_bytes) const {
    std::vector<reduction> reductions;
    for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
      const option_list& all = tensors_[tensor];
      const plan_option& now = all[at[tensor]];
      for (std::size_t to = 0; to < at[tensor]; ++to) {
        reductions.push_back({now.bytes - all[to].bytes, all[to].cost - now.cost, tensor, to});
      }
    }
    std::stable_sort(reductions.begin(), reductions.end(), [](const reduction& a, const reduction& b) {
      return a.freed_bytes < b.freed_bytes;
    });
    const std::vector<cheapest_two> cheapest = cheapest_from(reductions);

    double most_removed = 0.0;
    std::size_t best_tensor = 0;
    std::size_t best_to = 0;
    const reduction* best_reduction = nullptr;
    for (std::size_t tensor = 0; tensor < tensors_.size(); ++tensor) {
      const option_list& all = tensors_[tensor];
      const plan_option& now = all[at[tensor]];
      for (std::size_t to = at[tensor] + 1; to < all.size(); ++to) {
        const std::uint64_t more = all[to].bytes - now.bytes;
        const reduction* by = nullptr;
        double removed = now.cost - all[to].cost;
        if (bytes + more > budget_bytes) {
          const std::uint64_t lacking = bytes + more - budget_bytes;
          const auto first =
              std::partition_point(reductions.begin(), reductions.end(),
                                   [&](const reduction& each) { return each.freed_bytes < lacking; });
          const cheapest_two& two = cheapest[static_cast<std::size_t>(first - reductions.begin())];
          by = two[0].tensor != tensor ? &two[0] : &two[1];
          removed -= by->added_cost;
        }
        if (!(removed > most_removed)) continue;
        most_removed = removed;
        best_tensor = tensor;
        best_to = to;
        best_reduction = by;
      }
    }
    // What rounding of sums alone would remove is no change.
    double cost = 0.0;
    for (std::size_t i = 0; i < at.size(); ++i) cost += tensors_[i][at[i]].cost;
    if (!(most_removed > 1e-12 * cost)) return false;
    if (best_reduction != nullptr) {
      bytes -= best_reduction->freed_bytes;
      at[best_reduction->tensor] = best_reduction->to;
    }
    bytes += tensors_[best_tensor][best_to].bytes - tensors_[best_tensor][at[best_tensor]].bytes;
    at[best_tensor] = best_to;
    return true;
  }

  std::vector<option_list> tensors_;
};

}  // namespace nibble_command
