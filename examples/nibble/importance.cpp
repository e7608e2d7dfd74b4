#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>

#include <examples/engine/importance_gathering.hpp>

#include "command.hpp"
#include "gathering_text.hpp"
#include "output_name.hpp"
#include "running_model.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"

namespace nibble_command {
namespace {

/// What importance says that it was gathered from.
std::string dataset_of(const gathering_options& options) {
  if (options.own_tokens) return "the model's own text";
  return options.text_file ? *options.text_file : *options.tokens_file;
}

}  // namespace

exit_code importance(const importance_options& options) {
  (void)require_container(options.output, "importance", {nibble::container::gguf});
  running_model running = open_model(options.input, options.engine);
  const auto sequences = gathering_sequences(running.model, options.gathering);
  nibble_engine::importance_source source{.dataset = dataset_of(options.gathering),
                                          .chunk_count = sequences.size()};
  std::size_t tokens = 0;
  for (const std::vector<std::uint32_t>& sequence : sequences) {
    tokens += sequence.size();
    source.chunk_tokens = std::max<std::uint64_t>(source.chunk_tokens, sequence.size());
  }
  if (tokens == 0) {
    throw usage_error(fmt::format("{}: holds no token", nibble::escape_text(source.dataset)));
  }
  const auto gathered = nibble_engine::gather_importance(running.model, sequences);
  nibble_engine::write_importance(options.output, gathered, source);
  if (options.json) {
    print_json(schema_version::importance, {{"model", options.input},
                                            {"file", options.output},
                                            {"weights", gathered.size()},
                                            {"sequences", sequences.size()},
                                            {"tokens", tokens}});
  } else {
    print_out(fmt::format("{}: importance of {} from {} in {}\n", nibble::escape_text(options.output),
                          counted(gathered.size(), "weight"), counted(tokens, "token"),
                          counted(sequences.size(), "sequence")));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
