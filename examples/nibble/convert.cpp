#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/checkpoint/renamed_weights.hpp>
#include <nibble/compute/interleaved_blocks.hpp>
#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/nibble.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "gguf_limits.hpp"
#include "intact_input.hpp"
#include "interruption.hpp"
#include "names_for_output.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "text_layout.hpp"
#include "value_range.hpp"
#include "write_file.hpp"
#include "write_report.hpp"

namespace nibble_command {
namespace {

/// How a weight goes into the new file.
struct conversion {
  enum class way : unsigned char {
    kept,         ///< its bytes are copied, under another encoding's name where that has the same
    moved,        ///< its rows, elements or codes are put where the other file has them
    interleaved,  ///< its rows are put side by side
    separated,    ///< its rows, which lie side by side, are put one behind the other
    widened,      ///< it is decoded to f32, which holds every value of a shorter float
    changed,      ///< its values are others under its new name
    computed,     ///< the input says it in metadata
    requantized,  ///< it is decoded and packed again, or expanded
  };
  nibble::renamed_weight weight;
  std::optional<nibble::encoding> encoding;  ///< nothing: its dtype is not known here, and is kept
  way how;

  /// The name that it has in the input; its own where it is computed.
  [[nodiscard]] std::string_view source() const {
    return weight.parts.empty() ? std::string_view(weight.name) : weight.parts.front().name();
  }
  /// What the input stores it as.
  [[nodiscard]] std::string from() const {
    return weight.parts.empty() ? std::string("metadata") : weight.parts.front().dtype_text();
  }
  [[nodiscard]] std::string to() const {
    return encoding ? std::string(nibble::to_string(*encoding)) : from();
  }
};

[[noreturn]] void refuse(const nibble::reader& from, std::string_view tensor, std::string_view why) {
  throw usage_error(fmt::format("{}: tensor '{}': {}", nibble::escape_text(from.name()),
                                nibble::escape_text(tensor), why));
}

/// Whether the stored blocks run across what are rows under the new name, and only values can be moved.
bool has_blocks_across(const nibble::renamed_weight& weight) {
  return weight.is_transposed && !nibble::moved_blocks_of(weight);
}

/// The way of a weight whose encoding is kept, or takes the name of a twin.
conversion::way way_of_stored(const nibble::reader& from, const nibble::renamed_weight& weight) {
  if (weight.is_as_stored()) return conversion::way::kept;
  if (nibble::moved_blocks_of(weight)) return conversion::way::moved;
  const nibble::tensor_view& tensor = weight.parts.front();
  refuse(
      from, tensor.name(),
      fmt::format("as {} its {} cannot be moved bit for bit: --names keep leaves them where they are{}",
                  tensor.dtype_text(), weight.is_transposed ? "columns" : "rows",
                  weight.is_transposed ? ", --requantize expands them to f32" : ""));
}

conversion convert_to_gguf(const nibble::reader& from, nibble::renamed_weight weight, bool requantize) {
  using nibble::encoding;
  using way = conversion::way;
  const nibble::tensor_view& tensor = weight.parts.front();
  const encoding stored = tensor.encoding();
  const auto separate = nibble::row_encoding_of(stored);
  const auto has_whole_blocks = [&](encoding which) {
    return tensor.cols() % nibble::describe(which).block_elements == 0;
  };
  const auto twin = nibble::gguf::ggml_twin_of(separate.value_or(stored));
  if (twin && has_whole_blocks(*twin)) {
    const way how = separate                            ? way::separated
                    : nibble::gguf::moves_codes(stored) ? way::moved
                                                        : way_of_stored(from, weight);
    return {std::move(weight), *twin, how};
  }
  // What has no type there and is not quantized is left to the writer, which refuses it by name.
  if (!nibble::describe(stored).is_quantized()) {
    const way how = way_of_stored(from, weight);
    return {std::move(weight), stored, how};
  }
  const encoding coarser = twin || !has_whole_blocks(encoding::q8_0) ? encoding::f32 : encoding::q8_0;
  if (!requantize) {
    refuse(from, tensor.name(),
           twin
               ? fmt::format("{} of {} is not whole blocks of {} to a row, as GGUF has them: "
                             "--requantize expands it to f32",
                             nibble::to_string(stored), tensor.shape().to_string(),
                             nibble::describe(*twin).block_elements)
               : fmt::format("GGUF has no type that holds {} bit for bit: --requantize stores it as {}",
                             nibble::to_string(stored), nibble::to_string(coarser)));
  }
  return {std::move(weight), coarser, way::requantized};
}

bool is_short_float(nibble::encoding which) {
  return which == nibble::encoding::f16 || which == nibble::encoding::bf16;
}

/// A weight whose encoding is kept, with its rows in the form that is asked for, where its encoding has
/// that. A vector is one row, which would be counted up to several.
conversion with_rows(nibble::renamed_weight weight, nibble::encoding stored, conversion::way how,
                     row_form rows) {
  using way = conversion::way;
  const auto interleaved = nibble::interleaved_encoding_of(stored);
  if (rows == row_form::interleaved && interleaved && weight.shape.rank() >= 2) {
    return {std::move(weight), *interleaved, way::interleaved};
  }
  const auto separate = nibble::row_encoding_of(stored);
  if (rows == row_form::separate && separate) return {std::move(weight), *separate, way::separated};
  return {std::move(weight), stored, how};
}

conversion choose_conversion(const nibble::reader& from, nibble::renamed_weight weight,
                             nibble::container to, const convert_options& options) {
  const bool requantize = options.requantize;
  using nibble::encoding;
  using way = conversion::way;
  if (weight.parts.empty()) return {std::move(weight), encoding::f32, way::computed};
  const nibble::tensor_view& tensor = weight.parts.front();
  if (tensor.composed() != nullptr) return {std::move(weight), encoding::f32, way::requantized};
  if (!tensor.has_encoding() && weight.is_as_stored() && to == from.container() &&
      to != nibble::container::apr) {
    return {std::move(weight), std::nullopt, way::kept};
  }
  const nibble::encoding_description& stored = nibble::describe(tensor.encoding());
  if (weight.added != 0.0F) return {std::move(weight), encoding::f32, way::changed};
  if (weight.is_read_as_f32 && is_short_float(stored.encoding)) {
    return {std::move(weight), encoding::f32, way::widened};
  }
  if (has_blocks_across(weight)) {
    const way how = requantize ? way::requantized : way_of_stored(from, weight);
    return {std::move(weight), encoding::f32, how};
  }
  if (to == nibble::container::gguf) return convert_to_gguf(from, std::move(weight), requantize);
  if (to == nibble::container::safetensors && stored.safetensors_dtype.empty()) {
    refuse(from, tensor.name(),
           fmt::format("safetensors has no dtype for {}: nibble unpack decodes it", stored.name));
  }
  const way how = way_of_stored(from, weight);
  return with_rows(std::move(weight), stored.encoding, how, options.rows);
}

void plan_weight(nibble::writer& plan, const nibble::reader& from, const conversion& one) {
  const nibble::renamed_weight& weight = one.weight;
  if (!one.encoding) return plan.add_unknown_dtype(from.container(), weight.name, weight.parts.front());
  switch (one.how) {
    case conversion::way::kept:
      plan.add_stored(weight.parts.front().encoding(), weight.name, weight.shape,
                      weight.parts.front().bytes());
      break;
    case conversion::way::moved:
      plan.add_stored(weight.parts.front().encoding(), weight.name, weight.shape,
                      nibble::moved_blocks_of(weight));
      break;
    case conversion::way::interleaved:
      plan.add_stored(*one.encoding, weight.name, weight.shape,
                      nibble::interleaved_blocks(*one.encoding, weight.shape.rows(),
                                                 weight.shape.cols(), nibble::moved_blocks_of(weight)));
      break;
    case conversion::way::separated: {
      const nibble::encoding stored = weight.parts.front().encoding();
      plan.add_stored(
          *nibble::row_encoding_of(stored), weight.name, weight.shape,
          nibble::separated_blocks(stored, weight.shape.cols(), nibble::moved_blocks_of(weight)));
      break;
    }
    case conversion::way::widened:
    case conversion::way::changed:
    case conversion::way::computed:
    case conversion::way::requantized:
      plan.add(*one.encoding, weight.name, weight.shape, interruptible(rows_for_output(weight)));
      break;
  }
}

/// What became of a tensor, in words.
std::string_view describe(const conversion& one) {
  switch (one.how) {
    case conversion::way::kept: return "bit for bit";
    case conversion::way::moved:
      if (one.weight.is_transposed) return "transposed, values kept";
      if (one.weight.parts.size() > 1) return "experts stacked, bit for bit";
      if (!one.weight.order.keeps_order()) return "rows moved, bit for bit";
      return "codes moved, values kept";
    case conversion::way::interleaved: return "rows interleaved, bit for bit";
    case conversion::way::separated: return "rows separated, bit for bit";
    case conversion::way::widened: return "widened, values kept";
    case conversion::way::changed: return one.weight.added > 0.0F ? "1 added" : "1 subtracted";
    case conversion::way::computed: return "computed";
    case conversion::way::requantized:
      return one.encoding == nibble::encoding::f32 ? "expanded" : "requantized";
  }
  return "";
}

std::string to_text(const std::vector<conversion>& conversions) {
  using side = table::side;
  table tensors({{"name", side::left},
                 {"shape", side::right},
                 {"from", side::left},
                 {"to", side::left},
                 {"how", side::left}});
  for (const conversion& one : conversions) {
    tensors.add_row({nibble::escape_text(one.weight.name), one.weight.shape.to_string(),
                     nibble::escape_text(one.from()), nibble::escape_text(one.to()),
                     std::string(describe(one))});
  }
  return conversions.empty() ? "" : tensors.to_string();
}

nlohmann::json to_json(const std::vector<conversion>& conversions) {
  nlohmann::json list = nlohmann::json::array();
  for (const conversion& one : conversions) {
    list.push_back({{"name", one.weight.name},
                    {"source", one.source()},
                    {"from", one.from()},
                    {"to", one.to()},
                    {"how", describe(one)}});
  }
  return list;
}

}  // namespace

exit_code convert(const convert_options& options) {
  using nibble::container;
  const container to = require_container(options.output, "convert",
                                         {container::apr, container::gguf, container::safetensors});
  // The metadata of a folder stay beside a safetensors file, in files of their own, unless they tell names.
  const nibble::reader from = to == container::safetensors && !is_renaming(options.names)
                                  ? open_files(options.input, options.single)
                                  : open_weights(options.input, options.single);
  std::vector<conversion> conversions;
  nibble::writer plan;
  named_output output = names_for_output(from, from.tensors(), to, options.names);
  matrix_elements elements;
  try {
    for (nibble::renamed_weight& weight : output.tensors) {
      conversions.push_back(choose_conversion(from, std::move(weight), to, options));
      const conversion& one = conversions.back();
      plan_weight(plan, from, one);
      if (one.weight.shape.rank() >= 2) elements[one.encoding] += one.weight.shape.elements();
    }
    if (to == container::gguf) {
      gguf_limits limits;
      for (const conversion& one : conversions) limits.look_at(one.weight.name, one.weight.shape);
      limits.require_none(options.input);
    }
    describe_encodings(output, elements);
    update_file_type(output.carried, elements);
    add_text_losses(output.carried, to);
  } catch (const nibble::error& problem) {
    throw_as_of_source(problem.in_file(options.input), options.input);
  }
  if (!options.ignore_checksums) require_intact(from, options.threads);
  carried_metadata& carried = output.carried;
  plan.metadata() = std::move(carried.values);
  const write_request request{.output = options.output,
                              .source = options.input,
                              .container = to,
                              .threads = options.threads,
                              .force = options.force};
  const write_report report(from, request, write_file(plan, request), std::move(carried.losses));
  if (options.is_silent) return exit_code::fine;
  if (options.json) {
    nlohmann::json object = report.to_json();
    object["conversions"] = to_json(conversions);
    print_json(schema_version::write, object);
  } else {
    print_out(to_text(conversions) + report.text());
  }
  return exit_code::fine;
}

}  // namespace nibble_command
