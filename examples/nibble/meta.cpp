#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/file/atomic_file.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/replace_metadata.hpp>
#include <nibble/format/gguf/convert_value.hpp>
#include <nibble/format/gguf/known_keys.hpp>
#include <nibble/format/gguf/replace_metadata.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/gguf/write_metadata.hpp>
#include <nibble/format/replaced_metadata.hpp>
#include <nibble/format/safetensors/replace_metadata.hpp>
#include <nibble/reader.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "hub_cache.hpp"
#include "interruption.hpp"
#include "metadata_type.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "schema_version.hpp"
#include "set_guard.hpp"
#include "standard_streams.hpp"
#include "strict_json.hpp"
#include "table.hpp"
#include "text_layout.hpp"
#include "value_summary.hpp"

namespace nibble_command {
namespace {

/// A value and the type that the file has for it.
struct typed_value {
  std::string type{};
  nlohmann::json value{};

  /// On one line; an f32 with the digits that it has.
  [[nodiscard]] std::string text() const {
    const bool is_short = type == "f32" && value.is_number();
    return fmt::format("{} ({})", is_short ? fmt::format("{}", value.get<float>()) : summarise(value),
                       type);
  }
  [[nodiscard]] nlohmann::json to_json() const { return {{"type", type}, {"value", value}}; }
};

/// What an edit has done to a key.
struct change {
  std::string key{};
  std::optional<typed_value> before{};
  std::optional<typed_value> after{};
  std::string note{};  ///< what to know of the new value

  [[nodiscard]] std::string line() const {
    const std::string name = nibble::escape_text(key);
    if (!after) return fmt::format("{}: removed, was {}\n", name, before->text());
    const std::string now = after->text() + (note.empty() ? "" : ", " + note);
    if (!before) return fmt::format("{}: new, {}\n", name, now);
    return fmt::format("{}: {} -> {}\n", name, before->text(), now);
  }
  [[nodiscard]] nlohmann::json to_json() const {
    using nlohmann::json;
    return {{"key", key},
            {"old", before ? before->to_json() : json(nullptr)},
            {"new", after ? after->to_json() : json(nullptr)},
            {"note", note.empty() ? json(nullptr) : json(note)}};
  }
};

/// KEY=VALUE or KEY:TYPE=VALUE as it was typed.
struct assignment {
  std::string option;
  std::string key;
  std::optional<std::string> type;
  std::string text;
  bool is_text;  ///< the value is text as it is, not JSON
};

constexpr std::array json_types{"null", "boolean", "integer", "number", "string", "array", "object"};

bool is_type_name(nibble::container which, const std::string& name) {
  switch (which) {
    case nibble::container::gguf: return kind_named(name).has_value();
    case nibble::container::apr: return std::ranges::find(json_types, name) != json_types.end();
    case nibble::container::safetensors: break;
  }
  return name == "string";
}

/// Takes an assignment apart. Throws usage_error.
assignment parse_assignment(const std::string& text, bool is_text, nibble::container which,
                            const nlohmann::json& metadata) {
  const std::string option = is_text ? "--set-string" : "--set";
  const std::size_t mark = text.find('=');
  if (mark == std::string::npos || mark == 0) {
    throw usage_error(fmt::format("{} {}: KEY=VALUE is expected", option, nibble::escape_text(text)));
  }
  assignment made{option, text.substr(0, mark), std::nullopt, text.substr(mark + 1), is_text};
  for (const std::string& part : {made.key, made.text}) {
    if (nibble::find_invalid_utf8(part) == std::string_view::npos) continue;
    throw usage_error(fmt::format("{} {}: UTF-8 is expected", option, nibble::escape_text(text)));
  }
  const std::size_t colon = made.key.rfind(':');
  if (!is_text && colon != std::string::npos && !metadata.contains(made.key)) {
    const std::string type = made.key.substr(colon + 1);
    if (!is_type_name(which, type)) {
      std::string names =
          "u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool, str, or [u8] and so on";
      if (which == nibble::container::apr) names = fmt::format("{}", fmt::join(json_types, ", "));
      if (which == nibble::container::safetensors) names = "string, for safetensors has no other";
      throw usage_error(fmt::format("--set {}: '{}' is no type: {}", nibble::escape_text(text),
                                    nibble::escape_text(type), names));
    }
    made.type = type;
    made.key.resize(colon);
  }
  if (made.key.empty()) {
    throw usage_error(fmt::format("{} {}: a key is expected", option, nibble::escape_text(text)));
  }
  require_free_key(made.key);
  return made;
}

/// What the value of an assignment says, before it is fitted to a type.
nlohmann::json value_of(const assignment& one) {
  if (one.is_text) return one.text;
  try {
    return parse_strictly(one.text, one.key);
  } catch (const nibble::error& problem) {
    throw usage_error(fmt::format("--set {}={}: found {}; --set-string takes text as it is",
                                  nibble::escape_text(one.key), nibble::escape_text(one.text),
                                  nibble::escape_text(problem.detail().found)));
  }
}

[[noreturn]] void refuse_value(const assignment& one, const std::string& type, bool exists) {
  const std::string key = nibble::escape_text(one.key);
  throw usage_error(fmt::format(
      "{} {}={}: does not fit {}, {}; --set {}:TYPE=VALUE {}", one.option, key,
      nibble::escape_text(one.text), type,
      one.type ? "which was asked for"
               : (exists ? "the type that the key has" : "the type that programs expect of the key"),
      key, exists ? "changes the type" : "chooses another"));
}

/// Scalars that are no text may become one, as they were typed.
bool becomes_text(const nlohmann::json& value) { return value.is_number() || value.is_boolean(); }

/// A value that is set anew has no bytes recorded of it that JSON cannot say; its type may stay.
void forget_bytes(nlohmann::json& metadata, const std::string& key) {
  const auto record = metadata.find(nibble::gguf::value_record::key);
  if (record == metadata.end()) return;
  if (const auto bytes = record->find("bytes"); bytes != record->end()) bytes->erase(key);
}

/// Sets a value of GGUF, of the type that was asked for, that the key has, or that programs expect.
std::string set_in_gguf(nlohmann::json& metadata, const assignment& one) {
  namespace gguf = nibble::gguf;
  nlohmann::json value = value_of(one);
  const bool exists = metadata.contains(one.key);
  auto record = gguf::value_record::find(metadata);
  std::optional<gguf::value_kind> kind;
  if (one.type) {
    kind = kind_named(*one.type);
  } else if (exists) {
    kind = record.kind_of(one.key);
    if (!kind) kind = gguf::natural_kind(metadata.at(one.key));
  } else {
    kind = gguf::known_kind(one.key);
  }
  if (!kind) kind = gguf::natural_kind(value);
  if (!kind) {
    throw usage_error(
        fmt::format("{} {}={}: GGUF has no type for null, objects and arrays of several types",
                    one.option, nibble::escape_text(one.key), nibble::escape_text(one.text)));
  }
  if (kind->type == gguf::value_type::string && becomes_text(value)) value = one.text;
  auto converted = gguf::convert_value(value, *kind);
  if (!converted) refuse_value(one, kind_text(*kind), exists);
  forget_bytes(metadata, one.key);
  metadata[one.key] = std::move(converted->value);
  nibble::memory_budget endless;
  record = gguf::value_record::find(metadata);
  record.add_kind(one.key, *kind, endless);
  std::move(record).store(metadata);
  return converted->is_rounded ? fmt::format("rounded from {}", one.text) : "";
}

/// Sets a value of an .apr file, of the JSON type that was asked for or that the key has.
std::string set_in_apr(nlohmann::json& metadata, const assignment& one) {
  nlohmann::json value = value_of(one);
  const auto old = metadata.find(one.key);
  const bool exists = old != metadata.end() && !old->is_null();
  const std::string type = one.type ? *one.type : exists ? json_type_text(*old) : json_type_text(value);
  std::string note;
  if (type == "number" && value.is_number()) {
    const auto number = value.get<double>();
    if (value != nlohmann::json(number)) note = fmt::format("rounded from {}", one.text);
    value = number;
  } else if (type == "integer" && value.is_number_float()) {
    const auto whole = nibble::gguf::convert_value(value, {nibble::gguf::value_type::i64, {}});
    if (whole) value = whole->value;
  } else if (type == "string" && becomes_text(value)) {
    value = one.text;
  }
  if (json_type_text(value) != type) refuse_value(one, type, exists);
  metadata[one.key] = std::move(value);
  return note;
}

std::string set_in_safetensors(nlohmann::json& metadata, const assignment& one) {
  const nlohmann::json value = value_of(one);
  metadata[one.key] = value.is_string() ? value.get<std::string>() : one.text;
  return value.is_string() ? "" : "as text, for safetensors has no other type";
}

std::optional<typed_value> typed(nibble::container which, const nlohmann::json& metadata,
                                 const std::string& key) {
  if (!metadata.contains(key)) return std::nullopt;
  return typed_value{type_text(which, metadata, key), metadata.at(key)};
}

/// Throws usage_error where a key is named by two options: which counts would be a guess.
void require_different_keys(const std::vector<std::string>& keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (std::ranges::find(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(i), keys[i]) ==
        keys.begin() + static_cast<std::ptrdiff_t>(i)) {
      continue;
    }
    throw usage_error(fmt::format("'{}' is named twice", nibble::escape_text(keys[i])));
  }
}

/// Does what the options say to the metadata of one file; where `in_all` is not asked for, to keys that
/// are there alone, for another file of the set holds the rest.
std::vector<change> edit(nlohmann::json& metadata, const meta_options& options,
                         const nibble::reader& file, bool in_all) {
  const nibble::container which = file.container();
  const nlohmann::json old = metadata;
  std::vector<change> changes;
  std::vector<std::string> keys;
  for (const std::string& key : options.remove) {
    require_free_key(key);
    keys.push_back(key);
    const auto before = typed(which, old, key);
    if (!before && !in_all) continue;
    if (!before) {
      throw usage_error(fmt::format("--remove {}: the metadata of {} have no such key",
                                    nibble::escape_text(key), nibble::escape_text(file.name())));
    }
    metadata.erase(key);
    forget_bytes(metadata, key);
    changes.push_back({key, before, std::nullopt, {}});
  }
  const auto set = [&](const std::string& text, bool is_text) {
    const assignment one = parse_assignment(text, is_text, which, old);
    keys.push_back(one.key);
    const auto before = typed(which, old, one.key);
    if (!before && !in_all) return;
    std::string note = which == nibble::container::gguf  ? set_in_gguf(metadata, one)
                       : which == nibble::container::apr ? set_in_apr(metadata, one)
                                                         : set_in_safetensors(metadata, one);
    changes.push_back({one.key, before, typed(which, metadata, one.key), std::move(note)});
  };
  for (const std::string& text : options.set) set(text, false);
  for (const std::string& text : options.set_string) set(text, true);
  require_different_keys(keys);
  if (which == nibble::container::gguf) {
    const auto refuse = [] {
      throw usage_error(
          fmt::format("'{}' places the tensors: it is not to be edited", nibble::gguf::alignment_key));
    };
    try {
      if (nibble::gguf::alignment_of(metadata) != nibble::gguf::alignment_of(old)) refuse();
    } catch (const nibble::error&) {
      refuse();
    }
  }
  return changes;
}

nibble::replaced_metadata replace_metadata(nibble::container which, std::span<const std::byte> file,
                                           const nlohmann::json& metadata) {
  switch (which) {
    case nibble::container::gguf: return nibble::gguf::replace_metadata(file, metadata);
    case nibble::container::safetensors: return nibble::safetensors::replace_metadata(file, metadata);
    case nibble::container::apr: break;
  }
  return nibble::apr::replace_metadata(file, metadata);
}

/// A file that gets other metadata, and where the new one goes.
struct edited_file {
  const nibble::reader* file;
  nlohmann::json metadata;
  std::string path;
};

/// Writes a file with other metadata, up to its commit: what stands behind them is copied as it is.
std::unique_ptr<nibble::atomic_file> write_with(const edited_file& edited) {
  constexpr std::size_t part_bytes = std::size_t{1} << 22U;
  nibble::replaced_metadata made;
  try {
    made = replace_metadata(edited.file->container(), edited.file->bytes(), edited.metadata);
  } catch (const nibble::error& problem) {
    // The file has been opened, so it is what was asked for that does not go.
    throw usage_error(problem.in_file(edited.file->name()).what());
  }
  auto out = std::make_unique<nibble::atomic_file>(edited.path, made.file_bytes);
  nibble::crc32_sum sum{std::span<const std::byte>(made.front)};
  out->write_at(0, made.front);
  std::uint64_t at = made.front.size();
  for (auto rest = made.kept; !rest.empty();) {
    if (interruption::received() != 0) {
      throw nibble::error(nibble::error_code::cancelled, {.file = edited.path, .field = "signal"});
    }
    const auto part = rest.first(std::min(rest.size(), part_bytes));
    rest = rest.subspan(part.size());
    out->write_at(at, part);
    mapped_inputs::require_whole();
    sum += nibble::crc32_sum(part);
    at += part.size();
  }
  if (made.has_footer) {
    std::array<std::byte, nibble::apr::footer_bytes> footer;
    nibble::store_number(footer, 0, sum.value());
    out->write_at(at, footer);
  }
  return out;
}

/// Writes all files, and only then puts them in place.
void write_all(const std::vector<edited_file>& files) {
  const interruption noted;
  std::vector<std::unique_ptr<nibble::atomic_file>> written;
  std::vector<nibble::atomic_file*> to_commit;
  for (const edited_file& each : files) {
    try {
      written.push_back(write_with(each));
    } catch (const nibble::error& problem) {
      throw problem.in_file(each.path);
    }
    to_commit.push_back(written.back().get());
  }
  nibble::atomic_file::commit_set(to_commit);
}

/// The files that an edit changes: of a set the first, which holds the metadata, and others where they
/// hold one of the keys too.
std::vector<edited_file> choose_files(const nibble::reader& in, const meta_options& options,
                                      std::vector<change>& changes) {
  std::vector<edited_file> files;
  const auto add = [&](const nibble::reader& file, bool in_all) {
    edited_file edited{&file, file.metadata(), options.output.value_or(file.name())};
    std::vector<change> made = edit(edited.metadata, options, file, in_all);
    if (made.empty()) return;
    if (in_all) changes = std::move(made);
    files.push_back(std::move(edited));
  };
  if (in.shards().empty()) {
    add(in, true);
    return files;
  }
  if (options.output) {
    throw usage_error(
        fmt::format("{}: the metadata of a set are changed in its own files; --output takes one file, "
                    "with --single",
                    nibble::escape_text(options.input)));
  }
  for (const nibble::reader& shard : in.shards()) add(shard, &shard == &in.shards().front());
  return files;
}

/// Throws usage_error for a key that config.json or another file beside the tensors gives: what the tensors'
/// file says of it is not what is read.
void require_keys_of_files(const nibble::reader& in, const meta_options& options) {
  if (in.container() != nibble::container::safetensors) return;
  const nibble::reader whole = open_input(options.input, false);
  const auto require = [&](const std::string& key) {
    const auto read = whole.metadata().find(key);
    if (read == whole.metadata().end()) return;
    const auto own = in.metadata().find(key);
    if (own != in.metadata().end() && *own == *read) return;
    throw usage_error(
        fmt::format("{}: metadata '{}' comes from a file beside it, such as config.json: edit that, or "
                    "give --single "
                    "to set it in the tensors' file, where it is not read",
                    nibble::escape_text(in.name()), nibble::escape_text(key)));
  };
  for (const std::string& text : options.set) {
    const std::string key = text.substr(0, text.find('='));
    require(key.substr(0, key.find(':')));
  }
  for (const std::string& text : options.set_string) require(text.substr(0, text.find('=')));
  for (const std::string& key : options.remove) require(key);
}

nlohmann::json to_json(const nibble::reader& in, nlohmann::json metadata) {
  using nlohmann::json;
  json types = json::object();
  metadata.erase(nibble::apr::packing_record::key);
  for (const auto& [key, value] : metadata.items()) {
    if (key == nibble::gguf::value_record::key) continue;
    types[key] = type_text(in.container(), metadata, key);
  }
  return {{"file", in.name()},
          {"format", nibble::to_string(in.container())},
          {"metadata", std::move(metadata)},
          {"types", std::move(types)},
          {"changes", json::array()},
          {"written", json::array()}};
}

std::string to_text(const nibble::reader& in) {
  using side = table::side;
  table list({{"key", side::left}, {"type", side::left}, {"value", side::left}});
  nlohmann::json metadata = in.metadata();
  metadata.erase(nibble::apr::packing_record::key);
  std::size_t count = 0;
  for (const auto& [key, value] : metadata.items()) {
    if (key == nibble::gguf::value_record::key) continue;
    const auto one = typed(in.container(), metadata, key);
    const bool is_short = one->type == "f32" && value.is_number();
    list.add_row({nibble::escape_text(key), one->type,
                  is_short ? fmt::format("{}", value.get<float>()) : summarise(value)});
    ++count;
  }
  const std::string end = fmt::format("{}: {}, {}\n", nibble::escape_text(in.name()),
                                      nibble::to_string(in.container()), counted(count, "key"));
  return count == 0 ? end : list.to_string() + end;
}

}  // namespace

exit_code meta(const meta_options& options) {
  const bool is_edited = !options.set.empty() || !options.set_string.empty() || !options.remove.empty();
  const nibble::reader in =
      is_edited ? open_files(options.input, options.single) : open_input(options.input, options.single);
  if (!is_edited) {
    if (options.output || options.dry_run) {
      throw usage_error("--output and --dry-run are for what --set, --set-string or --remove change");
    }
    if (options.json) {
      print_json(schema_version::meta, to_json(in, in.metadata()));
    } else {
      print_out(to_text(in));
    }
    return exit_code::fine;
  }
  if (!options.single) require_keys_of_files(in, options);
  std::vector<change> changes;
  const std::vector<edited_file> files = choose_files(in, options, changes);
  for (const edited_file& each : files) {
    if (options.output) {
      static_cast<void>(require_container(each.path, "meta", {in.container()}));
      if (!options.force) require_whole_sets(std::span(&each.path, 1));
    }
    require_no_content_of_cache(each.path);
  }
  if (!options.dry_run) write_all(files);

  if (options.json) {
    nlohmann::json edited = files.front().metadata;
    if (!in.shards().empty()) nibble::shard_record::erase_from(edited);
    nlohmann::json report = to_json(in, std::move(edited));
    for (const change& each : changes) report["changes"].push_back(each.to_json());
    if (!options.dry_run) {
      for (const edited_file& each : files) report["written"].push_back(each.path);
    }
    print_json(schema_version::meta, report);
    return exit_code::fine;
  }
  std::string text;
  for (const change& each : changes) text += each.line();
  for (const edited_file& each : files) {
    text +=
        fmt::format("{}: {}, {} as they were\n", nibble::escape_text(each.path),
                    options.dry_run ? "not written" : "written", counted(each.file->size(), "tensor"));
  }
  print_out(text);
  return exit_code::fine;
}

}  // namespace nibble_command
