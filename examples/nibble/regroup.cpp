#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <nibble/nibble.hpp>

#include "command.hpp"
#include "metadata.hpp"
#include "open_input.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"
#include "write_file.hpp"

namespace nibble_command {
namespace {

/// Writes the tensors of `from` as they are stored, as one file or several.
exit_code regroup(const nibble::reader& from, const std::string& output, nibble::container container,
                  std::uint64_t shard_size_bytes, unsigned threads) {
  nibble::writer plan;
  plan.metadata() = from.metadata();
  plan.metadata().erase(nibble::apr::packing_record::key);
  nibble::shard_record::erase_from(plan.metadata());
  try {
    for (const nibble::tensor_view& tensor : from) {
      // Only a file of the same container can take what is not known here.
      if (container != from.container()) static_cast<void>(tensor.encoding());
      plan_as_stored(plan, from, tensor);
    }
  } catch (const nibble::error& problem) {
    throw problem.in_file(from.name());
  }
  const auto paths = write_file(plan, output, from.name(), container, threads, shard_size_bytes);
  std::string text;
  for (const std::string& path : paths) {
    text += fmt::format("{}: {}\n", nibble::escape_text(path), counted(size_of_file(path), "byte"));
  }
  print_out(text);
  return exit_code::fine;
}

}  // namespace

exit_code split(const split_options& options) {
  const nibble::reader from = open_weights(options.input, options.single);
  return regroup(from, options.output, nibble::container::apr, options.shard_size_bytes,
                 options.threads);
}

exit_code merge(const merge_options& options) {
  const nibble::reader from = open_files(options.input, false);
  return regroup(from, options.output, from.container(), 0, options.threads);
}

}  // namespace nibble_command
