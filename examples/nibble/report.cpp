#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include <nibble/file/atomic_file.hpp>
#include <nibble/version.hpp>

#if defined(NIBBLE_WITH_ENGINE)
#include <examples/engine/evaluation.hpp>

#include "running_model.hpp"
#include "scored_sequences.hpp"
#endif

#include <report_page.hpp>

#include "command.hpp"
#include "error_fields.hpp"
#include "json_number.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "pair_portrait.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "tensor_comparison.hpp"
#include "tensor_kind.hpp"
#include "text_layout.hpp"
#include "write_file.hpp"

namespace nibble_command {
namespace {

/// A packed file beside the reference.
struct reported_file {
  std::string path{};
  std::unique_ptr<nibble::reader> opened{};
  comparison compared{};
  std::vector<pair_portrait> portraits{};  ///< one a pair
  nlohmann::json perplexity = nullptr;
};

/// The reference's values, tensor by tensor.
struct reported_values {
  value_spread spread{};
  range_counts counts{};
};

/// All that the page shows.
struct report_contents {
  std::string path{};
  std::unique_ptr<nibble::reader> opened{};
  std::vector<compared_tensor> tensors{};
  std::vector<reported_values> values{};  ///< one a tensor
  std::vector<reported_file> files{};
  nlohmann::json perplexity = nullptr;
};

/// A number to so many digits, which take less room.
double rounded(double value, int digits) {
  return std::strtod(fmt::format("{:.{}g}", value, digits).c_str(), nullptr);
}

nlohmann::json rounded_number(double value) {
  constexpr int digits = 5;
  return std::isfinite(value) ? nlohmann::json(rounded(value, digits)) : json_number(value);
}

std::size_t place_of(const report_contents& report, const compared_tensor& tensor) {
  return static_cast<std::size_t>(&tensor - report.tensors.data());
}

void open_all(report_contents& report, const report_options& options) {
  const auto open = [&](const std::string& path) {
    return std::make_unique<nibble::reader>(open_input(path, options.single));
  };
  report.path = options.reference;
  report.opened = open(options.reference);
  bool some_have_gguf_names = has_gguf_names(*report.opened);
  for (const std::string& path : options.packed) {
    report.files.push_back({.path = path, .opened = open(path)});
    some_have_gguf_names = some_have_gguf_names || has_gguf_names(*report.files.back().opened);
  }
  const auto tensors_named_alike = [&](const nibble::reader& file) {
    return tensors_of(file, some_have_gguf_names && !has_gguf_names(file));
  };
  report.tensors = tensors_named_alike(*report.opened);
  for (reported_file& file : report.files) {
    file.compared = pair_tensors(report.tensors, tensors_named_alike(*file.opened));
    if (file.compared.pairs.empty()) {
      throw usage_error(fmt::format("{} and {} share no tensor: there is nothing to compare",
                                    nibble::escape_text(report.path), nibble::escape_text(file.path)));
    }
  }
}

/// Looks at the values of the reference that some file has, too: twice, for what range to count them over
/// is only known then.
void look_at_reference(report_contents& report, unsigned threads) {
  std::set<const compared_tensor*> wanted;
  for (const reported_file& file : report.files) {
    for (const tensor_pair& pair : file.compared.pairs) {
      if (pair.reference->is_decodable()) wanted.insert(pair.reference);
    }
  }
  std::vector<tensor_pair> tensors;
  for (const compared_tensor* const tensor : wanted) tensors.push_back({tensor, tensor, true});
  const std::vector<pair_rows> parts = parts_of(tensors);
  const auto for_values = [&](const pair_rows& part, const auto& use) {
    constexpr std::uint64_t batch_elements = 1U << 15U;
    const compared_tensor& tensor = *tensors[part.pair].reference;
    const std::uint64_t batch_rows = std::max<std::uint64_t>(1, batch_elements / tensor.shape.cols());
    std::vector<float> scratch;
    std::vector<double> values;
    for (std::uint64_t row = 0; row < part.row_count; row += batch_rows) {
      decode_rows(tensor, part.first_row + row, std::min(batch_rows, part.row_count - row), scratch,
                  values);
      for (const double value : values) use(value);
    }
  };

  report.values.resize(report.tensors.size());
  std::vector<value_spread> spreads(parts.size());
  run_on_parts(tensors, parts, "looking at values", threads, [&](std::size_t i) {
    for_values(parts[i], [&](double value) { spreads[i].add(value); });
  });
  const auto values_of = [&](std::size_t part) -> reported_values& {
    return report.values[place_of(report, *tensors[parts[part].pair].reference)];
  };
  for (std::size_t i = 0; i < parts.size(); ++i) values_of(i).spread += spreads[i];
  for (reported_values& values : report.values) values.counts = range_counts(values.spread);
  std::mutex guard;
  run_on_parts(tensors, parts, "counting values", threads, [&](std::size_t i) {
    range_counts counted = values_of(i).counts.emptied();
    for_values(parts[i], [&](double value) { counted.add(value); });
    const std::lock_guard lock(guard);
    values_of(i).counts += counted;
  });
}

void look_at_files(report_contents& report, unsigned threads) {
  for (reported_file& file : report.files) {
    measure(file.compared, threads);
    std::vector<range_counts> ranges;
    for (const tensor_pair& pair : file.compared.pairs) {
      ranges.push_back(report.values[place_of(report, *pair.reference)].counts);
    }
    file.portraits = portraits_of(file.compared, ranges, threads);
  }
}

#if defined(NIBBLE_WITH_ENGINE)
/// Runs every model on the text, each beside the reference.
void score_models(report_contents& report, const report_options& options) {
  if (!options.tokens_file && !options.text_file) return;
  const engine_options engine{.single = options.single, .threads = options.threads};
  running_model reference = open_model(report.path, engine);
  const token_sequences sequences =
      scored_sequences(reference.model, options.tokens_file, options.text_file);
  for (reported_file& file : report.files) {
    running_model packed = open_model(file.path, engine);
    const nibble_engine::comparison found =
        nibble_engine::compare(packed.model, reference.model, sequences);
    report.perplexity = score_fields(found.of_other);
    file.perplexity = score_fields(found.of_model);
    file.perplexity["divergence"] = {{"mean", found.divergence.mean},
                                     {"percentile_99", found.divergence.percentile_99},
                                     {"max", found.divergence.max}};
    file.perplexity["first_choice_agreement"] = found.divergence.first_choice_agreement;
  }
}
#endif

/// What tensors are stored as, the encoding of most bytes first.
nlohmann::json encodings_of(std::span<const compared_tensor> tensors) {
  struct sums {
    std::uint64_t tensors = 0;
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
  };
  std::map<std::string_view, sums> by_encoding;
  for (const compared_tensor& tensor : tensors) {
    sums& of = by_encoding[tensor.dtype];
    ++of.tensors;
    of.elements += tensor.shape.elements();
    of.bytes += tensor.bytes;
  }
  std::vector<std::pair<std::string_view, sums>> list(by_encoding.begin(), by_encoding.end());
  std::ranges::stable_sort(
      list, [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  nlohmann::json entries = nlohmann::json::array();
  for (const auto& [name, of] : list) {
    entries.push_back(
        {{"encoding", name}, {"tensors", of.tensors}, {"elements", of.elements}, {"bytes", of.bytes}});
  }
  return entries;
}

/// The fields that the reference and the packed files have alike.
nlohmann::json file_fields(const std::string& path, const nibble::reader& opened,
                           std::span<const compared_tensor> tensors, const nlohmann::json& perplexity) {
  std::uint64_t bytes = 0;
  std::uint64_t elements = 0;
  for (const compared_tensor& tensor : tensors) {
    bytes += tensor.bytes;
    elements += tensor.shape.elements();
  }
  const double bits = 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
  return {{"file", path},
          {"format", std::string(nibble::to_string(opened.container()))},
          {"file_bytes", opened.file_bytes()},
          {"tensor_bytes", bytes},
          {"elements", elements},
          {"bits_per_weight", elements == 0 ? nlohmann::json(nullptr) : nlohmann::json(bits)},
          {"encodings", encodings_of(tensors)},
          {"perplexity", perplexity}};
}

nlohmann::json to_json(const code_positions& positions) {
  return {{"first", positions.codes().first},
          {"last", positions.codes().last},
          {"from", positions.from()},
          {"step", positions.step()},
          {"below", positions.below()},
          {"above", positions.above()},
          {"without_scale", positions.without_scale()},
          {"counts", positions.counts()}};
}

/// The values of a block, from either side.
nlohmann::json values_of_block(const compared_tensor& tensor, const block_error& block) {
  std::vector<float> scratch;
  std::vector<double> row;
  decode_rows(tensor, block.row, 1, scratch, row);
  nlohmann::json values = nlohmann::json::array();
  for (std::uint64_t i = 0; i < block.elements; ++i) {
    values.push_back(rounded_number(row[static_cast<std::size_t>(block.column + i)]));
  }
  return values;
}

nlohmann::json to_json(const report_contents& report, const tensor_pair& pair,
                       const block_error& block) {
  const value_spread& spread = report.values[place_of(report, *pair.reference)].spread;
  const double all =
      pair.errors.rmse() * pair.errors.rmse() * static_cast<double>(pair.errors.elements());
  return {{"row", block.row},
          {"column", block.column},
          {"elements", block.elements},
          {"rmse", rounded_number(block.rmse())},
          {"relative_rmse", rounded_number(block.rmse() / spread.root_mean_square())},
          {"max_abs_error", rounded_number(block.max_abs_error)},
          {"share_of_squared_error", rounded_number(block.squared_error / all)},
          {"reference", values_of_block(*pair.reference, block)},
          {"packed", values_of_block(*pair.other, block)}};
}

/// Blocks of all pairs that have the largest RMSE beside the RMS of their tensors.
nlohmann::json worst_blocks(const report_contents& report, const reported_file& file) {
  constexpr std::size_t most = 24;
  struct ranked_block {
    double relative;
    std::size_t pair;
    const block_error* block;
  };
  std::vector<ranked_block> candidates;
  for (std::size_t i = 0; i < file.portraits.size(); ++i) {
    const tensor_pair& pair = file.compared.pairs[i];
    const value_spread& spread = report.values[place_of(report, *pair.reference)].spread;
    for (const block_error& block : file.portraits[i].worst) {
      const double relative = block.rmse() / spread.root_mean_square();
      if (!std::isnan(relative)) candidates.push_back({relative, i, &block});
    }
  }
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(std::min(most, candidates.size()));
  std::partial_sort(candidates.begin(), end, candidates.end(),
                    [](const ranked_block& a, const ranked_block& b) {
                      if (a.relative != b.relative) return a.relative > b.relative;
                      if (a.pair != b.pair) return a.pair < b.pair;
                      return a.block->is_worse_than(*b.block);
                    });
  candidates.erase(end, candidates.end());
  nlohmann::json blocks = nlohmann::json::array();
  for (const ranked_block& each : candidates) {
    const tensor_pair& pair = file.compared.pairs[each.pair];
    nlohmann::json block = to_json(report, pair, *each.block);
    block["tensor"] = place_of(report, *pair.reference);
    blocks.push_back(std::move(block));
  }
  return blocks;
}

/// Where the reference's values lie among the codes of an encoding, over all tensors of it.
nlohmann::json positions_by_encoding(const reported_file& file) {
  std::map<std::string_view, std::pair<std::uint64_t, code_positions>> by_encoding;
  for (std::size_t i = 0; i < file.portraits.size(); ++i) {
    const auto& positions = file.portraits[i].positions;
    if (!positions || !file.compared.pairs[i].is_compared) continue;
    const auto [at, is_new] = by_encoding.try_emplace(file.compared.pairs[i].other->dtype, 0,
                                                      code_positions(positions->codes()));
    ++at->second.first;
    at->second.second += *positions;
  }
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [encoding, sums] : by_encoding) {
    nlohmann::json entry = to_json(sums.second);
    entry["encoding"] = encoding;
    entry["tensors"] = sums.first;
    list.push_back(std::move(entry));
  }
  return list;
}

nlohmann::json mismatches_of(const comparison& compared) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [a, b] : compared.shape_mismatches) {
    list.push_back({{"name", a->name},
                    {"shape_a", dimensions_of(a->shape)},
                    {"shape_b", dimensions_of(b->shape)}});
  }
  return list;
}

/// What the page's table, heat map and figures are drawn from.
nlohmann::json page_data(const report_contents& report, const report_options& options) {
  std::vector<std::string> kinds;
  std::map<std::string, std::size_t> places;
  nlohmann::json tensors = nlohmann::json::array();
  for (const compared_tensor& tensor : report.tensors) {
    const tensor_kind split = split_name(tensor.name);
    const auto [place, is_new] = places.try_emplace(split.kind, kinds.size());
    if (is_new) kinds.push_back(split.kind);
    tensors.push_back({{"name", tensor.name},
                       {"shape", dimensions_of(tensor.shape)},
                       {"elements", tensor.shape.elements()},
                       {"encoding", tensor.dtype},
                       {"bytes", tensor.bytes},
                       {"kind", place->second},
                       {"layer", split.layer ? nlohmann::json(*split.layer) : nlohmann::json(nullptr)},
                       {"files", nlohmann::json(std::vector<nlohmann::json>(
                                     report.files.size(), nlohmann::json(nullptr)))}});
  }
  nlohmann::json files = nlohmann::json::array();
  for (std::size_t i = 0; i < report.files.size(); ++i) {
    const reported_file& file = report.files[i];
    nlohmann::json entry = file_fields(file.path, *file.opened, file.compared.other, file.perplexity);
    entry["all_tensors"] = error_fields(file.compared.all);
    entry["all_matrices"] = error_fields(file.compared.matrices);
    entry["only_in_reference"] = file.compared.only_in_reference;
    entry["only_in_file"] = file.compared.only_in_other;
    entry["shape_mismatches"] = mismatches_of(file.compared);
    entry["not_compared"] = names_not_compared(file.compared);
    entry["positions"] = positions_by_encoding(file);
    entry["worst_blocks"] = worst_blocks(report, file);
    files.push_back(std::move(entry));
    for (const tensor_pair& pair : file.compared.pairs) {
      nlohmann::json fields = pair.is_compared ? error_fields(pair.errors) : nlohmann::json::object();
      fields.erase("elements");
      fields["encoding"] = pair.other->dtype;
      fields["bytes"] = pair.other->bytes;
      tensors[place_of(report, *pair.reference)]["files"][i] = std::move(fields);
    }
  }
  nlohmann::json reference =
      file_fields(report.path, *report.opened, report.tensors, report.perplexity);
  const std::optional<std::string>& text = options.text_file ? options.text_file : options.tokens_file;
  return {{"version", schema_version::report},
          {"nibble", NIBBLE_VERSION_STRING},
          {"reference", std::move(reference)},
          {"text", text ? nlohmann::json(*text) : nlohmann::json(nullptr)},
          {"files", std::move(files)},
          {"kinds", kinds},
          {"tensors", std::move(tensors)}};
}

/// A document for a script element: no name in it can end the element, or begin a comment.
std::string embedded(const nlohmann::json& document) {
  std::string text;
  for (const char letter : document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (letter == '<') {
      text += "\\u003c";
    } else {
      text += letter;
    }
  }
  return text;
}

/// What is shown of one tensor once it is chosen, a line each, so that the page parses none before.
std::string detail_lines(const report_contents& report) {
  std::vector<nlohmann::json> details(report.tensors.size());
  for (std::size_t i = 0; i < details.size(); ++i) {
    const reported_values& values = report.values[i];
    const bool has_values = values.spread.finite != 0;
    const auto figure = [&](double number) {
      return has_values ? rounded_number(number) : nlohmann::json(nullptr);
    };
    details[i] = {{"from", values.counts.from()},
                  {"to", values.counts.to()},
                  {"below", values.counts.below()},
                  {"above", values.counts.above()},
                  {"counts", values.counts.counts()},
                  {"lowest", figure(values.spread.lowest)},
                  {"highest", figure(values.spread.highest)},
                  {"mean", figure(values.spread.mean())},
                  {"standard_deviation", figure(values.spread.standard_deviation())},
                  {"zeros", values.spread.zeros},
                  {"non_finite", values.spread.non_finite},
                  {"files", nlohmann::json(std::vector<nlohmann::json>(report.files.size(),
                                                                       nlohmann::json(nullptr)))}};
  }
  for (std::size_t i = 0; i < report.files.size(); ++i) {
    const reported_file& file = report.files[i];
    for (std::size_t j = 0; j < file.compared.pairs.size(); ++j) {
      const tensor_pair& pair = file.compared.pairs[j];
      if (!pair.reference->is_decodable() || !pair.other->is_decodable()) continue;
      const pair_portrait& portrait = file.portraits[j];
      nlohmann::json blocks = nlohmann::json::array();
      for (const block_error& block : portrait.worst) {
        nlohmann::json entry = to_json(report, pair, block);
        if (!blocks.empty()) {  // the others are listed only
          entry.erase("reference");
          entry.erase("packed");
        }
        blocks.push_back(std::move(entry));
      }
      details[place_of(report, *pair.reference)]["files"][i] = {
          {"counts", portrait.values.counts()},
          {"below", portrait.values.below()},
          {"above", portrait.values.above()},
          {"positions", portrait.positions ? to_json(*portrait.positions) : nlohmann::json(nullptr)},
          {"blocks", std::move(blocks)}};
    }
  }
  std::string lines;
  for (const nlohmann::json& each : details) lines += embedded(each) + "\n";
  return lines;
}

void write_page(const std::string& path, std::string_view data, std::string_view details) {
  std::string page(report_page::before_data);
  page += data;
  page += report_page::before_details;
  page += details;
  page += report_page::after_details;
  require_folder_of(path);
  require_no_content_of_cache(path);
  mapped_inputs::require_whole();
  nibble::atomic_file file(path, page.size());
  file.write_at(0, std::as_bytes(std::span(page)));
  file.commit();
}

std::string to_text(const nlohmann::json& data, const std::string& output) {
  using side = table::side;
  const bool has_perplexity = !data.at("reference").at("perplexity").is_null();
  std::vector<table::column> columns{{"file", side::left},
                                     {"bytes", side::right},
                                     {"bits per weight", side::right},
                                     {"relative rmse", side::right},
                                     {"sqnr dB", side::right}};
  if (has_perplexity) {
    columns.push_back({"perplexity", side::right});
    columns.push_back({"divergence", side::right});
  }
  table files(std::move(columns));
  const auto number = [](const nlohmann::json& value, const char* format) {
    if (value.is_number()) return fmt::format(fmt::runtime(format), value.get<double>());
    return value.is_string() ? value.get<std::string>() : std::string("-");
  };
  const auto add = [&](const nlohmann::json& file, const nlohmann::json& errors) {
    std::vector<std::string> cells{nibble::escape_text(file.at("file").get<std::string>()),
                                   grouped(file.at("file_bytes").get<std::uint64_t>()),
                                   number(file.at("bits_per_weight"), "{:.2f}"),
                                   number(errors.value("relative_rmse", nlohmann::json()), "{:.3e}"),
                                   number(errors.value("sqnr_db", nlohmann::json()), "{:.2f}")};
    if (has_perplexity) {
      const nlohmann::json& perplexity = file.at("perplexity");
      cells.push_back(number(perplexity.at("perplexity"), "{:.4f}"));
      cells.push_back(perplexity.contains("divergence")
                          ? number(perplexity.at("divergence").at("mean"), "{:.6f}")
                          : "-");
    }
    files.add_row(std::move(cells));
  };
  add(data.at("reference"), nlohmann::json::object());
  for (const nlohmann::json& file : data.at("files")) add(file, file.at("all_tensors"));
  return files.to_string() + fmt::format("wrote {}, {}\n", nibble::escape_text(output),
                                         counted(size_of_file(output), "byte"));
}

/// What --json prints: the files without what is told of their tensors.
nlohmann::json summary_of(const nlohmann::json& data, const std::string& output) {
  nlohmann::json files = data.at("files");
  for (nlohmann::json& file : files) {
    file.erase("positions");
    file.erase("worst_blocks");
  }
  return {{"output", output},
          {"output_bytes", size_of_file(output)},
          {"reference", data.at("reference")},
          {"text", data.at("text")},
          {"files", std::move(files)}};
}

}  // namespace

exit_code report(const report_options& options) {
  require_suffix(options.output, "report", ".html");
  if (options.tokens_file && options.text_file) {
    throw usage_error("report takes --tokens or --text, one of them");
  }
  report_contents contents;
  open_all(contents, options);
#if defined(NIBBLE_WITH_ENGINE)
  score_models(contents, options);
#endif
  look_at_reference(contents, options.threads);
  look_at_files(contents, options.threads);
  const nlohmann::json data = page_data(contents, options);
  write_page(options.output, embedded(data), detail_lines(contents));
  if (options.json) {
    print_json(schema_version::report, summary_of(data, options.output));
  } else {
    print_out(to_text(data, options.output));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
