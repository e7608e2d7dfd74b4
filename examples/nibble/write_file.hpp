#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/text.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/reader.hpp>
#include <nibble/writer.hpp>

#include <nibble/compute/thread_pool.hpp>

#include "exit_code.hpp"
#include "interruption.hpp"
#include "progress_bar.hpp"

namespace nibble_command {

/// How long a file is that was written.
[[nodiscard]] inline std::uint64_t size_of_file(const std::string& path) {
  return nibble::file_source(path).size_bytes();
}

/// The container that the extension of a path names, or nothing.
[[nodiscard]] inline std::optional<nibble::container> container_named_by(const std::string& path) {
  const std::string extension = nibble::text_of_path(nibble::path_of_text(path).extension());
  for (const auto which :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    if (extension == "." + std::string(nibble::to_string(which))) return which;
  }
  return std::nullopt;
}

/// Throws usage_error where a path has the extension of another container than what is to be written.
inline void require_honest_name(const std::string& path, nibble::container which) {
  const auto named = container_named_by(path);
  if (!named || *named == which) return;
  throw usage_error(fmt::format("{}: what is written is {}, and the name says {}",
                                nibble::escape_text(path), nibble::to_string(which),
                                nibble::to_string(*named)));
}

/// Writes a plan as a file, on threads, with a progress bar; SIGINT and SIGTERM end it as cancelled,
/// the unfinished file gone. A value that cannot be packed is an error of the `source` that it came
/// from. Returns the paths of the files written, several where `shard_size_bytes` is less than there
/// is.
inline std::vector<std::string> write_file(const nibble::writer& plan, const std::string& path,
                                           std::string_view source, nibble::container container,
                                           unsigned threads, std::uint64_t shard_size_bytes = 0) {
  require_honest_name(path, container);
  const interruption noted;
  nibble::thread_pool on(threads);
  progress_bar bar;
  const nibble::write_options options{
      .container = container,
      .executor = &on,
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

/// Plans a tensor of `from` to be written as it is stored, whether its dtype is known here or not.
inline void plan_as_stored(nibble::writer& plan, const nibble::reader& from,
                           const nibble::tensor_view& tensor) {
  std::string name(tensor.name());
  if (tensor.has_encoding()) {
    plan.add_stored(tensor.encoding(), std::move(name), tensor.shape(), tensor.bytes());
  } else {
    plan.add_unknown_dtype(from.container(), std::move(name), tensor);
  }
}

}  // namespace nibble_command
