// Opens arbitrary bytes as a container and uses what opens. Checksums are made right first in every
// second way of reading the input, so that mutations reach what lies behind them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/little_endian.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/apr/parse.hpp>

#include "use.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that a read past its end is seen.
  std::vector<std::byte> bytes(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes.begin());
  nibble_fuzz::open_and_use(bytes);
  if (!nibble::apr::has_magic(bytes)) return 0;
  if (size < nibble::apr::header_bytes + nibble::apr::footer_bytes) return 0;
  nibble::store_number(bytes, 40, nibble::apr::header::checksum(std::span(bytes).first(64)));
  const std::size_t footer_at = size - nibble::apr::footer_bytes;
  nibble::store_number(bytes, footer_at, nibble::crc32_sum(std::span(bytes).first(footer_at)).value());
  nibble_fuzz::open_and_use(bytes);
  return 0;
}
