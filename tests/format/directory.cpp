#include <nibble/format/directory.hpp>

#include <support/catch.hpp>

static_assert(nibble::to_string(nibble::container::apr) == "apr");
static_assert(nibble::to_string(nibble::container::gguf) == "gguf");
static_assert(nibble::to_string(nibble::container::safetensors) == "safetensors");

TEST_CASE("a directory starts with nothing in it", "[directory]") {
  const nibble::directory empty;
  CHECK(empty.tensors.empty());
  CHECK(empty.notes.empty());
  CHECK_FALSE(empty.footer_crc32.has_value());
}

TEST_CASE("a finding is a harmless note about the whole file unless it says otherwise", "[directory]") {
  const nibble::finding found;
  CHECK(found.severity == nibble::finding::kind::note);
  CHECK(found.tensor.empty());
}
