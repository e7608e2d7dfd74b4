#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/writer.hpp>

#include "interruption.hpp"
#include "progress_bar.hpp"
#include "thread_executor.hpp"

namespace nibble_command {

/// Writes a plan as a file, on threads, with a progress bar; SIGINT and SIGTERM end it as cancelled,
/// the unfinished file gone. A value that cannot be packed is an error of the `source` that it came
/// from. Returns the paths of the files written, several where `shard_size_bytes` is less than there
/// is.
inline std::vector<std::string> write_file(const nibble::writer& plan, const std::string& path,
                                           std::string_view source, nibble::container container,
                                           unsigned threads, std::uint64_t shard_size_bytes = 0) {
  const interruption noted;
  thread_executor on(threads);
  progress_bar bar;
  const nibble::write_options options{
      .container = container,
      .on = &on,
      .progress =
          [&](const nibble::write_progress& progress) {
            bar.show(progress.written_bytes, progress.total_bytes, progress.tensor);
            return interruption::received() == 0;
          },
      .shard_size_bytes = shard_size_bytes,
  };
  try {
    return plan.write(path, options);
  } catch (const nibble::error& problem) {
    if (problem.code() != nibble::error_code::not_representable) throw;
    nibble::error_detail detail = problem.detail();
    detail.file = source;
    throw nibble::error(problem.code(), std::move(detail));
  }
}

}  // namespace nibble_command
