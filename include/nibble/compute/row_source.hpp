#pragma once

#include <cstdint>
#include <span>

#include <nibble/core/shared_function.hpp>

namespace nibble {

/// Fills `values` with rows first_row .. first_row + row_count of a tensor, row-major: values.size() is
/// row_count * cols. Asked for any rows, any number of times, from any thread of the executor at once,
/// and must answer the same each time. Copies share what the function holds. What it throws ends the
/// packing and reaches the caller.
using row_source =
    shared_function<void(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values)>;

}  // namespace nibble
