#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/atomic_file.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/replace_metadata.hpp>
#include <nibble/format/gguf/replace_metadata.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/replaced_metadata.hpp>
#include <nibble/format/safetensors/replace_metadata.hpp>
#include <nibble/reader.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "open_input.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"
#include "write_file.hpp"

namespace nibble_command {
namespace {

/// "KEY=VALUE" apart. Throws usage_error.
std::pair<std::string, std::string> split_assignment(const std::string& text) {
  const std::size_t mark = text.find('=');
  if (mark == std::string::npos || mark == 0) {
    throw usage_error(fmt::format("'{}' is no KEY=VALUE", nibble::escape_text(text)));
  }
  return {text.substr(0, mark), text.substr(mark + 1)};
}

/// Throws usage_error for what the library writes by itself: into .apr files what it knows of the
/// tensors, beside GGUF's values what JSON does not say of them.
void require_free_key(const std::string& key, nibble::container which) {
  const bool is_of_tensors = key == nibble::apr::packing_record::key || key == "quantization";
  if (which == nibble::container::apr && is_of_tensors) {
    throw usage_error(
        fmt::format("'{}' says how the tensors are stored, and is not to be edited", key));
  }
  if (which == nibble::container::gguf && key == nibble::gguf::value_record::key) {
    throw usage_error(fmt::format("'{}' is no key of the file, and is not to be edited", key));
  }
}

/// A value that is set anew has no bytes recorded of it that JSON cannot say; its type may stay.
void forget_bytes(nlohmann::json& metadata, const std::string& key) {
  const auto record = metadata.find(nibble::gguf::value_record::key);
  if (record == metadata.end()) return;
  if (const auto bytes = record->find("bytes"); bytes != record->end()) bytes->erase(key);
}

void edit(nlohmann::json& metadata, const meta_options& options, const nibble::reader& file) {
  for (const std::string& key : options.remove) {
    require_free_key(key, file.container());
    if (metadata.erase(key) == 0) {
      throw usage_error(fmt::format("{}: the metadata have no '{}'", nibble::escape_text(file.name()),
                                    nibble::escape_text(key)));
    }
    forget_bytes(metadata, key);
  }
  for (const std::string& assignment : options.set) {
    auto [key, value] = split_assignment(assignment);
    require_free_key(key, file.container());
    try {
      nibble::memory_budget endless;
      nibble::require_parsable_json(value, key, endless);
      if (!nlohmann::json::accept(value)) {
        throw nibble::error(nibble::error_code::bad_metadata, {.field = key, .found = value});
      }
      metadata[key] = nibble::parse_json_object("{\"v\":" + value + "}", key)["v"];
      forget_bytes(metadata, key);
    } catch (const nibble::error&) {
      throw usage_error(
          fmt::format("'{}' is no JSON; --set-string takes text as it is", nibble::escape_text(value)));
    }
  }
  for (const std::string& assignment : options.set_string) {
    auto [key, value] = split_assignment(assignment);
    require_free_key(key, file.container());
    metadata[key] = std::move(value);
    forget_bytes(metadata, key);
  }
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

/// Writes `file` with other metadata: what stands behind them is copied as it is.
void write_with(const nlohmann::json& metadata, nibble::container which, const nibble::input_file& file,
                const std::string& path) {
  constexpr std::size_t part_bytes = std::size_t{1} << 22U;
  const interruption noted;
  const auto made = replace_metadata(which, file.bytes(), metadata);
  nibble::atomic_file out(path, made.file_bytes);
  nibble::crc32_sum sum{std::span<const std::byte>(made.front)};
  out.write_at(0, made.front);
  std::uint64_t at = made.front.size();
  for (auto rest = made.kept; !rest.empty();) {
    if (interruption::received() != 0) {
      throw nibble::error(nibble::error_code::cancelled, {.file = path, .field = "signal"});
    }
    const auto part = rest.first(std::min(rest.size(), part_bytes));
    rest = rest.subspan(part.size());
    out.write_at(at, part);
    sum += nibble::crc32_sum(part);
    at += part.size();
  }
  if (made.has_footer) {
    std::array<std::byte, nibble::apr::footer_bytes> footer;
    nibble::store_number(footer, 0, sum.value());
    out.write_at(at, footer);
  }
  out.commit();
}

}  // namespace

exit_code meta(const meta_options& options) {
  const bool is_edited = !options.set.empty() || !options.set_string.empty() || !options.remove.empty();
  const nibble::reader in =
      is_edited ? open_files(options.input, options.single) : open_input(options.input, options.single);
  nlohmann::json metadata = in.metadata();
  if (!is_edited) {
    if (options.output) throw usage_error("--output is for what --set or --remove changes");
    if (in.container() == nibble::container::apr) metadata.erase(nibble::apr::packing_record::key);
    print_json(metadata);
    return exit_code::fine;
  }
  // Changed is the file that was named; the metadata of an index are its first file's.
  const auto shards = in.shards();
  const auto named = std::ranges::find(shards, options.input, &nibble::reader::name);
  const nibble::reader& file = shards.empty() ? in : named != shards.end() ? *named : shards.front();
  if (options.output && &file != &in && named == shards.end()) {
    throw usage_error(
        fmt::format("{}: the metadata of a set are changed in its first file; --output takes that",
                    nibble::escape_text(options.input)));
  }
  metadata = file.metadata();
  edit(metadata, options, file);
  const std::string path = options.output ? *options.output : file.name();
  require_honest_name(path, file.container());
  try {
    write_with(metadata, file.container(), nibble::input_file(file.name(), nibble::file_access::mapped),
               path);
  } catch (const nibble::error& problem) {
    throw problem.in_file(path);
  }
  print_out(fmt::format("{}: {}\n", nibble::escape_text(path), counted(file.size(), "tensor")));
  return exit_code::fine;
}

}  // namespace nibble_command
