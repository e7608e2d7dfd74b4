#pragma once

#include <cstdint>

namespace nibble_test {

/// How much code ran, in a measure that no clock, processor or neighbour changes: the blocks of code
/// (what lies between two branches) that this thread has entered. Sources count that are compiled with
/// -fsanitize-coverage=trace-pc; what other sources and libraries do is not seen.
///
/// Compilers cut code into blocks as they optimize: the same work may count a few times as much
/// without.
class work_meter {
 public:
  [[nodiscard]] static std::uint64_t blocks_run() noexcept;
};

}  // namespace nibble_test
