#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/json_stream.hpp>
#include <nibble/format/memory_budget.hpp>
#include <nibble/format/safetensors/parse.hpp>
#include <nibble/format/shards.hpp>

namespace nibble::safetensors {

/// What a model.safetensors.index.json says: in which file beside it each tensor is.
struct shard_index {
  std::vector<std::string> files{};            ///< each once, in the order of their names
  std::vector<std::string> tensors{};          ///< in the order of the text
  name_index names{};                          ///< of `tensors`
  std::vector<std::size_t> file_of_tensor{};   ///< places in `files`
  std::optional<std::uint64_t> total_bytes{};  ///< metadata.total_size, where it is a whole number
};

/// Whether a file is JSON and no container: its first byte, white space aside, is an opening brace, and
/// it does not start as safetensors files do, whose length may happen to have that byte.
[[nodiscard]] inline bool is_index(std::span<const std::byte> file) noexcept {
  for (const std::byte byte : file) {
    const char text = std::to_integer<char>(byte);
    if (text == ' ' || text == '\n' || text == '\r' || text == '\t') continue;
    return text == '{' && !has_magic(file);
  }
  return false;
}

/// Reads {"metadata": {"total_size": n}, "weight_map": {"tensor": "file", ...}}; other members are
/// skipped. Throws bad_metadata (no JSON, or no weight_map), duplicate_name (a tensor that is mapped
/// twice), bad_shard (a file name that leads out of the directory), directory_too_large (see
/// memory_budget). The errors name no file.
[[nodiscard]] inline shard_index parse_index(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    throw error(error_code::bad_metadata,
                {.field = join_text({"index, byte ", at}),
                 .found = join_text({"0x", hex_text(static_cast<unsigned char>(text[at]), 2)}),
                 .expected = "UTF-8"});
  }
  shard_index index;
  // A member of weight_map has four quotation marks.
  const auto most = static_cast<std::size_t>(std::count(text.begin(), text.end(), '"')) / 4;
  constexpr std::uint64_t bytes_per_tensor =
      sizeof(std::string) + sizeof(std::size_t) + 40;  // and an index of the names
  memory_budget budget(file.size());
  budget.take(most, bytes_per_tensor, "index");
  index.tensors.reserve(most);
  index.file_of_tensor.reserve(most);
  std::map<std::string, std::size_t, std::less<>> files;  // and the order in which they came
  json_stream stream(text, "index");
  const auto read_members = [&](const auto& read_value) {
    if (!stream.take('{')) {
      throw error(error_code::bad_metadata,
                  {.field = "index", .found = stream.describe_next(), .expected = "an object"});
    }
    if (stream.take('}')) return;
    reused_string unescaped;
    do {
      const std::string_view key = stream.take_string(unescaped.text);
      unescaped.cover(budget, "index");
      stream.require(':');
      read_value(key);
    } while (stream.take(','));
    stream.require('}');
  };
  bool has_map = false;
  read_members([&](std::string_view section) {
    if (section == "weight_map") {
      if (std::exchange(has_map, true)) {
        throw error(
            error_code::bad_metadata,
            {.field = "index.weight_map", .found = "a second one", .expected = "each field once"});
      }
      reused_string unescaped;
      read_members([&](std::string_view tensor) {
        budget.take(memory_budget::string_bytes(tensor.size()), "index");
        index.tensors.emplace_back(tensor);
        if (stream.peek() != '"') {
          throw error(error_code::bad_metadata, {.tensor = index.tensors.back(),
                                                 .field = "index.weight_map",
                                                 .found = stream.describe_next(),
                                                 .expected = "the name of a file"});
        }
        const std::string_view file_name = stream.take_string(unescaped.text);
        unescaped.cover(budget, "index");
        if (!shard_names::is_plain_name(file_name)) {
          throw error(
              error_code::bad_shard,
              {.tensor = index.tensors.back(),
               .field = "index.weight_map",
               .found = join_text({"'", file_name, "'"}),
               .expected = "the name of a file in the index's own directory, without separators"});
        }
        auto known = files.find(file_name);
        if (known == files.end()) {
          budget.take(sizeof(*known) + memory_budget::map_entry_bytes + sizeof(std::string) +
                          sizeof(std::size_t) + 2 * memory_budget::string_bytes(file_name.size()),
                      "index");
          known = files.emplace(file_name, files.size()).first;
        }
        index.file_of_tensor.push_back(known->second);
      });
    } else if (section == "metadata" && stream.peek() == '{') {
      read_members([&](std::string_view field) {
        const char next = stream.peek();
        if (field != "total_size" || !(next >= '0' && next <= '9')) return stream.skip_value(2);
        const std::string_view digits = stream.take_number();
        std::uint64_t total = 0;
        const auto [end, problem] =
            std::from_chars(digits.data(), digits.data() + digits.size(), total);
        if (problem == std::errc() && end == digits.data() + digits.size()) index.total_bytes = total;
      });
    } else {
      stream.skip_value(1);
    }
  });
  stream.require_end();
  if (!has_map) {
    throw error(error_code::bad_metadata, {.field = "index",
                                           .found = "no weight_map",
                                           .expected = "an object that maps tensors to files"});
  }

  const auto name_at = [&](std::size_t i) -> const std::string& { return index.tensors[i]; };
  index.names = name_index(index.tensors.size(), name_at);
  if (const auto twice = index.names.first_repeated(name_at)) {
    throw error(error_code::duplicate_name, {.tensor = index.tensors[*twice],
                                             .field = "index.weight_map",
                                             .found = "the name a second time",
                                             .expected = "every name once"});
  }
  index.files.reserve(files.size());
  std::vector<std::size_t> place_of(files.size());
  for (const auto& [name, came] : files) {
    place_of[came] = index.files.size();
    index.files.push_back(name);
  }
  for (std::size_t& file_of : index.file_of_tensor) file_of = place_of[file_of];
  return index;
}

}  // namespace nibble::safetensors
