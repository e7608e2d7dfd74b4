// Opens arbitrary bytes as a container; whatever opens is walked, examined, decoded and multiplied.
// Nothing but nibble::error may come of it. Checksums are made right first in every second way of
// reading the input, so that mutations reach what lies behind them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <nibble/nibble.hpp>

namespace {

void open_and_use(std::span<const std::byte> bytes) {
  try {
    const nibble::reader in(bytes);
    for (const nibble::tensor_view& tensor : in) {
      if (in.find(tensor.name()) == nullptr) __builtin_trap();
      if (!tensor.has_encoding() || !nibble::is_decodable(tensor.encoding())) continue;
      if (tensor.elements() > 1U << 20U) continue;
      std::vector<float> values(tensor.elements());
      nibble::dequantize(tensor, values);
      if (tensor.rows() > 1U << 20U || tensor.cols() > 1U << 20U) continue;
      std::vector<float> x(tensor.cols(), 1.0F);
      std::vector<float> y(tensor.rows());
      for (const auto mode :
           {nibble::matmul_mode::exact, nibble::matmul_mode::int16, nibble::matmul_mode::int8}) {
        nibble::matmul(tensor, x, y, {.mode = mode});
      }
    }
    static_cast<void>(in.examine());
    if (in.container() == nibble::container::gguf) {
      // Metadata that was read can be written, and is the same then.
      std::vector<std::byte> written;
      const auto count = nibble::gguf::append_metadata(written, in.metadata());
      nibble::gguf::byte_cursor again(written, 0);
      if (nibble::gguf::read_metadata(again, count).values != in.metadata()) __builtin_trap();
    }
  } catch (const nibble::error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A copy of exactly this size, so that a read past its end is seen.
  std::vector<std::byte> bytes(size);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size, bytes.begin());
  open_and_use(bytes);
  if (size < nibble::apr::header_bytes + nibble::apr::footer_bytes) return 0;
  nibble::store_number(bytes, 40, nibble::apr::header::checksum(std::span(bytes).first(64)));
  const std::size_t footer_at = size - nibble::apr::footer_bytes;
  nibble::store_number(bytes, footer_at, nibble::crc32_sum(std::span(bytes).first(footer_at)).value());
  open_and_use(bytes);
  return 0;
}
