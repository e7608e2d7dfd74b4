#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/shared_function.hpp>

namespace nibble {

/// Fills `blocks` with a tensor's stored bytes from block `first_block` on, row by row; blocks.size()
/// is a multiple of the encoding's block_bytes. Asked for any blocks, any number of times, from any
/// thread of the executor at once, and must answer the same each time. Copies share what the function
/// holds. What it throws ends the writing and reaches the caller.
using block_source = shared_function<void(std::uint64_t first_block, std::span<std::byte> blocks)>;

}  // namespace nibble
