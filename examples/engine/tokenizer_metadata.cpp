#include "tokenizer_metadata.hpp"

#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble_engine {

void metadata_entry::refuse(std::string found, std::string expected) const {
  throw nibble::error(
      nibble::error_code::bad_metadata,
      {.field = "metadata." + name, .found = std::move(found), .expected = std::move(expected)});
}

const nlohmann::json::array_t& metadata_entry::array() const {
  if (!is_there()) refuse("nothing", "an array");
  const auto* const values = value->get_ptr<const nlohmann::json::array_t*>();
  if (values == nullptr) refuse(value->type_name(), "an array");
  return *values;
}

const std::string& metadata_entry::text() const {
  if (!is_there()) refuse("nothing", "a string");
  const auto* const string = value->get_ptr<const std::string*>();
  if (string == nullptr) refuse(value->type_name(), "a string");
  return *string;
}

bool metadata_entry::flag() const {
  if (!is_there()) refuse("nothing", "true or false");
  if (!value->is_boolean()) refuse(value->type_name(), "true or false");
  return value->get<bool>();
}

std::vector<std::uint32_t> metadata_entry::token_ids(std::size_t vocabulary_size) const {
  std::vector<std::uint32_t> ids;
  const auto add = [&](const nlohmann::json& id) {
    const bool is_whole =
        id.is_number_unsigned() || (id.is_number_integer() && id.get<std::int64_t>() >= 0);
    if (!is_whole || id.get<std::uint64_t>() >= vocabulary_size) {
      refuse(id.is_number() ? id.dump() : id.type_name(),
             nibble::join_text({"the id of one of ", vocabulary_size, " tokens"}));
    }
    ids.push_back(id.get<std::uint32_t>());
  };
  if (!is_there()) refuse("nothing", "the id of a token");
  if (value->is_array()) {
    for (const nlohmann::json& id : *value) add(id);
  } else {
    add(*value);
  }
  return ids;
}

metadata_entry find_entry(const nlohmann::json& metadata, std::string_view name,
                          std::string_view gguf_name) {
  for (const std::string_view each : {name, gguf_name}) {
    const auto found = metadata.find(std::string(each));
    if (!each.empty() && found != metadata.end() && !found->is_null())
      return {std::string(each), &*found};
  }
  return {std::string(name), nullptr};
}

}  // namespace nibble_engine
