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
#include <nibble/format/json_text.hpp>
#include <nibble/reader.hpp>

#include "command.hpp"
#include "interruption.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"

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

/// Throws usage_error for what the library writes by itself, of what it knows of the tensors.
void require_free_key(const std::string& key) {
  if (key != nibble::apr::packing_record::key && key != "quantization") return;
  throw usage_error(fmt::format("'{}' says how the tensors are stored, and is not to be edited", key));
}

void edit(nlohmann::json& metadata, const meta_options& options, const std::string& file) {
  for (const std::string& key : options.remove) {
    require_free_key(key);
    if (metadata.erase(key) == 0) {
      throw usage_error(fmt::format("{}: the metadata have no '{}'", nibble::escape_text(file),
                                    nibble::escape_text(key)));
    }
  }
  for (const std::string& assignment : options.set) {
    auto [key, value] = split_assignment(assignment);
    require_free_key(key);
    try {
      nibble::memory_budget endless;
      nibble::require_parsable_json(value, key, endless);
      if (!nlohmann::json::accept(value)) {
        throw nibble::error(nibble::error_code::bad_metadata, {.field = key, .found = value});
      }
      metadata[key] = nibble::parse_json_object("{\"v\":" + value + "}", key)["v"];
    } catch (const nibble::error&) {
      throw usage_error(
          fmt::format("'{}' is no JSON; --set-string takes text as it is", nibble::escape_text(value)));
    }
  }
  for (const std::string& assignment : options.set_string) {
    auto [key, value] = split_assignment(assignment);
    require_free_key(key);
    metadata[key] = std::move(value);
  }
}

/// Writes `file` with other metadata: what stands behind them is copied as it is.
void write_with(const nlohmann::json& metadata, const nibble::input_file& file,
                const std::string& path) {
  constexpr std::size_t part_bytes = std::size_t{1} << 22U;
  const interruption noted;
  const auto made = nibble::apr::replace_metadata(file.bytes(), metadata);
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
  const nibble::reader in(options.input);
  const bool is_edited = !options.set.empty() || !options.set_string.empty() || !options.remove.empty();
  nlohmann::json metadata = in.metadata();
  if (!is_edited) {
    if (options.output) throw usage_error("--output is for what --set or --remove changes");
    metadata.erase(nibble::apr::packing_record::key);
    print_json(metadata);
    return exit_code::fine;
  }
  if (in.container() != nibble::container::apr) {
    throw usage_error(fmt::format("{}: only the metadata of .apr files can be changed, this is {}",
                                  nibble::escape_text(options.input),
                                  nibble::to_string(in.container())));
  }
  edit(metadata, options, options.input);
  const std::string& path = options.output ? *options.output : options.input;
  try {
    write_with(metadata, nibble::input_file(options.input, nibble::file_access::mapped), path);
  } catch (const nibble::error& problem) {
    throw problem.in_file(path);
  }
  print_out(fmt::format("{}: {}\n", nibble::escape_text(path), counted(in.size(), "tensor")));
  return exit_code::fine;
}

}  // namespace nibble_command
