#include "calibrated_weights.hpp"

#include <cstdint>
#include <utility>

#include <nibble/compute/error_feedback.hpp>

#include <examples/engine/calibration.hpp>

#include "gathering_text.hpp"
#include "running_model.hpp"

namespace nibble_command {

calibrated_weights::calibrated_weights(const pack_options& options, const wanted_packings& wanted) {
  running_model running =
      open_model(options.input, {.single = options.single, .threads = options.threads});
  const auto sequences = gathering_sequences(running.model, options.gathering);
  for (const std::vector<std::uint32_t>& sequence : sequences) tokens_ += sequence.size();

  std::map<std::string, std::string> stored_names;
  nibble_engine::calibration_options how;
  how.damping = options.damping;
  how.by_importance = options.rounds_by_importance;
  how.executor = options.threads > 1 ? running.threads.get() : nullptr;
  how.encoding_of = [&](const nibble_engine::weight& weight) -> std::optional<nibble::encoding> {
    const auto found = wanted.find(weight.stored.name());
    if (found == wanted.end() || found->second.is_transposed != weight.is_input_major) return {};
    const nibble::encoding which = found->second.encoding;
    if (!nibble::takes_error_feedback(which, weight.stored.cols())) return {};
    stored_names[weight.name] = std::string(weight.stored.name());
    return which;
  };
  auto made = nibble_engine::calibrate(running.model, sequences, how);
  for (auto& [name, weight] : made) {
    packed_.emplace(stored_names.at(name),
                    packed_weight{weight.encoding, weight.shape, std::move(weight.bytes)});
  }
}

std::optional<nibble::tensor_view> calibrated_weights::find(std::string_view tensor) const {
  const auto found = packed_.find(tensor);
  if (found == packed_.end()) return std::nullopt;
  const packed_weight& weight = found->second;
  return nibble::tensor_view(found->first, weight.encoding, weight.shape, weight.bytes);
}

}  // namespace nibble_command
