#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>

#include <examples/engine/evaluation.hpp>
#include <examples/engine/weight_divergence.hpp>

#include "command.hpp"
#include "gathering_text.hpp"
#include "interruption.hpp"
#include "progress_bar.hpp"
#include "running_model.hpp"
#include "target_plan.hpp"

namespace nibble_command {
namespace {

/// Token lists of a .json file, or any other file as a text.
gathering_options text_of(const std::string& path) {
  gathering_options text;
  (path.ends_with(".json") ? text.tokens_file : text.text_file) = path;
  return text;
}

}  // namespace

matrix_sensitivities measure_sensitivities(const pack_options& options) {
  const interruption noted;
  const engine_options engine{.single = options.single, .threads = options.threads};
  running_model changed = open_model(options.input, engine);
  running_model original = open_model(options.input, engine);
  const auto sequences = gathering_sequences(original.model, text_of(*options.measure_file));
  matrix_sensitivities found;
  for (const std::vector<std::uint32_t>& sequence : sequences) {
    found.measured_tokens += sequence.size();
  }
  progress_bar bar(progress_bar::unit::steps);
  const auto measured = nibble_engine::measure_divergences(
      changed.model, original.model, sequences,
      {.executor = options.threads > 1 ? changed.threads.get() : nullptr,
       .progress = [&](std::size_t done, std::size_t all) {
         bar.show(done, all, "measuring");
         return interruption::received() == 0;
       }});
  for (const nibble_engine::weight_divergence& each : measured) {
    found.of_tensors.emplace(each.tensor, each.sensitivity());
  }
  return found;
}

}  // namespace nibble_command
