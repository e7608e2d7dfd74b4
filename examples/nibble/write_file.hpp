#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/compute/thread_pool.hpp>
#include <nibble/core/error.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/reader.hpp>
#include <nibble/writer.hpp>

#include "exit_code.hpp"
#include "hub_cache.hpp"
#include "interruption.hpp"
#include "mapped_inputs.hpp"
#include "progress_bar.hpp"
#include "set_guard.hpp"

namespace nibble_command {

/// How long a file is that was written.
[[nodiscard]] inline std::uint64_t size_of_file(const std::string& path) {
  return nibble::file_source(path).size_bytes();
}

/// What is to be written, from what and where to.
struct write_request {
  std::string output{};
  std::string source{};  ///< path that errors about tensors name
  nibble::container container = nibble::container::apr;
  unsigned threads = 1;
  std::uint64_t shard_size_bytes = 0;           ///< 0: one file
  std::vector<std::size_t> shard_of_tensors{};  ///< writer's option of that name
  bool force = false;                           ///< sets may be broken
};

/// Throws what a writer threw, as a fault of the request where that is what it was: a tensor that the
/// container has no place for is the source's, and no bad file.
[[noreturn]] inline void throw_as_of_source(const nibble::error& problem, const std::string& source) {
  using nibble::error_code;
  mapped_inputs::require_whole();
  nibble::error_detail detail = problem.detail();
  switch (problem.code()) {
    case error_code::not_representable:
      detail.file = source;
      throw nibble::error(problem.code(), std::move(detail));
    case error_code::unsupported_encoding:
    case error_code::bad_shape:
    case error_code::bad_name:
    case error_code::bad_metadata:
    case error_code::bad_layout:
    case error_code::directory_too_large:
      detail.file = source;
      throw usage_error(nibble::error(problem.code(), std::move(detail)).what());
    default: throw nibble::error(problem);
  }
}

/// Throws write_failed where there is no folder that a path could be written in.
inline void require_folder_of(const std::string& path) {
  const std::filesystem::path folder = nibble::path_of_text(path).parent_path();
  std::error_code ignored;
  if (folder.empty() || std::filesystem::exists(folder, ignored)) return;
  throw nibble::error(nibble::error_code::write_failed, {.file = path,
                                                         .field = "folder",
                                                         .found = "no " + nibble::text_of_path(folder),
                                                         .expected = "a folder that is there"});
}

/// Writes a plan as a file or a set of files, on threads, with a progress bar; SIGINT and SIGTERM end it
/// as cancelled, the unfinished file gone. A tensor that cannot be packed or has no place in the
/// container is an error of the source. Returns the paths of the files written. Throws usage_error, too,
/// where a set would be broken, or a file that others share.
inline std::vector<std::string> write_file(const nibble::writer& plan, const write_request& request) {
  const interruption noted;
  nibble::thread_pool on(request.threads);
  progress_bar bar;
  const nibble::write_options options{
      .container = request.container,
      .executor = &on,
      .progress =
          [&](const nibble::write_progress& progress) {
            bar.show(progress.written_bytes, progress.total_bytes, progress.tensor);
            return interruption::received() == 0 && mapped_inputs::are_whole();
          },
      .shard_file_bytes = request.shard_size_bytes,
      .shard_of_tensors = request.shard_of_tensors,
  };
  try {
    const std::vector<std::string> paths = plan.paths(request.output, options);
    for (const std::string& path : paths) {
      require_folder_of(path);
      require_no_content_of_cache(path);
    }
    if (!request.force) require_whole_sets(paths);
    return plan.write(request.output, options);
  } catch (const nibble::error& problem) {
    throw_as_of_source(problem, request.source);
  }
}

/// Plans a tensor of `from` to be written as it is stored, whether its dtype is known here or not; a weight
/// that several stored tensors make up as f32.
inline void plan_as_stored(nibble::writer& plan, const nibble::reader& from,
                           const nibble::tensor_view& tensor) {
  std::string name(tensor.name());
  if (tensor.composed() != nullptr) {
    plan.add(nibble::encoding::f32, std::move(name), tensor.shape(),
             interruptible(nibble::rows_of(tensor)));
  } else if (tensor.has_encoding()) {
    plan.add_stored(tensor.encoding(), std::move(name), tensor.shape(), tensor.bytes());
  } else {
    plan.add_unknown_dtype(from.container(), std::move(name), tensor);
  }
}

}  // namespace nibble_command
