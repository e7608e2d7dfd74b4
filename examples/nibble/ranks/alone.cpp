// run_on_ranks() of a build without MPI.

#include <optional>
#include <string>

#include <fmt/format.h>

#include "../exit_code.hpp"
#include "../text_run.hpp"

namespace nibble_command {

std::optional<exit_code> run_on_ranks(const run_options& options) {
  const std::string given = ranks_option_of(options);
  if (given.empty()) return std::nullopt;
  throw usage_error(fmt::format("{}: this nibble was built without MPI (NIBBLE_MPI=ON)", given));
}

}  // namespace nibble_command
