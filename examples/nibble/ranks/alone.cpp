// run_on_ranks() of a build without MPI.

#include <optional>

#include <fmt/format.h>

#include "../exit_code.hpp"
#include "../text_run.hpp"

namespace nibble_command {

std::optional<exit_code> run_on_ranks(const run_options& options) {
  if (options.shares.empty()) return std::nullopt;
  throw usage_error(fmt::format("--shares {}: this nibble was built without MPI (NIBBLE_MPI=ON)",
                                fmt::join(options.shares, ",")));
}

}  // namespace nibble_command
