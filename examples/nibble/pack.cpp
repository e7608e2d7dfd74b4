#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/compute/thread_pool.hpp>
#include <nibble/nibble.hpp>

#if defined(NIBBLE_WITH_CALIBRATION)
#include "calibrated_weights.hpp"
#endif
#include "carried_metadata.hpp"
#include "column_importance.hpp"
#include "command.hpp"
#include "encoding_choice.hpp"
#include "encoding_cost.hpp"
#include "gguf_limits.hpp"
#include "glob.hpp"
#include "intact_input.hpp"
#include "interruption.hpp"
#include "names_for_output.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "target_plan.hpp"
#include "tensor_encoding_text.hpp"
#include "text_file.hpp"
#include "text_layout.hpp"
#include "transposed_rows.hpp"
#include "value_encoding.hpp"
#include "value_range.hpp"
#include "write_file.hpp"
#include "write_report.hpp"

namespace nibble_command {
namespace {

/// How a weight goes into the new file.
struct packing_choice {
  const nibble::renamed_weight* weight;
  nibble::encoding encoding;
  bool is_kept;  ///< its bytes are copied, or moved where they are under its name
  bool is_transposed;
  std::optional<nibble::encoding> wanted{};  ///< what was asked for and does not fit its rows
  std::span<const float> importance{};       ///< of columns; none: all count alike
  /// The weight as it was packed elsewhere, with what a text says of its inputs.
  std::optional<nibble::renamed_weight> calibrated{};

  /// The stored tensor, or the first of several; null where the weight is computed.
  [[nodiscard]] const nibble::tensor_view* tensor() const {
    return weight->parts.empty() ? nullptr : &weight->parts.front();
  }
  [[nodiscard]] nibble::shape packed_shape() const {
    return is_transposed ? nibble::shape{weight->shape[1], weight->shape[0]} : weight->shape;
  }
  [[nodiscard]] std::uint64_t packed_bytes() const {
    return nibble::stored_bytes(encoding, packed_shape()).value_or(0);
  }
};

/// "'a'", "'a' and 2 more".
std::string name_first(const std::vector<std::string_view>& names) {
  std::string text = fmt::format("'{}'", nibble::escape_text(names.front()));
  if (names.size() > 1) text += fmt::format(" and {} more", names.size() - 1);
  return text;
}

[[noreturn]] void refuse(const std::string& file, const nibble::tensor_view& tensor,
                         std::string_view why) {
  throw usage_error(fmt::format("{}: tensor '{}': {}", nibble::escape_text(file),
                                nibble::escape_text(tensor.name()), why));
}

bool is_packable(const nibble::tensor_view& tensor) {
  return tensor.shape().rank() >= 2 && !holds_integers(value_encoding(tensor));
}

/// Throws usage_error for a glob that means nothing in this file: a mistyped one would otherwise change
/// what is packed without a word.
void require_globs_that_match(const nibble::reader& from, const pack_options& options) {
  const auto require = [&](std::string_view option, const std::vector<std::string>& globs,
                           std::string_view what, auto&& counts) {
    for (const std::string& glob : globs) {
      if (std::ranges::any_of(from.tensors(), [&](const nibble::tensor_view& tensor) {
            return counts(tensor) && glob_matches(glob, tensor.name());
          })) {
        continue;
      }
      throw usage_error(fmt::format("{} '{}' matches no {} of {}{}", option, nibble::escape_text(glob),
                                    what, nibble::escape_text(from.name()),
                                    wider_glob(glob, from.tensors())));
    }
  };
  const auto all = [](const nibble::tensor_view&) { return true; };
  require("--only", options.only, "tensor", all);
  require("--only", options.only, "tensor that can be packed (floats of two or more dimensions)",
          is_packable);
  require("--keep", options.keep, "tensor", all);
  require("--drop", options.drop, "tensor", all);
  require("--transpose", options.transpose, "tensor", all);
  std::vector<std::string> named;
  for (const tensor_encoding& each : options.tensors) named.push_back(each.glob);
  require("--tensor", named, "tensor that can be packed (floats)",
          [](const nibble::tensor_view& tensor) { return !holds_integers(value_encoding(tensor)); });
}

/// Throws unsupported_encoding, naming the tensors whose dtype .apr has no id for, or no container but
/// the one they come from, and that are not dropped.
void require_known_dtypes(const nibble::reader& from, const pack_options& options,
                          nibble::container to) {
  std::vector<std::string_view> unknown;
  std::string dtype;
  for (const nibble::tensor_view& tensor : from) {
    const bool is_known =
        tensor.composed() != nullptr ||
        (tensor.has_encoding() && (to != nibble::container::apr ||
                                   nibble::describe(tensor.encoding()).apr_dtype_id.has_value()));
    if (is_known || any_glob_matches(options.drop, tensor.name())) continue;
    if (unknown.empty()) dtype = tensor.dtype_text();
    unknown.push_back(tensor.name());
  }
  if (unknown.empty()) return;
  std::string found = dtype;
  if (unknown.size() > 1) {
    found += fmt::format(", and {} more tensors of such dtypes ('{}')", unknown.size() - 1,
                         fmt::join(unknown.begin() + 1, unknown.end(), "', '"));
  }
  throw nibble::error(
      nibble::error_code::unsupported_encoding,
      {.file = from.name(),
       .tensor = std::string(unknown.front()),
       .field = "dtype",
       .found = std::move(found),
       .expected = to == nibble::container::apr ? "dtypes that .apr has an id for, or --drop"
                                                : "dtypes that are known here, or --drop"});
}

packing_choice choose_packing(const nibble::reader& from, const nibble::renamed_weight& weight,
                              const pack_options& options, const encoding_choice& encodings) {
  using nibble::encoding;
  if (weight.parts.empty()) return {&weight, encoding::f32, false, false};
  const nibble::tensor_view& tensor = weight.parts.front();
  const encoding stored = value_encoding(tensor);
  // What several stored tensors make up has no bytes that could be copied.
  const bool can_be_copied = tensor.composed() == nullptr && weight.is_as_stored();
  const bool is_transposed = any_glob_matches(options.transpose, tensor.name());
  if (any_glob_matches(options.keep, tensor.name())) {
    if (is_transposed) refuse(from.name(), tensor, "--keep and --transpose exclude each other");
    if (!weight.is_as_stored() && !nibble::moved_blocks_of(weight)) {
      refuse(from.name(), tensor,
             fmt::format("--keep: under the name '{}' its values are others", weight.name));
    }
    return {&weight, stored, tensor.composed() == nullptr, false};
  }
  if (is_transposed) {
    if (tensor.shape().rank() != 2) {
      refuse(from.name(), tensor,
             fmt::format("--transpose takes matrices, this is {}",
                         tensor.shape().rank() == 0 ? "a scalar" : tensor.shape().to_string()));
    }
    if (holds_integers(stored)) refuse(from.name(), tensor, "--transpose takes no whole numbers");
    if (tensor.composed() != nullptr) {
      refuse(from.name(), tensor, "--transpose takes no weights of several stored tensors");
    }
    if (!weight.is_as_stored()) {
      refuse(from.name(), tensor,
             fmt::format("--transpose: under the name '{}' its elements move already", weight.name));
    }
  }
  if (holds_integers(stored)) return {&weight, stored, true, false};
  const auto chosen = encodings.of(weight, is_transposed ? tensor.rows() : weight.shape.cols());
  if (weight.is_read_as_f32 && !(chosen && chosen->is_named) &&
      !nibble::describe(stored).is_quantized()) {
    return {&weight, encoding::f32, stored == encoding::f32 && can_be_copied, is_transposed};
  }
  if (chosen) {
    const bool is_there_already = stored == chosen->given && !nibble::describe(stored).is_quantized() &&
                                  !is_transposed && can_be_copied;
    return {&weight, chosen->given, is_there_already, is_transposed,
            chosen->given == chosen->wanted ? std::nullopt : std::optional(chosen->wanted)};
  }
  if (!is_packable(tensor)) {
    if (nibble::describe(stored).is_quantized()) return {&weight, stored, true, false};
    return {&weight, encoding::f32, stored == encoding::f32 && can_be_copied, false};
  }
  if (!is_transposed) {
    return {&weight, stored, can_be_copied || nibble::moved_blocks_of(weight), false};
  }
  if (stored == encoding::f64) {
    refuse(from.name(), tensor, "f64 cannot be transposed unpacked, and --only leaves it out");
  }
  return {&weight, stored, false, true};
}

/// Throws usage_error where the reference implementation's bytes are asked for and it has no such
/// encoding.
void require_packing_rule(nibble::encoding which, const pack_options& options) {
  if (options.rule != nibble::packing_rule::reference) return;
  if (nibble::describe(which).family != nibble::encoding_family::nibble) return;
  throw usage_error(fmt::format("--packing-rule reference: the reference implementation has no {}",
                                nibble::to_string(which)));
}

/// Throws usage_error, naming the tensors, where something that is quantized would be packed again
/// without being asked for.
void require_unquantized_sources(const nibble::reader& from, const std::vector<packing_choice>& choices,
                                 const pack_options& options) {
  if (options.requantize) return;
  std::vector<std::string_view> quantized;
  nibble::encoding stored{};
  for (const packing_choice& each : choices) {
    const nibble::tensor_view* const tensor = each.tensor();
    if (each.is_kept || tensor == nullptr ||
        !nibble::describe(value_encoding(*tensor)).is_quantized()) {
      continue;
    }
    if (quantized.empty()) stored = value_encoding(*tensor);
    quantized.push_back(tensor->name());
  }
  if (quantized.empty()) return;
  throw usage_error(
      fmt::format("{}: tensor {}: quantized already (as {}): --requantize packs it again, --keep "
                  "leaves it as it is",
                  nibble::escape_text(from.name()), name_first(quantized), nibble::to_string(stored)));
}

/// The values of a tensor that is packed, as they are packed. Throws what cannot be read as f32.
nibble::row_source rows_to_pack(const packing_choice& how) {
  for (const nibble::tensor_view& part : how.weight->parts) require_f32_range(part);
  return interruptible(how.is_transposed ? transposed_rows_of(how.weight->parts.front())
                                         : rows_for_output(*how.weight));
}

nibble::packing_search packing_search_of(const pack_options& options) {
  return options.search == scale_search::fast ? nibble::packing_search::fast
                                              : nibble::packing_search::best;
}

void plan_tensor(nibble::writer& plan, const packing_choice& how, const pack_options& options) {
  const nibble::renamed_weight& weight = *how.weight;
  if (how.calibrated) {
    plan.add_stored(how.encoding, weight.name, how.packed_shape(),
                    nibble::moved_blocks_of(*how.calibrated));
    return;
  }
  if (how.is_kept && weight.is_as_stored()) {
    plan.add_stored(how.encoding, weight.name, weight.shape, weight.parts.front().bytes());
    return;
  }
  if (how.is_kept) {
    plan.add_stored(how.encoding, weight.name, weight.shape, nibble::moved_blocks_of(weight));
    return;
  }
  plan.add(how.encoding, weight.name, how.packed_shape(), rows_to_pack(how),
           {.rule = options.rule,
            .search = packing_search_of(options),
            .column_importance = how.importance});
}

bool is_quantized_anew(const packing_choice& how) {
  return !how.is_kept && nibble::describe(how.encoding).is_quantized();
}

/// Throws usage_error for options of how scales are looked for that do not go together.
void require_search_that_fits(const pack_options& options) {
  const int texts = options.gathering.texts();
  if (options.rule == nibble::packing_rule::reference &&
      (options.search != scale_search::fast || options.importance_file)) {
    throw usage_error("--packing-rule reference: goes without --search and --importance");
  }
  if (options.search != scale_search::calibrated) {
    if (texts != 0) throw usage_error("--text, --tokens and --own-text: go with --search calibrated");
    return;
  }
#if defined(NIBBLE_WITH_CALIBRATION)
  if (texts != 1) {
    throw usage_error("--search calibrated: takes --text, --tokens or --own-text, one of them");
  }
#else
  throw usage_error(
      "--search calibrated: this program was built without PCRE2 or Eigen, which it takes");
#endif
}

/// Throws usage_error for options that do not go with a target, or with a plan.
void require_target_that_fits(const pack_options& options, nibble::container to) {
  if (options.measure_file && !options.has_target()) {
    throw usage_error("--measure: goes with --target-bits or --target-size");
  }
  if (!options.has_target() && !options.plan_file) return;
  if (options.target_bits && options.target_size_bytes) {
    throw usage_error("--target-bits and --target-size exclude each other");
  }
  const std::string_view what = options.target_bits         ? "--target-bits"
                                : options.target_size_bytes ? "--target-size"
                                                            : "--plan";
  const auto exclude = [&](bool is_given, std::string_view other) {
    if (is_given) throw usage_error(fmt::format("{} and {} exclude each other", what, other));
  };
  exclude(options.plan_file && options.has_target(), "--plan");
  exclude(options.mix != nullptr, "--mix");
  if (options.plan_file) return;
  exclude(options.encoding.has_value(), "--encoding");
  exclude(options.rule == nibble::packing_rule::reference, "--packing-rule reference");
  exclude(options.target_size_bytes && options.shard_size_bytes != 0, "--shard-size");
  exclude(options.target_size_bytes && options.keep_shards, "--keep-shards");
  if (to == nibble::container::safetensors) {
    throw usage_error(fmt::format("{}: chooses encodings of .apr and .gguf files", what));
  }
}

/// Where the metadata hold the encodings that were chosen for a target, tensor by tensor, and the target.
constexpr const char* plan_tensors_key = "nibble.plan.tensors";
constexpr const char* plan_target_key = "nibble.plan.target";

/// The record of a packed file (--plan). Throws usage_error where it has none.
nlohmann::json plan_record_of(const std::string& path) {
  const nibble::reader packed = open_files(path, false);
  const auto tensors = packed.metadata().find(plan_tensors_key);
  const auto is_text = [](const nlohmann::json& each) { return each.is_string(); };
  if (tensors == packed.metadata().end() || !tensors->is_array() ||
      !std::ranges::all_of(*tensors, is_text)) {
    throw usage_error(
        fmt::format("--plan {}: its metadata have no list '{}', as --target-bits and "
                    "--target-size write it",
                    nibble::escape_text(path), plan_tensors_key));
  }
  nlohmann::json record{{plan_tensors_key, *tensors}};
  const auto target = packed.metadata().find(plan_target_key);
  if (target != packed.metadata().end()) record[plan_target_key] = *target;
  return record;
}

/// Whether a target chooses the encoding: of matrices that would be packed, and that nothing else names.
bool is_open(const packing_choice& how, const pack_options& options) {
  const nibble::tensor_view* const tensor = how.tensor();
  if (tensor == nullptr || !is_packable(*tensor) || how.weight->is_read_as_f32) return false;
  if (how.packed_shape().elements() == 0 || any_glob_matches(options.keep, tensor->name()))
    return false;
  if (!options.only.empty() && !any_glob_matches(options.only, tensor->name())) return false;
  return std::ranges::none_of(options.tensors, [&](const tensor_encoding& each) {
    return glob_matches(each.glob, tensor->name());
  });
}

/// The matrices whose encodings a target chooses, with the candidates for each, measured. `choices` have
/// importance, where there is some.
target_plan plan_for_target(const std::vector<packing_choice>& choices, const pack_options& options,
                            nibble::container to, const nibble::reader& from) {
  std::vector<open_matrix> matrices;
  for (const packing_choice& each : choices) {
    if (!is_open(each, options)) continue;
    matrices.push_back({each.weight->name, std::string(each.tensor()->name()), each.packed_shape(),
                        rows_to_pack(each), each.importance,
                        candidate_encodings(to, each.packed_shape().cols())});
  }
  matrix_sensitivities sensitivities;
#if defined(NIBBLE_WITH_ENGINE)
  if (options.measure_file) sensitivities = measure_sensitivities(options);
#endif
  const interruption noted;
  nibble::thread_pool on(options.threads);
  return {matrices,
          architecture_of(from),
          sensitivities,
          {.search = packing_search_of(options), .executor = &on}};
}

/// NAME=ENCODING, as --tensor takes it, of every tensor that is packed otherwise than as it is stored, by a
/// target or by name.
nlohmann::json record_of(const std::vector<packing_choice>& choices, const target_plan& planned) {
  nlohmann::json record = nlohmann::json::array();
  for (const packing_choice& each : choices) {
    if (!is_quantized_anew(each) && planned.find(each.weight->name) == nullptr) continue;
    record.push_back(fmt::format("{}={}", each.tensor()->name(), nibble::to_string(each.encoding)));
  }
  return record;
}

#if defined(NIBBLE_WITH_CALIBRATION)
/// Packs what can be packed so with what the text says of the weights' inputs. What is returned holds the
/// packed bytes.
calibrated_weights calibrate(std::vector<packing_choice>& choices, const pack_options& options) {
  wanted_packings wanted;
  const auto can_be = [](const packing_choice& each) {
    return is_quantized_anew(each) && each.weight->parts.size() == 1 && each.weight->added == 0.0F;
  };
  for (const packing_choice& each : choices) {
    if (!can_be(each)) continue;
    wanted.emplace(each.tensor()->name(),
                   wanted_packing{each.encoding, each.is_transposed || each.weight->is_transposed});
  }
  calibrated_weights made(options, wanted);
  for (packing_choice& each : choices) {
    const auto packed = can_be(each) ? made.find(each.tensor()->name()) : std::nullopt;
    if (!packed) continue;
    each.calibrated = *each.weight;
    each.calibrated->parts = {*packed};
    each.calibrated->is_transposed = false;
  }
  return made;
}
#endif

/// What is said of a calibrated packing, and as JSON.
struct calibration_summary {
  std::size_t calibrated = 0;
  std::size_t tokens = 0;
  std::vector<std::string> without{};  ///< that were quantized otherwise

  [[nodiscard]] std::string text() const {
    std::string text = fmt::format("calibrated: {} with {}\n", counted(calibrated, "tensor"),
                                   counted(tokens, "token"));
    if (!without.empty()) {
      text += fmt::format("not calibrated: {} ('{}'{})\n", counted(without.size(), "tensor"),
                          nibble::escape_text(without.front()), without.size() > 1 ? " first" : "");
    }
    return text;
  }
  [[nodiscard]] nlohmann::json to_json() const {
    return {{"calibrated", calibrated}, {"tokens", tokens}, {"without", without}};
  }
};

/// A JSON object that a person wrote, for the metadata. Throws usage_error for the library's own keys.
nlohmann::json metadata_to_merge(const std::string& path) {
  nlohmann::json object = read_json_object(path);
  for (const auto& [key, value] : object.items()) require_free_key(key);
  return object;
}

/// Where the file goes: to what was asked for, or beside the input, where nothing is replaced unasked.
std::string choose_output(const pack_options& options) {
  if (options.output) return *options.output;
  const std::string_view how =
      options.has_target() || options.plan_file ? "planned"
      : options.mix != nullptr                  ? options.mix->name
                               : nibble::to_string(encoding_for_all(options, nibble::container::apr));
  const std::string path = name_beside(options.input, how);
  std::error_code ignored;
  if (!options.force && !options.dry_run &&
      std::filesystem::exists(nibble::path_of_text(path), ignored)) {
    throw usage_error(fmt::format("{}: is there already: --force writes it anew, -o another file",
                                  nibble::escape_text(path)));
  }
  return path;
}

/// The tensors whose rows did not fit what was asked for: a line for each pair of encodings.
std::string fallback_text(const std::vector<packing_choice>& choices) {
  struct group {
    std::size_t tensors = 0;
    std::string_view first;
    std::set<std::uint64_t> row_elements{};
  };
  std::map<std::pair<nibble::encoding, nibble::encoding>, group> groups;
  for (const packing_choice& each : choices) {
    if (!each.wanted) continue;
    group& of = groups[{*each.wanted, each.encoding}];
    if (of.tensors++ == 0) of.first = each.weight->name;
    of.row_elements.insert(each.packed_shape().cols());
  }
  std::string text;
  for (const auto& [encodings, of] : groups) {
    text += fmt::format(
        "{} instead of {}: {} ('{}'{}), with rows of {} elements that blocks of {} do not "
        "fit; --no-fallback refuses\n",
        nibble::to_string(encodings.second), nibble::to_string(encodings.first),
        counted(of.tensors, "tensor"), nibble::escape_text(of.first), of.tensors > 1 ? " first" : "",
        fmt::join(of.row_elements, ", "), nibble::describe(encodings.first).block_cols());
  }
  return text;
}

nlohmann::json fallbacks_to_json(const std::vector<packing_choice>& choices) {
  nlohmann::json list = nlohmann::json::array();
  for (const packing_choice& each : choices) {
    if (!each.wanted) continue;
    list.push_back({{"tensor", each.weight->name},
                    {"wanted", nibble::to_string(*each.wanted)},
                    {"given", nibble::to_string(each.encoding)}});
  }
  return list;
}

/// The shard of each tensor that is packed where it is to be the one that it is in, counted on where all
/// of one are dropped. Throws usage_error where what is read is no set.
std::vector<std::size_t> shards_to_keep(const nibble::reader& from,
                                        const std::vector<packing_choice>& choices) {
  if (from.shards().empty()) {
    throw usage_error(
        fmt::format("{}: --keep-shards: is no set of files", nibble::escape_text(from.name())));
  }
  std::vector<std::size_t> found;
  std::map<std::size_t, std::size_t> place_of_shard;
  for (const packing_choice& each : choices) {
    // What no file has under its name, computed or made up of several tensors, is with the first.
    const nibble::tensor_view* const tensor = each.tensor();
    const auto holder = std::ranges::find_if(from.shards(), [&](const nibble::reader& file) {
      return tensor != nullptr && file.contains(tensor->name());
    });
    const std::size_t shard =
        holder == from.shards().end()
            ? 0
            : static_cast<std::size_t>(std::ranges::distance(from.shards().begin(), holder));
    found.push_back(shard);
    place_of_shard.emplace(shard, 0);
  }
  std::size_t place = 0;
  for (auto& [shard, at] : place_of_shard) at = place++;
  for (std::size_t& shard : found) shard = place_of_shard.at(shard);
  return found;
}

/// Every tensor with its encoding and bytes, and what a target chose with what that costs.
std::string plan_table(const std::vector<packing_choice>& choices, const target_plan* planned) {
  using side = table::side;
  std::vector<table::column> columns{{"name", side::left},
                                     {"shape", side::right},
                                     {"from", side::left},
                                     {"to", side::left},
                                     {"bytes", side::right}};
  if (planned != nullptr) {
    columns.push_back({"relative RMSE", side::right});
    columns.push_back({"cost", side::right});
  }
  table tensors(std::move(columns));
  std::uint64_t sum = 0;
  const auto add = [&](std::vector<std::string> cells, const std::string& error,
                       const std::string& cost) {
    if (planned != nullptr) cells.insert(cells.end(), {error, cost});
    tensors.add_row(std::move(cells));
  };
  for (const packing_choice& each : choices) {
    const std::uint64_t bytes = each.packed_bytes();
    sum += bytes;
    const std::string stored = each.tensor() == nullptr ? "metadata" : each.tensor()->dtype_text();
    const auto* const found = planned == nullptr ? nullptr : planned->find(each.weight->name);
    add({nibble::escape_text(each.weight->name), each.packed_shape().to_string(), stored,
         std::string(nibble::to_string(each.encoding)), grouped(bytes)},
        found == nullptr ? "" : fmt::format("{:.5f}", std::sqrt(found->of.relative_error)),
        found == nullptr ? "" : fmt::format("{:.3g}", found->cost));
  }
  tensors.add_rule();
  add({"total", "", "", "", grouped(sum)}, "",
      planned == nullptr ? "" : fmt::format("{:.3g}", planned->cost()));
  return tensors.to_string();
}

/// What would be written, as a table or as JSON.
void print_plan(const std::vector<packing_choice>& choices, const std::string& output,
                nibble::container to, const target_plan* planned, bool as_json) {
  nlohmann::json list = nlohmann::json::array();
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  for (const packing_choice& each : choices) {
    const std::uint64_t bytes = each.packed_bytes();
    for (const nibble::tensor_view& part : each.weight->parts) before += part.size_bytes();
    after += bytes;
    const nibble::shape shape = each.packed_shape();
    const auto dimensions = shape.dimensions();
    list.push_back({{"name", each.weight->name},
                    {"shape", std::vector<std::uint64_t>(dimensions.begin(), dimensions.end())},
                    {"from", each.tensor() == nullptr ? "metadata" : each.tensor()->dtype_text()},
                    {"to", nibble::to_string(each.encoding)},
                    {"bytes", bytes}});
  }
  if (as_json) {
    nlohmann::json object{{"output", output},
                          {"format", nibble::to_string(to)},
                          {"tensors", std::move(list)},
                          {"fallbacks", fallbacks_to_json(choices)},
                          {"tensor_bytes_before", before},
                          {"tensor_bytes", after}};
    if (planned != nullptr) object["target"] = planned->to_json();
    print_json(schema_version::plan, object);
    return;
  }
  print_out(plan_table(choices, planned) + '\n' + fallback_text(choices) +
            (planned == nullptr ? "" : planned->text()) +
            fmt::format("{}: {}, {} -> {} bytes of tensors; nothing is written\n",
                        nibble::escape_text(output), counted(choices.size(), "tensor"), grouped(before),
                        grouped(after)));
}

}  // namespace

exit_code pack(const pack_options& given) {
  using nibble::container;
  const auto start = std::chrono::steady_clock::now();
  pack_options options = given;
  if (options.mix != nullptr && options.encoding) {
    throw usage_error("--mix and --encoding exclude each other: both choose for all tensors");
  }
  const std::string output = choose_output(options);
  const container to =
      require_container(output, "pack", {container::apr, container::gguf, container::safetensors});
  if (options.shard_size_bytes != 0 && to != container::apr) {
    throw usage_error("--shard-size: only .apr files are written in shards");
  }
  if (options.keep_shards && (options.shard_size_bytes != 0 || to != container::apr)) {
    throw usage_error("--keep-shards: goes with .apr files and without --shard-size");
  }
  require_target_that_fits(options, to);
  if (options.mix == nullptr) require_packing_rule(encoding_for_all(options, to), options);
  require_search_that_fits(options);
  nlohmann::json plan_record = nlohmann::json::object();
  if (options.plan_file) {
    plan_record = plan_record_of(*options.plan_file);
    std::vector<tensor_encoding> recorded;
    for (const nlohmann::json& each : plan_record.at(plan_tensors_key)) {
      recorded.push_back(tensor_encoding_of("--plan", each.get<std::string>()));
    }
    options.tensors.insert(options.tensors.begin(), recorded.begin(), recorded.end());
  }
  const nibble::reader from = open_weights(options.input, options.single);
  require_known_dtypes(from, options, to);
  require_globs_that_match(from, options);
  std::vector<nibble::tensor_view> tensors;
  for (const nibble::tensor_view& tensor : from) {
    if (!any_glob_matches(options.drop, tensor.name())) tensors.push_back(tensor);
  }
  named_output named = names_for_output(from, tensors, to, options.names);
  carried_metadata& carried = named.carried;
  // The metadata of a folder stay beside a safetensors file, in files of their own, unless they tell names.
  if (to == container::safetensors && !is_renaming(options.names)) {
    carried = carry_metadata(open_files(options.input, options.single), to);
  }
  const encoding_choice encodings(from, named.tensors, options, to, output);
  std::vector<packing_choice> choices;
  gguf_limits limits;
  for (const nibble::renamed_weight& weight : named.tensors) {
    choices.push_back(choose_packing(from, weight, options, encodings));
    limits.look_at(weight.name, weight.shape);
  }
  if (to == container::gguf) limits.require_none(options.input);
  if (choices.empty() && from.size() != 0) {
    throw usage_error(fmt::format("{}: --drop leaves no tensor", nibble::escape_text(from.name())));
  }
  require_unquantized_sources(from, choices, options);
  for (const packing_choice& each : choices) {
    if (!each.is_kept) require_packing_rule(each.encoding, options);
  }
  std::optional<column_importance> importance;
  if (options.importance_file) {
    importance.emplace(from, tensors, *options.importance_file);
    for (packing_choice& each : choices) {
      if (!is_quantized_anew(each)) continue;
      each.importance = importance->of(*each.weight, each.packed_shape(), each.is_transposed);
    }
    importance->require_some();
  }
  nlohmann::json merged = nlohmann::json::object();
  if (options.metadata_file) merged = metadata_to_merge(*options.metadata_file);
  for (const char* const key : {plan_tensors_key, plan_target_key}) carried.values.erase(key);
  /// The metadata of a file of these choices, and what it lacks.
  const auto metadata_for = [&] {
    named_output described = named;
    matrix_elements elements;
    for (const packing_choice& each : choices) {
      if (each.weight->shape.rank() >= 2) elements[each.encoding] += each.weight->shape.elements();
    }
    describe_encodings(described, elements,
                       options.mix != nullptr ? std::optional(options.mix->file_type) : std::nullopt);
    if (options.mix != nullptr) {
      set_file_type(described.carried, options.mix->file_type);
    } else {
      update_file_type(described.carried, elements);
    }
    described.carried.values.update(plan_record);
    described.carried.values.update(merged);
    add_text_losses(described.carried, to);
    if (tensors.size() != from.size()) {
      described.carried.losses.push_back(
          {"tensors", fmt::format("{} dropped", grouped(from.size() - tensors.size()))});
    }
    return described.carried;
  };
  /// The file of these choices.
  const auto plan_file = [&](nlohmann::json metadata) {
    nibble::writer plan;
    plan.metadata() = std::move(metadata);
    try {
      for (const packing_choice& each : choices) plan_tensor(plan, each, options);
    } catch (const nibble::error& problem) {
      throw_as_of_source(problem.in_file(options.input), options.input);
    }
    return plan;
  };
  std::optional<target_plan> planned;
  if (options.has_target()) {
    // What is measured is read before anything is written.
    if (!options.ignore_checksums) require_intact(from, options.threads);
    planned = plan_for_target(choices, options, to, from);
    std::uint64_t elements = 0;
    std::uint64_t other_bytes = 0;
    for (const packing_choice& each : choices) {
      elements += each.packed_shape().elements();
      if (!is_open(each, options)) other_bytes += each.packed_bytes();
    }
    const std::vector<tensor_encoding> asked = options.tensors;
    const auto choose_within = [&](std::uint64_t budget_bytes, std::uint64_t wanted_bytes = 0) {
      planned->choose(budget_bytes, wanted_bytes);
      options.tensors = asked;
      for (const target_plan::choice& each : planned->chosen()) {
        options.tensors.push_back({each.source, each.of.encoding});
      }
      for (packing_choice& each : choices) {
        const auto importance_of_columns = each.importance;
        each = choose_packing(from, *each.weight, options, encodings);
        if (is_quantized_anew(each)) each.importance = importance_of_columns;
      }
      options.tensors = asked;
      plan_record[plan_tensors_key] = record_of(choices, *planned);
    };
    const auto refuse_target = [&](std::string_view least) {
      throw usage_error(fmt::format("{}: {} is the least that its tensors take",
                                    nibble::escape_text(options.input), least));
    };
    if (options.target_bits) {
      plan_record[plan_target_key] = fmt::format("{} bits a weight", *options.target_bits);
      const double budget = std::floor(*options.target_bits * static_cast<double>(elements) / 8.0);
      const std::uint64_t least = other_bytes + planned->least_bytes();
      if (static_cast<double>(least) > budget) {
        refuse_target(fmt::format("--target-bits {}: {:.3f} bits a weight", *options.target_bits,
                                  8.0 * static_cast<double>(least) / static_cast<double>(elements)));
      }
      choose_within(static_cast<std::uint64_t>(budget) - other_bytes);
    } else {
      plan_record[plan_target_key] = fmt::format("{} bytes", *options.target_size_bytes);
      // Header, metadata and the record in it are as long as the choice makes them.
      choose_within(0);
      const auto file_bytes = [&] {
        return plan_file(metadata_for().values).file_bytes({.container = to});
      };
      std::uint64_t size = file_bytes();
      if (size > *options.target_size_bytes) {
        refuse_target(fmt::format("--target-size {}: {} bytes", grouped(*options.target_size_bytes),
                                  grouped(size)));
      }
      const std::uint64_t most = *options.target_size_bytes;
      const std::uint64_t wanted = most - most / 100;
      // Chooses as if all but the matrices took head_bytes, and gives the file's size.
      const auto size_beside = [&](std::uint64_t head_bytes) {
        choose_within(most - std::min(head_bytes, most), wanted - std::min(head_bytes, wanted));
        return file_bytes();
      };
      std::uint64_t head_bytes = size - planned->bytes();
      while ((size = size_beside(head_bytes)) > most) {
        head_bytes = std::max(head_bytes + 1, size - planned->bytes());
      }
      // The choice that fits may have a shorter head than was left for it.
      std::uint64_t tried = head_bytes;
      std::uint64_t lowest = size - planned->bytes();
      for (int turn = 0; turn < 12 && size < wanted && lowest < head_bytes; ++turn) {
        tried = turn == 0 ? lowest : lowest + (head_bytes - lowest) / 2;
        const std::uint64_t found = size_beside(tried);
        if (found > most) {
          lowest = tried + 1;
        } else {
          head_bytes = tried;
          size = found;
        }
      }
      if (tried != head_bytes) (void)size_beside(head_bytes);
    }
  }
  carried = metadata_for();
  std::vector<std::size_t> shards;
  if (options.keep_shards) shards = shards_to_keep(from, choices);
  if (options.dry_run) {
    print_plan(choices, output, to, planned ? &*planned : nullptr, options.json);
    return exit_code::fine;
  }

  if (!options.ignore_checksums && !planned) require_intact(from, options.threads);
  std::optional<calibration_summary> calibration;
#if defined(NIBBLE_WITH_CALIBRATION)
  calibrated_weights calibrated;
  if (options.search == scale_search::calibrated) {
    calibrated = calibrate(choices, options);
    calibration.emplace(calibration_summary{calibrated.size(), calibrated.tokens()});
    for (const packing_choice& each : choices) {
      if (is_quantized_anew(each) && !each.calibrated)
        calibration->without.push_back(each.weight->name);
    }
  }
#endif
  const nibble::writer plan = plan_file(std::move(carried.values));
  const write_request request{.output = output,
                              .source = options.input,
                              .container = to,
                              .threads = options.threads,
                              .shard_size_bytes = options.shard_size_bytes,
                              .shard_of_tensors = std::move(shards),
                              .force = options.force};
  const write_report report(from, request, write_file(plan, request), std::move(carried.losses));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (options.json) {
    nlohmann::json object = report.to_json();
    object["fallbacks"] = fallbacks_to_json(choices);
    if (importance) object["importance"] = importance->to_json();
    if (calibration) object["calibration"] = calibration->to_json();
    if (planned) object["target"] = planned->to_json();
    object["seconds"] = elapsed.count();
    print_json(schema_version::write, object);
  } else {
    print_out((planned ? plan_table(choices, &*planned) + '\n' + planned->text() : "") +
              fallback_text(choices) + (importance ? importance->text() : "") +
              (calibration ? calibration->text() : "") + report.text() +
              fmt::format("{:.2f} s, {:.1f} MB/s\n", elapsed.count(),
                          static_cast<double>(report.input_bytes()) / 1e6 / elapsed.count()));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
