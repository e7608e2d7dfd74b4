#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/file_type.hpp>
#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/gguf/write_metadata.hpp>
#include <nibble/format/shards.hpp>
#include <nibble/reader.hpp>

#include "exit_code.hpp"
#include "typed_metadata.hpp"

namespace nibble_command {

/// Keys of metadata that the library writes by itself: how tensors are stored, which shard a file is,
/// what JSON does not say of GGUF's values.
inline constexpr std::array reserved_keys{nibble::apr::packing_record::key,
                                          "quantization",
                                          nibble::shard_record::key,
                                          nibble::gguf::value_record::key,
                                          "split.no",
                                          "split.count",
                                          "split.tensors.count"};

/// Throws usage_error for a key of reserved_keys.
inline void require_free_key(std::string_view key) {
  for (const std::string_view reserved : reserved_keys) {
    if (key != reserved) continue;
    throw usage_error(fmt::format(
        "metadata '{}': the library's own, written with the tensors and not to be edited", key));
  }
}

/// What a new file does not hold as the old one did.
struct loss {
  std::string what;  ///< a key, "checksums", or a tensor's name
  std::string why;
  bool is_tensor = false;

  [[nodiscard]] std::string line() const {
    if (what == "checksums") return fmt::format("{}: {}\n", what, why);
    return fmt::format("{} '{}': {}\n", is_tensor ? "tensor" : "metadata", nibble::escape_text(what),
                       why);
  }
};

/// The metadata of a file for another one, and what had to be left out or changed.
struct carried_metadata {
  nlohmann::json values;
  std::vector<loss> losses{};
};

/// The metadata of `from`, `metadata` or what they became under other names, that still hold in another
/// file of the container `to`: without what the library itself writes, and without the record of GGUF's
/// types where all values become strings.
[[nodiscard]] inline carried_metadata carry_metadata(const nibble::reader& from,
                                                     nlohmann::json metadata, nibble::container to) {
  using nibble::container;
  carried_metadata carried{std::move(metadata)};
  const auto leave_out = [&](const char* key, std::string_view why) {
    if (carried.values.erase(key) != 0 && !why.empty()) {
      carried.losses.push_back({key, fmt::format("left out, {}", why)});
    }
  };
  const bool is_own = from.container() == container::apr;
  if (is_own || to == container::apr) {
    for (const char* const key : {nibble::apr::packing_record::key, "quantization"}) {
      // An .apr file gets new ones. The checksums are said to be lost as such.
      const bool is_silent = is_own && (to == container::apr || std::string_view(key) == "nibble");
      leave_out(key, is_silent              ? ""
                     : to == container::apr ? ".apr files have their own"
                                            : "it says how an .apr file stores tensors");
    }
  }
  if (to == container::safetensors) {
    leave_out(nibble::gguf::value_record::key, "safetensors has strings only, and no types");
  }
  for (const char* const key :
       {nibble::shard_record::key, "split.no", "split.count", "split.tensors.count"}) {
    leave_out(key, "it says which shard of a set the old file was");
  }
  if (is_own && to != container::apr) {
    carried.losses.push_back(
        {"checksums", fmt::format("left out, for {} has no place for them",
                                  to == container::gguf ? "GGUF" : "safetensors")});
  }
  // Loaders of the safetensors world refuse a file that does not say whose layout its matrices have.
  if (to == container::safetensors) carried.values.emplace("format", "pt");
  return carried;
}

/// As above, of a file whose metadata keep their names.
[[nodiscard]] inline carried_metadata carry_metadata(const nibble::reader& from, nibble::container to) {
  return carry_metadata(from, typed_metadata(from), to);
}

/// Adds to the losses the values that the container has no type for.
inline void add_text_losses(carried_metadata& carried, nibble::container to) {
  const auto add = [&](const std::string& key, std::string_view container) {
    carried.losses.push_back({key, fmt::format("written as JSON text, for {}", container)});
  };
  if (to == nibble::container::gguf) {
    for (const std::string& key : nibble::gguf::keys_of_text(carried.values)) {
      add(key, "GGUF has no type for it");
    }
  }
  if (to == nibble::container::safetensors) {
    for (const auto& [key, value] : carried.values.items()) {
      if (!value.is_string()) add(key, "safetensors has strings only");
    }
  }
}

/// How many elements of matrices a file holds in each encoding, and under nothing those of dtypes that
/// are not known here.
using matrix_elements = std::map<std::optional<nibble::encoding>, std::uint64_t>;

/// Makes general.file_type, where the metadata have one, `number`.
inline void set_file_type(carried_metadata& carried, std::uint32_t number) {
  const auto found = carried.values.find(nibble::gguf::file_type_key);
  if (found == carried.values.end()) return;
  const std::string before = found->is_string() ? found->get<std::string>() : found->dump();
  if (before == std::to_string(number)) return;
  if (found->is_string()) {
    *found = std::to_string(number);
  } else {
    *found = number;
  }
  carried.losses.push_back(
      {nibble::gguf::file_type_key, fmt::format("{} is {} now, of the mixture", before, number)});
}

/// Makes general.file_type, where the metadata have one, say what most elements of the matrices are
/// stored as. Where that is a dtype that is not known here, what the metadata say stays.
inline void update_file_type(carried_metadata& carried, const matrix_elements& elements) {
  const auto found = carried.values.find(nibble::gguf::file_type_key);
  if (found == carried.values.end() || elements.empty()) return;
  const auto most =
      std::ranges::max_element(elements, {}, [](const auto& each) { return each.second; });
  if (!most->first) return;
  const nibble::encoding most_stored = *most->first;
  const std::string before = found->is_string() ? found->get<std::string>() : found->dump();
  const std::uint64_t former = found->is_number_unsigned() ? found->get<std::uint64_t>() : ~0ULL;
  const auto twin = nibble::gguf::ggml_twin_of(most_stored);
  const auto number = twin ? nibble::gguf::file_type_of(*twin, former) : std::nullopt;
  if (!number) {
    carried.values.erase(found);
    carried.losses.push_back(
        {nibble::gguf::file_type_key,
         fmt::format("{} left out, llama.cpp has no number for {}", before, to_string(most_stored))});
    return;
  }
  if (*number == former || before == std::to_string(*number)) return;
  if (found->is_string()) {
    *found = std::to_string(*number);
  } else {
    *found = *number;
  }
  carried.losses.push_back(
      {nibble::gguf::file_type_key,
       fmt::format("{} is {} now, for the file holds {}", before, *number, to_string(most_stored))});
}

}  // namespace nibble_command
