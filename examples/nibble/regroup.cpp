#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nibble/nibble.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "intact_input.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "value_encoding.hpp"
#include "write_file.hpp"
#include "write_report.hpp"

namespace nibble_command {
namespace {

/// Writes the tensors of `from` as they are stored, as one file or several.
exit_code regroup(const nibble::reader& from, const write_request& request, bool ignore_checksums,
                  bool json) {
  if (!ignore_checksums) require_intact(from, request.threads);
  nibble::writer plan;
  carried_metadata carried = carry_metadata(from, request.container);
  plan.metadata() = std::move(carried.values);
  try {
    for (const nibble::tensor_view& tensor : from) {
      // Only a file of the same container can take what is not known here.
      if (request.container != from.container()) static_cast<void>(value_encoding(tensor));
      plan_as_stored(plan, from, tensor);
    }
  } catch (const nibble::error& problem) {
    throw_as_of_source(problem.in_file(from.name()), from.name());
  }
  const write_report report(from, request, write_file(plan, request), std::move(carried.losses));
  report.print(json);
  return exit_code::fine;
}

}  // namespace

exit_code split(const split_options& options) {
  static_cast<void>(require_container(options.output, "split", {nibble::container::apr}));
  const nibble::reader from = open_weights(options.input, options.single);
  return regroup(from,
                 {.output = options.output,
                  .source = options.input,
                  .threads = options.threads,
                  .shard_size_bytes = options.shard_size_bytes,
                  .force = options.force},
                 options.ignore_checksums, options.json);
}

exit_code merge(const merge_options& options) {
  const nibble::reader from = open_files(options.input, false);
  static_cast<void>(require_container(options.output, "merge", {from.container()}));
  return regroup(from,
                 {.output = options.output,
                  .source = options.input,
                  .container = from.container(),
                  .threads = options.threads,
                  .force = options.force},
                 options.ignore_checksums, options.json);
}

}  // namespace nibble_command
