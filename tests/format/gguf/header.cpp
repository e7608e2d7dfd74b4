#include <nibble/format/gguf/header.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::gguf::header;

TEST_CASE("a GGUF header is stored as the format says, and read again", "[gguf_header]") {
  std::vector<std::byte> bytes(header::bytes);
  header{.tensor_count = 0x0102030405060708U, .metadata_count = 9}.store(bytes);
  CHECK(bytes == nibble_test::bytes_of_hex("47475546 03000000 0807060504030201 0900000000000000"));
  const header parsed = header::parse(bytes);
  CHECK(parsed.version == 3);
  CHECK(parsed.tensor_count == 0x0102030405060708U);
  CHECK(parsed.metadata_count == 9);
}

TEST_CASE("an alignment is a power of two up to 1 MiB", "[gguf_header]") {
  std::size_t count = 0;
  for (std::uint64_t bytes = 0; bytes <= 3U << 20U; ++bytes) {
    count += nibble::gguf::is_alignment(bytes) ? 1U : 0U;
  }
  CHECK(count == 21);
  for (unsigned shift = 0; shift <= 20; ++shift) {
    CHECK(nibble::gguf::is_alignment(std::uint64_t{1} << shift));
  }
  for (unsigned shift = 21; shift < 64; ++shift) {
    CHECK_FALSE(nibble::gguf::is_alignment(std::uint64_t{1} << shift));
  }
}
