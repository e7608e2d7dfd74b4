#include <string>
#include <utility>

#include <nibble/nibble.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "intact_input.hpp"
#include "interruption.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "value_encoding.hpp"
#include "value_range.hpp"
#include "write_file.hpp"
#include "write_report.hpp"

namespace nibble_command {

exit_code unpack(const unpack_options& options) {
  constexpr auto container = nibble::container::safetensors;
  static_cast<void>(require_container(options.output, "unpack", {container}));
  const nibble::reader from = open_weights(options.input, options.single);
  if (!options.ignore_checksums) require_intact(from, options.threads);
  nibble::writer plan;
  // The metadata of a folder stay beside a safetensors file, in files of their own.
  carried_metadata carried = carry_metadata(open_files(options.input, options.single), container);
  matrix_elements elements;
  try {
    for (const nibble::tensor_view& tensor : from) {
      const nibble::encoding stored = value_encoding(tensor);
      const bool is_kept =
          tensor.composed() == nullptr && (stored == options.dtype || holds_integers(stored));
      std::string name(tensor.name());
      if (is_kept) {
        plan.add_stored(stored, std::move(name), tensor.shape(), tensor.bytes());
      } else {
        require_f32_range(tensor);
        plan.add(options.dtype, std::move(name), tensor.shape(),
                 interruptible(nibble::rows_of(tensor)));
      }
      if (tensor.shape().rank() >= 2) elements[is_kept ? stored : options.dtype] += tensor.elements();
    }
  } catch (const nibble::error& problem) {
    throw_as_of_source(problem.in_file(options.input), options.input);
  }
  update_file_type(carried, elements);
  plan.metadata() = std::move(carried.values);
  const write_request request{.output = options.output,
                              .source = options.input,
                              .container = container,
                              .threads = options.threads,
                              .force = options.force};
  const write_report report(from, request, write_file(plan, request), std::move(carried.losses));
  report.print(options.json);
  return exit_code::fine;
}

}  // namespace nibble_command
