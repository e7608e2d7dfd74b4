#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <nibble/compute/executor.hpp>
#include <nibble/compute/thread_pool.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/reader.hpp>

#include "progress_bar.hpp"

namespace nibble_command {

/// Throws damaged, naming the first tensor whose bytes are not those that its file's checksum is of:
/// written anew they would get a checksum that says that they are right.
inline void require_intact(const nibble::reader& from, unsigned threads) {
  std::vector<const nibble::tensor_view*> checked;
  std::uint64_t bytes = 0;
  for (const nibble::tensor_view& tensor : from) {
    if (!tensor.crc32()) continue;
    checked.push_back(&tensor);
    bytes += tensor.size_bytes();
  }
  std::vector<std::uint32_t> found(checked.size());
  {
    nibble::thread_pool on(threads);
    progress_bar bar;
    watched_executor watched(on, bar, "checking", bytes);
    nibble::run_tasks(&watched, checked.size(), [&](std::size_t i) {
      found[i] = nibble::crc32_sum(checked[i]->bytes()).value();
    });
  }
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (found[i] == *checked[i]->crc32()) continue;
    throw nibble::error(nibble::error_code::damaged,
                        {.file = from.name(),
                         .tensor = std::string(checked[i]->name()),
                         .field = "crc32",
                         .found = fmt::format("{:08x}", found[i]),
                         .expected = fmt::format("{:08x}; nibble verify lists all damage, "
                                                 "--ignore-checksums takes the bytes as they are",
                                                 *checked[i]->crc32())});
  }
}

}  // namespace nibble_command
