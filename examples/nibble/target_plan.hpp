#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/text.hpp>
#include <nibble/reader.hpp>

#include "command.hpp"
#include "encoding_cost.hpp"
#include "exit_code.hpp"
#include "size_plan.hpp"
#include "text_layout.hpp"

namespace nibble_command {

/// What a relative error of 1 in each matrix costs a model, by the tensor's name in the input.
struct matrix_sensitivities {
  std::map<std::string, double, std::less<>> of_tensors{};
  std::size_t measured_tokens = 0;  ///< 0: no text was run, and costs are no divergence
};

/// Rounds the matrices of the input one at a time, and measures what that changes of what the model says of
/// a text (--measure). Throws nibble::error, nibble_engine::contract_error, usage_error.
[[nodiscard]] matrix_sensitivities measure_sensitivities(const pack_options& options);

/// What is known of a matrix without a text: that it counts by the square root of its elements, and 16 times
/// as much where every token passes it once for all layers, the embedding and the head. `gguf_name` is empty
/// where it has none.
[[nodiscard]] inline double assumed_sensitivity(std::string_view gguf_name, std::uint64_t elements) {
  constexpr double of_all_layers = 16.0;
  const bool is_of_all = gguf_name == "token_embd.weight" || gguf_name == "output.weight";
  return std::sqrt(static_cast<double>(elements)) * (is_of_all ? of_all_layers : 1.0);
}

/// The encodings that --target-bits and --target-size choose, matrix by matrix.
class target_plan {
 public:
  /// A matrix, the encoding that was chosen for it, and what that costs.
  struct choice {
    std::string name;
    std::string source;
    encoding_cost of;
    double cost;
  };

  /// Measures what every candidate makes of every matrix. `architecture` says what names mean; a matrix that
  /// `sensitivities` lack counts as others do on average. Throws what measure_candidates() throws.
  target_plan(const std::vector<open_matrix>& matrices, const std::string& architecture,
              const matrix_sensitivities& sensitivities, const nibble::quantize_options& options)
      : measured_tokens_(sensitivities.measured_tokens) {
    double sum = 0.0;
    for (const auto& [name, each] : sensitivities.of_tensors) sum += each;
    const double mean = sensitivities.of_tensors.empty()
                            ? 0.0
                            : sum / static_cast<double>(sensitivities.of_tensors.size());
    std::vector<std::vector<plan_option>> open;
    for (const open_matrix& matrix : matrices) {
      double sensitivity = mean;
      if (measured_tokens_ == 0) {
        sensitivity = assumed_sensitivity(
            nibble::renamed_tensor(architecture, matrix.source, nibble::naming::gguf)
                .value_or(matrix.source),
            matrix.shape.elements());
      } else if (const auto found = sensitivities.of_tensors.find(matrix.source);
                 found != sensitivities.of_tensors.end()) {
        sensitivity = found->second;
      }
      auto& candidates = candidates_.emplace_back();
      auto& all = open.emplace_back();
      for (const encoding_cost& each : measure_candidates(matrix, options)) {
        const double cost = sensitivity * each.relative_error;
        all.push_back({candidates.size(), each.bytes, cost});
        candidates.push_back({matrix.name, matrix.source, each, cost});
      }
    }
    plan_.emplace(std::move(open));
  }

  /// Bytes of all matrices in their smallest encodings.
  [[nodiscard]] std::uint64_t least_bytes() const noexcept { return plan_->least_bytes(); }

  /// Chooses so that the matrices take at most `budget_bytes`, which least_bytes() are, and `wanted_bytes` or
  /// more where that can be.
  void choose(std::uint64_t budget_bytes, std::uint64_t wanted_bytes = 0) {
    chosen_.clear();
    bytes_ = 0;
    const std::vector<plan_option> options = plan_->choose(budget_bytes, wanted_bytes);
    for (std::size_t i = 0; i < options.size(); ++i) {
      chosen_.push_back(candidates_[i][options[i].candidate]);
      bytes_ += options[i].bytes;
    }
  }

  /// In the order of the matrices.
  [[nodiscard]] std::span<const choice> chosen() const noexcept { return chosen_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] const choice* find(std::string_view name) const noexcept {
    for (const choice& each : chosen_) {
      if (each.name == name) return &each;
    }
    return nullptr;
  }
  [[nodiscard]] double cost() const noexcept {
    double sum = 0.0;
    for (const choice& each : chosen_) sum += each.cost;
    return sum;
  }

  /// What was chosen in all, as a line.
  [[nodiscard]] std::string text() const {
    return fmt::format("planned: {} in {} bytes; {}\n", counted(chosen_.size(), "tensor"),
                       grouped(bytes_), cost_text());
  }
  /// As README describes it.
  [[nodiscard]] nlohmann::json to_json() const {
    nlohmann::json tensors = nlohmann::json::array();
    for (const choice& each : chosen_) {
      tensors.push_back({{"name", each.name},
                         {"encoding", nibble::to_string(each.of.encoding)},
                         {"bytes", each.of.bytes},
                         {"relative_rmse", std::sqrt(each.of.relative_error)},
                         {"cost", each.cost}});
    }
    return {{"tensor_bytes", bytes_},
            {"cost", cost()},
            {"measured_tokens", measured_tokens_},
            {"tensors", std::move(tensors)}};
  }

 private:
  [[nodiscard]] std::string cost_text() const {
    if (measured_tokens_ == 0) return "no text was run: --measure chooses by what errors cost";
    return fmt::format("Kullback-Leibler divergence of {:.6f} nats expected, measured with {}", cost(),
                       counted(measured_tokens_, "token"));
  }

  std::size_t measured_tokens_;
  std::vector<std::vector<choice>> candidates_;
  std::optional<size_plan> plan_;
  std::vector<choice> chosen_;
  std::uint64_t bytes_ = 0;
};

}  // namespace nibble_command
