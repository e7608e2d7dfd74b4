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

#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/nibble.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "gguf_limits.hpp"
#include "interruption.hpp"
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

/// How a tensor goes into the new file.
struct conversion {
  enum class way : unsigned char {
    kept,        ///< its bytes are copied, under another encoding's name where that has the same
    moved,       ///< its codes are put where the other encoding has them
    requantized  ///< it is decoded and packed again, or expanded
  };
  const nibble::tensor_view* tensor;
  std::optional<nibble::encoding> encoding;  ///< nothing: its dtype is not known here, and is kept
  way how;
};

[[noreturn]] void refuse(const nibble::reader& from, const nibble::tensor_view& tensor,
                         std::string_view why) {
  throw usage_error(fmt::format("{}: tensor '{}': {}", nibble::escape_text(from.name()),
                                nibble::escape_text(tensor.name()), why));
}

conversion convert_to_gguf(const nibble::reader& from, const nibble::tensor_view& tensor,
                           bool requantize) {
  using nibble::encoding;
  using way = conversion::way;
  const encoding stored = tensor.encoding();
  const auto has_whole_blocks = [&](encoding which) {
    return tensor.cols() % nibble::describe(which).block_elements == 0;
  };
  const auto twin = nibble::gguf::ggml_twin_of(stored);
  if (twin && has_whole_blocks(*twin)) {
    return {&tensor, *twin, nibble::gguf::moves_codes(stored) ? way::moved : way::kept};
  }
  // What has no type there and is not quantized is left to the writer, which refuses it by name.
  if (!nibble::describe(stored).is_quantized()) return {&tensor, stored, way::kept};
  const encoding coarser = twin || !has_whole_blocks(encoding::q8_0) ? encoding::f32 : encoding::q8_0;
  if (!requantize) {
    refuse(from, tensor,
           twin
               ? fmt::format("{} of {} is not whole blocks of {} to a row, as GGUF has them: "
                             "--requantize expands it to f32",
                             nibble::to_string(stored), tensor.shape().to_string(),
                             nibble::describe(*twin).block_elements)
               : fmt::format("GGUF has no type that holds {} bit for bit: --requantize stores it as {}",
                             nibble::to_string(stored), nibble::to_string(coarser)));
  }
  return {&tensor, coarser, way::requantized};
}

conversion choose_conversion(const nibble::reader& from, const nibble::tensor_view& tensor,
                             nibble::container to, bool requantize) {
  if (tensor.composed() != nullptr) {
    return {&tensor, nibble::encoding::f32, conversion::way::requantized};
  }
  if (!tensor.has_encoding() && to == from.container() && to != nibble::container::apr) {
    return {&tensor, std::nullopt, conversion::way::kept};
  }
  if (to == nibble::container::gguf) return convert_to_gguf(from, tensor, requantize);
  const nibble::encoding_description& stored = nibble::describe(tensor.encoding());
  if (to == nibble::container::safetensors && stored.safetensors_dtype.empty()) {
    refuse(from, tensor,
           fmt::format("safetensors has no dtype for {}: nibble unpack decodes it", stored.name));
  }
  return {&tensor, stored.encoding, conversion::way::kept};
}

void plan_tensor(nibble::writer& plan, const nibble::reader& from, const conversion& one) {
  const nibble::tensor_view& tensor = *one.tensor;
  if (!one.encoding) return plan_as_stored(plan, from, tensor);
  const nibble::encoding encoding = *one.encoding;
  std::string name(tensor.name());
  switch (one.how) {
    case conversion::way::kept:
    case conversion::way::moved:
      plan.add_stored(tensor.encoding(), std::move(name), tensor.shape(), tensor.bytes());
      break;
    case conversion::way::requantized:
      plan.add(encoding, std::move(name), tensor.shape(), interruptible(nibble::rows_of(tensor)));
      break;
  }
}

/// What became of a tensor, in words.
std::string_view describe(const conversion& one) {
  switch (one.how) {
    case conversion::way::kept: return "bit for bit";
    case conversion::way::moved: return "codes moved, values kept";
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
    tensors.add_row({nibble::escape_text(one.tensor->name()), one.tensor->shape().to_string(),
                     nibble::escape_text(one.tensor->dtype_text()),
                     one.encoding ? std::string(nibble::to_string(*one.encoding))
                                  : nibble::escape_text(one.tensor->dtype_text()),
                     std::string(describe(one))});
  }
  return conversions.empty() ? "" : tensors.to_string();
}

nlohmann::json to_json(const std::vector<conversion>& conversions) {
  nlohmann::json list = nlohmann::json::array();
  for (const conversion& one : conversions) {
    list.push_back({{"name", one.tensor->name()},
                    {"from", one.tensor->dtype_text()},
                    {"to", one.encoding ? nibble::to_string(*one.encoding) : one.tensor->dtype_text()},
                    {"how", describe(one)}});
  }
  return list;
}

}  // namespace

exit_code convert(const convert_options& options) {
  using nibble::container;
  const container to = require_container(options.output, "convert",
                                         {container::apr, container::gguf, container::safetensors});
  // The metadata of a folder stay beside a safetensors file, in files of their own.
  const nibble::reader from = to == container::safetensors
                                  ? open_files(options.input, options.single)
                                  : open_weights(options.input, options.single);
  std::vector<conversion> conversions;
  nibble::writer plan;
  carried_metadata carried = carry_metadata(from, to);
  matrix_elements elements;
  try {
    for (const nibble::tensor_view& tensor : from) {
      conversions.push_back(choose_conversion(from, tensor, to, options.requantize));
      const conversion& one = conversions.back();
      plan_tensor(plan, from, one);
      if (tensor.shape().rank() >= 2) elements[one.encoding] += tensor.elements();
    }
    if (to == container::gguf) {
      gguf_limits limits;
      for (const nibble::tensor_view& tensor : from) limits.look_at(tensor.name(), tensor.shape());
      limits.require_none(options.input);
    }
    update_file_type(carried, elements);
    add_text_losses(carried, to);
  } catch (const nibble::error& problem) {
    throw_as_of_source(problem.in_file(options.input), options.input);
  }
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
