#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/model_config.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/checkpoint/tokenizer_json.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble {

namespace checkpoint_files {

/// The largest file beside the tensors that is read.
inline constexpr std::uint64_t max_file_bytes = std::uint64_t{64} << 20U;

/// A file of a folder, read whole; nothing where there is no such name. A link that leads nowhere is
/// file_not_found. Throws that, read_failed, bad_metadata (too large).
[[nodiscard]] inline std::optional<std::string> read_if_there(const std::string& folder,
                                                              std::string_view name,
                                                              std::string& path) {
  namespace fs = std::filesystem;
  const fs::path full = path_of_text(folder) / path_of_text(name);
  path = text_of_path(full);
  std::error_code not_there;
  if (fs::symlink_status(full, not_there).type() == fs::file_type::not_found) return std::nullopt;
  const input_file file(path, file_access::mapped);
  if (file.bytes().size() > max_file_bytes) {
    throw error(error_code::bad_metadata, {.file = path,
                                           .field = "size",
                                           .found = join_text({file.bytes().size(), " bytes"}),
                                           .expected = join_text({"at most ", max_file_bytes})});
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

/// Calls use(object) for the JSON object in a file of a folder, where there is such a file; returns
/// whether there is. Errors of both name the file.
template <class Json, class Use>
bool with_object(const std::string& folder, std::string_view name, const Use& use) {
  std::string path;
  const auto text = read_if_there(folder, name, path);
  if (!text) return false;
  try {
    memory_budget budget(text->size(), tokenizer_json::memory_per_byte);
    use(parse_json_object<Json>(trim_json(*text), "JSON", budget));
  } catch (const error& problem) {
    throw problem.in_file(path);
  }
  return true;
}

/// Ids of special tokens as metadata: a whole number, or an array of such. Negative ones and null stand
/// for none. Throws bad_metadata.
template <class Json>
[[nodiscard]] std::optional<Json> token_ids_of(const Json& value, std::string_view name) {
  const auto is_none = [](const Json& each) {
    return each.is_null() || (each.is_number_integer() && !each.is_number_unsigned());
  };
  const auto is_id = [](const Json& each) { return each.is_number_unsigned(); };
  if (is_none(value)) return std::nullopt;
  if (is_id(value)) return value;
  bool fits = value.is_array();
  Json ids = Json::array();
  if (fits) {
    for (const Json& each : value) {
      fits = fits && (is_id(each) || is_none(each));
      if (is_id(each)) ids.push_back(each);
    }
  }
  if (!fits) {
    throw error(error_code::bad_metadata, {.field = std::string(name),
                                           .found = join_text({"a JSON ", value.type_name()}),
                                           .expected = "the id of a token, or an array of such"});
  }
  if (ids.empty()) return std::nullopt;
  return ids;
}

/// The text of a special token in tokenizer_config.json: a string, or an object with it as content.
template <class Json>
[[nodiscard]] std::string special_token(const Json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) return {};
  return found->is_object() ? tokenizer_json::text_of(*found, "content")
                            : tokenizer_json::text_of(config, name);
}

/// A special token in tokenizer_config.json and the key of its id.
struct special_token_key {
  const char* name;
  const char* key;
};
inline constexpr std::array<special_token_key, 4> special_tokens = {{
    {"bos_token", "tokenizer.bos_token_id"},
    {"eos_token", "tokenizer.eos_token_id"},
    {"pad_token", "tokenizer.pad_token_id"},
    {"unk_token", "tokenizer.unknown_token_id"},
}};

/// The chat template that tokenizer_config.json has: a text, or several of which one is the default.
template <class Json>
[[nodiscard]] std::string chat_template_of(const Json& config) {
  const auto found = config.find("chat_template");
  if (found == config.end()) return {};
  if (found->is_string()) return found->template get<std::string>();
  if (!found->is_array()) return {};
  for (const Json& each : *found) {
    if (each.is_object() && tokenizer_json::text_of(each, "name") == "default") {
      return tokenizer_json::text_of(each, "template");
    }
  }
  return {};
}

/// Adds what tokenizer_config.json says to what tokenizer.json has said: ids of special tokens by their
/// text, whether a token is put before a text, the chat template.
template <class Json>
void add_tokenizer_config(Json& metadata, const Json& config) {
  const auto vocabulary = metadata.find("tokenizer.vocabulary");
  const bool has_vocabulary = vocabulary != metadata.end() && vocabulary->is_array();
  for (const special_token_key& each : special_tokens) {
    const std::string text = special_token(config, each.name);
    if (text.empty() || !has_vocabulary || metadata.contains(each.key)) continue;
    // The last one: a token that was added is meant where another is spelt so, too.
    for (std::size_t i = vocabulary->size(); i-- != 0;) {
      if ((*vocabulary)[i] != text) continue;
      metadata[each.key] = std::uint64_t{i};
      break;
    }
  }
  for (const char* const name : {"add_bos_token", "add_eos_token"}) {
    const auto flag = config.find(name);
    if (flag != config.end() && flag->is_boolean()) {
      metadata[join_text({"tokenizer.", name})] = *flag;
    }
  }
  const std::string name = tokenizer_json::text_of(config, "tokenizer_class");
  const bool is_llama = name.starts_with("Llama") || name.starts_with("Gemma");
  if (has_vocabulary && !metadata.contains("tokenizer.add_bos_token")) {
    metadata["tokenizer.add_bos_token"] = is_llama;
  }
  if (std::string text = chat_template_of(config); !text.empty()) {
    metadata["chat_template"] = std::move(text);
  }
}

}  // namespace checkpoint_files

/// What the files beside a checkpoint's tensors say, as .apr's flat metadata keys: config.json
/// (metadata_of_config()), or metadata.json as it is where there is no config.json; tokenizer.json
/// (metadata_of_tokenizer()); hf_quant_config.json, quantize_config.json (GPTQ) and quant_config.json (AWQ), as quantization_config
/// where config.json has none; tokenizer_config.json; generation_config.json, whose eos_token_id counts
/// before that of config.json; chat_template.jinja, else chat_template.json, else the template in
/// tokenizer_config.json. Files that are not there are passed by. `folder` is a path; empty is the
/// current one.
///
/// Throws file_not_found (a link that leads nowhere), read_failed, bad_metadata, directory_too_large; all
/// name the file, and where it is one value that is wrong its key. A file is read up to 64 MiB, and
/// reading takes at most eight times its size and 15 MB of memory.
template <class Json>
[[nodiscard]] Json metadata_of_folder(const std::string& folder) {
  using namespace checkpoint_files;
  Json metadata = Json::object();
  const bool has_config = with_object<Json>(folder, "config.json", [&](const Json& config) {
    metadata = metadata_of_config(config);
    for (const char* const name : {"bos", "eos", "pad", "unk"}) {
      const std::string key = join_text({"tokenizer.", name, "_token_id"});
      const auto id = metadata.find(key);
      if (id == metadata.end()) continue;
      const auto ids = token_ids_of(*id, join_text({name, "_token_id"}));
      metadata.erase(key);
      if (ids) metadata[name == std::string_view("unk") ? "tokenizer.unknown_token_id" : key] = *ids;
    }
  });
  if (!has_config) {
    with_object<Json>(folder, "metadata.json", [&](const Json& found) { metadata = found; });
  }

  with_object<Json>(folder, "hf_quant_config.json", [&](const Json& config) {
    const auto found = config.find("quantization");
    const std::string key(quantization_configs[0]);
    if (found != config.end() && found->is_object() && !metadata.contains(key)) metadata[key] = *found;
  });

  // What GPTQ's and AWQ's programs wrote before config.json had a place for it.
  struct old_config {
    const char* file;
    const char* method;
  };
  for (const old_config& each :
       {old_config{"quantize_config.json", "gptq"}, old_config{"quant_config.json", "awq"}}) {
    with_object<Json>(folder, each.file, [&](const Json& config) {
      const std::string key(quantization_configs[0]);
      if (metadata.contains(key)) return;
      metadata[key] = config;
      metadata[key].emplace("quant_method", each.method);
    });
  }

  with_object<Json>(folder, "generation_config.json", [&](const Json& config) {
    for (const char* const name : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
      const auto id = config.find(name);
      if (id == config.end()) continue;
      if (const auto ids = token_ids_of(*id, name)) metadata[join_text({"tokenizer.", name})] = *ids;
    }
  });

  std::string path;
  if (const auto text = read_if_there(folder, "tokenizer.json", path)) {
    try {
      metadata.update(metadata_of_tokenizer<Json>(trim_json(*text)));
    } catch (const error& problem) {
      throw problem.in_file(path);
    }
  }
  with_object<Json>(folder, "tokenizer_config.json",
                    [&](const Json& config) { add_tokenizer_config(metadata, config); });
  if (const auto text = read_if_there(folder, "chat_template.jinja", path)) {
    if (find_invalid_utf8(*text) != std::string_view::npos) {
      throw error(error_code::bad_metadata,
                  {.file = path, .found = "bytes that are not UTF-8", .expected = "UTF-8"});
    }
    metadata["chat_template"] = *text;
  } else {
    with_object<Json>(folder, "chat_template.json", [&](const Json& config) {
      if (std::string found = chat_template_of(config); !found.empty()) {
        metadata["chat_template"] = std::move(found);
      }
    });
  }
  return metadata;
}

}  // namespace nibble
