#pragma once

#include <cstdint>
#include <string>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/apr/header.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/shards.hpp>

namespace nibble::apr {

/// The text of `metadata` as an .apr file holds it. Throws bad_metadata for what JSON has no text for
/// (see print_json), and for more than 64 MiB.
template <class Json>
[[nodiscard]] std::string metadata_text(const Json& metadata) {
  std::string text = print_json(metadata, "metadata");
  if (text.size() <= max_metadata_bytes) return text;
  throw error(error_code::bad_metadata, {.field = "metadata",
                                         .found = join_text({text.size(), " bytes"}),
                                         .expected = join_text({"at most ", max_metadata_bytes})});
}

/// `flags` with those bits that say what the metadata hold set as `metadata` has it: sharded and
/// vocabulary. The other bits, quantized among them, say what the tensors are, and stay.
template <class Json>
[[nodiscard]] std::uint16_t with_metadata_flags(std::uint16_t flags, const Json& metadata) {
  const auto set = [&](std::uint16_t bit, const char* key) {
    const unsigned others = flags & ~unsigned{bit};
    flags = static_cast<std::uint16_t>(metadata.contains(key) ? others | bit : others);
  };
  set(flag::sharded, basic_shard_record<Json>::key);
  set(flag::vocabulary, "tokenizer.vocabulary");
  return flags;
}

}  // namespace nibble::apr
