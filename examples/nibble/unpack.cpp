#include <string>
#include <utility>

#include <fmt/format.h>

#include <nibble/nibble.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "metadata.hpp"
#include "open_input.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"
#include "value_range.hpp"
#include "write_file.hpp"

namespace nibble_command {

exit_code unpack(const unpack_options& options) {
  const nibble::reader from = open_files(options.input, options.single);
  nibble::writer plan;
  plan.metadata() = portable_metadata(from, nibble::container::safetensors);
  // Loaders of the safetensors world refuse a file that does not say whose layout its matrices have.
  plan.metadata().emplace("format", "pt");
  try {
    for (const nibble::tensor_view& tensor : from) {
      const nibble::encoding stored = tensor.encoding();
      std::string name(tensor.name());
      if (stored == options.dtype || holds_integers(stored)) {
        plan.add_stored(stored, std::move(name), tensor.shape(), tensor.bytes());
      } else {
        require_f32_range(tensor);
        plan.add(options.dtype, std::move(name), tensor.shape(),
                 interruptible(nibble::rows_of(tensor)));
      }
    }
  } catch (const nibble::error& problem) {
    throw problem.in_file(options.input);
  }
  write_file(plan, options.output, options.input, nibble::container::safetensors, options.threads);
  print_out(fmt::format("{}: {}, {} -> {} bytes\n", nibble::escape_text(options.output),
                        counted(from.size(), "tensor"), grouped(from.file_bytes()),
                        grouped(size_of_file(options.output))));
  return exit_code::fine;
}

}  // namespace nibble_command
