#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include <benchmarks/support/machine_roof.hpp>
#include <benchmarks/support/matmul_modes.hpp>
#include <benchmarks/support/reference_product.hpp>
#include <nibble/compute/thread_pool.hpp>

#include "command.hpp"
#include "open_input.hpp"
#include "progress_bar.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "text_layout.hpp"

namespace nibble_command {

using nibble::thread_pool;
using nibble_benchmark::fastest_seconds;
using nibble_benchmark::line_aligned_floats;
using nibble_benchmark::machine_roof;
using nibble_benchmark::matmul_mode_description;
using nibble_benchmark::matmul_modes;
using nibble_benchmark::measure_roof;
using nibble_benchmark::product_error;
using nibble_benchmark::unstructured_values;

namespace {

/// What of a file's weights is worked on, so that a run takes about ten seconds whatever the file.
constexpr std::size_t most_encodings = 4;
constexpr std::uint64_t most_decoded = 1U << 25U;

/// Numbers of input vectors, and the weights that they are multiplied by at most.
struct batch {
  std::size_t x_rows;
  std::uint64_t most_elements;
};
constexpr std::array batches{batch{1, 1U << 27U}, batch{16, 1U << 24U}, batch{512, 1U << 22U}};

/// Whole rows of some matrices of one encoding.
struct portion {
  std::vector<nibble::tensor_view> parts{};
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
};

/// The first rows of the largest matrices, about `most_elements` of them. `matrices` has the largest
/// first.
portion take(std::span<const nibble::tensor_view> matrices, std::uint64_t most_elements) {
  portion taken;
  for (const nibble::tensor_view& matrix : matrices) {
    if (taken.elements >= most_elements) break;
    const std::uint64_t left = (most_elements - taken.elements) / matrix.cols();
    const std::uint64_t rows = std::min(matrix.rows(), std::max<std::uint64_t>(left, 1));
    const nibble::shape dimensions({rows, matrix.cols()});
    const std::uint64_t bytes = *nibble::stored_bytes(matrix.encoding(), dimensions);
    taken.parts.emplace_back(matrix.name(), matrix.encoding(), dimensions,
                             matrix.bytes().first(static_cast<std::size_t>(bytes)));
    taken.elements += dimensions.elements();
    taken.bytes += bytes;
  }
  return taken;
}

/// Speed of one kind of work on one encoding.
struct measurement {
  nibble::encoding encoding;
  std::string_view work;
  std::optional<std::string_view> mode{};
  std::optional<std::size_t> x_rows{};
  std::uint64_t elements = 0;  ///< weights decoded or multiplied by
  std::uint64_t weight_bytes = 0;
  double flop = 0.0;
  double bytes_read = 0.0;
  double bytes_written = 0.0;
  double error = 0.0;     ///< of the result, relative; 0 for decoded values that are right
  bool is_right = false;  ///< what is wrong is not timed
  double seconds = 0.0;

  [[nodiscard]] double elements_per_second() const { return static_cast<double>(elements) / seconds; }
  [[nodiscard]] double flop_per_second() const { return flop / seconds; }
  [[nodiscard]] double bytes_per_second() const { return (bytes_read + bytes_written) / seconds; }
  [[nodiscard]] double share_of(const machine_roof& roof) const {
    return roof.least_seconds(flop, bytes_read, bytes_written) / seconds;
  }
  [[nodiscard]] std::string_view limit_under(const machine_roof& roof) const {
    return flop / roof.flop_per_second < roof.least_seconds(flop, bytes_read, bytes_written)
               ? "memory"
               : "arithmetic";
  }
};

/// Elements first .. first + values.size() of a run of blocks or numbers, by the scalar codec; of
/// interleaved rows, those of row `lane`.
template <nibble::Codec Codec>
void decode_as_specified(const std::byte* run, std::size_t lane, std::uint64_t first,
                         std::span<float> values) {
  if constexpr (nibble::PlainCodec<Codec>) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      typename Codec::stored_type stored;
      std::memcpy(&stored, run + (first + i) * sizeof(stored), sizeof(stored));
      values[i] = Codec::unpack(stored);
    }
  } else if constexpr (nibble::TensorScaleCodec<Codec>) {
    typename Codec::header header;
    std::memcpy(&header, run, sizeof(header));
    std::vector<std::int8_t> codes(values.size());
    std::memcpy(codes.data(), run + sizeof(header) + first, codes.size());
    Codec::unpack(header.scale, codes, values);
  } else if constexpr (nibble::InterleavedCodec<Codec>) {
    using row_codec = typename Codec::row_codec;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t element = first + i;
      typename Codec::block block;
      std::memcpy(&block, run + element / row_codec::block_elements * sizeof(block), sizeof(block));
      std::array<float, row_codec::block_elements> whole;
      row_codec::unpack(Codec::load_row(block, lane), whole);
      values[i] = whole[element % row_codec::block_elements];
    }
  } else {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint64_t element = first + i;
      typename Codec::block block;
      std::memcpy(&block, run + element / Codec::block_elements * sizeof(block), sizeof(block));
      std::array<float, Codec::block_elements> whole;
      Codec::unpack(block, whole);
      values[i] = whole[element % Codec::block_elements];
    }
  }
}

/// Whether both are the same number, or none.
bool is_same(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// Whether the first, the last and some rows between are what the scalar codec says.
bool is_decoded(const nibble::tensor_view& part, std::span<const float> decoded) {
  constexpr std::uint64_t rows_looked_at = 64;
  constexpr std::uint64_t most_columns = 1U << 16U;
  const auto columns = static_cast<std::size_t>(std::min(part.cols(), most_columns));
  const std::uint64_t step = std::max<std::uint64_t>(part.rows() / rows_looked_at, 1);
  std::vector<float> specified(columns);
  bool is_right = true;
  const auto look = [&]<nibble::Codec Codec>(std::uint64_t row, Codec) {
    const auto [run, first, lane] = nibble::kernel::position_of_row(part, row);
    decode_as_specified<Codec>(run, lane, first, specified);
    const auto found = decoded.subspan(static_cast<std::size_t>(row * part.cols()), columns);
    is_right = is_right && std::ranges::equal(specified, found, is_same);
  };
  nibble::visit_codec(part.encoding(), part.name(), [&](auto codec) {
    for (std::uint64_t row = 0; row < part.rows(); row += step) look(row, codec);
    look(part.rows() - 1, codec);
  });
  return is_right;
}

/// Decodes to f32. Throws damaged where values are not finite, for products could not be checked.
measurement measure_decode(const nibble::reader& file, std::span<const nibble::tensor_view> matrices,
                           double seconds, nibble::executor* on) {
  const portion weights = take(matrices, most_decoded);
  const line_aligned_floats values(static_cast<std::size_t>(weights.elements));
  const auto decode = [&] {
    std::span<float> rest = values.span();
    for (const nibble::tensor_view& part : weights.parts) {
      nibble::dequantize(part, rest.first(static_cast<std::size_t>(part.elements())), {.executor = on});
      rest = rest.subspan(static_cast<std::size_t>(part.elements()));
    }
  };
  decode();
  measurement result{.encoding = matrices.front().encoding(),
                     .work = "decode to f32",
                     .elements = weights.elements,
                     .weight_bytes = weights.bytes,
                     .flop = 2.0 * static_cast<double>(weights.elements),
                     .bytes_read = static_cast<double>(weights.bytes),
                     .bytes_written = static_cast<double>(values.span().size_bytes()),
                     .is_right = true};
  std::span<const float> rest = values.span();
  for (const nibble::tensor_view& part : weights.parts) {
    const auto decoded = rest.first(static_cast<std::size_t>(part.elements()));
    rest = rest.subspan(decoded.size());
    if (!std::ranges::all_of(decoded, [](float value) { return std::isfinite(value); })) {
      throw nibble::error(nibble::error_code::damaged, {.file = file.name(),
                                                        .tensor = std::string(part.name()),
                                                        .field = "values",
                                                        .found = "NaN or an infinity",
                                                        .expected = "numbers to multiply by"});
    }
    result.is_right = result.is_right && is_decoded(part, decoded);
  }
  if (!result.is_right) result.error = std::numeric_limits<double>::infinity();
  if (result.is_right) result.seconds = fastest_seconds(seconds, 2, decode);
  return result;
}

measurement measure_products(std::span<const nibble::tensor_view> matrices,
                             const matmul_mode_description& mode, const batch& each, double seconds,
                             nibble::executor* on) {
  const portion weights = take(matrices, each.most_elements);
  std::uint64_t most_inputs = 0;
  std::uint64_t most_outputs = 0;
  measurement result{.encoding = matrices.front().encoding(),
                     .work = "multiply",
                     .mode = mode.name,
                     .x_rows = each.x_rows,
                     .elements = weights.elements,
                     .weight_bytes = weights.bytes,
                     .flop = 2.0 * static_cast<double>(each.x_rows * weights.elements),
                     .bytes_read = static_cast<double>(weights.bytes),
                     .is_right = true};
  for (const nibble::tensor_view& part : weights.parts) {
    most_inputs = std::max(most_inputs, part.cols());
    most_outputs = std::max(most_outputs, part.rows());
    result.bytes_read += static_cast<double>(each.x_rows * part.cols() * sizeof(float));
    result.bytes_written += static_cast<double>(each.x_rows * part.rows() * sizeof(float));
  }
  const std::vector<float> x = unstructured_values(each.x_rows * static_cast<std::size_t>(most_inputs));
  std::vector<float> y(each.x_rows * static_cast<std::size_t>(most_outputs));
  const auto multiply = [&](const nibble::tensor_view& part) {
    const auto inputs = std::span(x).first(each.x_rows * static_cast<std::size_t>(part.cols()));
    const auto outputs = std::span(y).first(each.x_rows * static_cast<std::size_t>(part.rows()));
    nibble::matmul(part, inputs, outputs, {.mode = mode.mode, .executor = on});
    return std::pair(inputs, std::span<const float>(outputs));
  };
  for (const nibble::tensor_view& part : weights.parts) {
    const auto [inputs, outputs] = multiply(part);
    const double error = product_error(part.rows(), part.cols(), inputs, outputs,
                                       [&](std::uint64_t row, std::span<float> values) {
                                         nibble::dequantize_rows(part, row, 1, values);
                                       });
    result.error = std::max(result.error, error);
  }
  result.is_right = result.error < mode.wrong_from;
  if (result.is_right) {
    result.seconds = fastest_seconds(seconds, 2, [&] {
      for (const nibble::tensor_view& part : weights.parts) multiply(part);
    });
  }
  return result;
}

/// Everything that was found out about a file.
struct bench_report {
  machine_roof roof{};
  std::vector<measurement> measurements{};
  std::vector<std::string_view> left_out{};  ///< encodings
};

/// Decodable matrices by encoding, those that hold most first; in each the largest first.
std::vector<std::vector<nibble::tensor_view>> matrices_of(const nibble::reader& file) {
  std::map<nibble::encoding, std::vector<nibble::tensor_view>> by_encoding;
  for (const nibble::tensor_view& tensor : file) {
    const bool is_matrix = tensor.shape().rank() >= 2 && tensor.elements() != 0;
    if (!is_matrix || !tensor.has_encoding() || !nibble::is_decodable(tensor.encoding())) continue;
    by_encoding[tensor.encoding()].push_back(tensor);
  }
  std::vector<std::pair<std::uint64_t, std::vector<nibble::tensor_view>>> ranked;
  for (auto& [which, matrices] : by_encoding) {
    std::uint64_t elements = 0;
    for (const nibble::tensor_view& matrix : matrices) elements += matrix.elements();
    std::ranges::stable_sort(matrices, std::ranges::greater{}, &nibble::tensor_view::elements);
    ranked.emplace_back(elements, std::move(matrices));
  }
  std::ranges::stable_sort(ranked, std::ranges::greater{},
                           [](const auto& encoding) { return encoding.first; });
  std::vector<std::vector<nibble::tensor_view>> groups;
  for (auto& [elements, matrices] : ranked) groups.push_back(std::move(matrices));
  return groups;
}

bench_report measure(const nibble::reader& file, unsigned threads, double seconds) {
  auto groups = matrices_of(file);
  if (groups.empty()) {
    throw usage_error(
        fmt::format("{} holds no matrix that can be decoded", nibble::escape_text(file.name())));
  }
  bench_report report;
  for (std::size_t i = most_encodings; i < groups.size(); ++i) {
    report.left_out.push_back(to_string(groups[i].front().encoding()));
  }
  groups.resize(std::min(groups.size(), most_encodings));

  thread_pool pool(threads);
  nibble::executor* const on = threads == 1 ? nullptr : &pool;
  progress_bar bar(progress_bar::unit::steps);
  const std::size_t steps = 1 + groups.size() * (1 + batches.size() * matmul_modes.size());
  bar.show(0, steps, "the machine");
  report.roof = measure_roof(on, threads, seconds);
  const auto add = [&](const measurement& each) {
    report.measurements.push_back(each);
    bar.show(report.measurements.size() + 1, steps, file.name());
  };
  for (const auto& matrices : groups) {
    add(measure_decode(file, matrices, seconds, on));
    for (const matmul_mode_description& mode : matmul_modes) {
      for (const batch& each : batches) add(measure_products(matrices, mode, each, seconds, on));
    }
  }
  return report;
}

std::string describe(const nibble::reader& file, const bench_report& report, unsigned threads) {
  constexpr double giga = 1e9;
  const machine_roof& roof = report.roof;
  std::string text = fmt::format(
      "{}: {}; {}; compiled for {}\n\n"
      "Roof: memory is read at {:.1f} GB/s and written past the caches at {:.1f} GB/s, f32 are\n"
      "multiplied and added at {:.1f} GFLOP/s, as measured now.\n\n",
      nibble::escape_text(file.name()), nibble::to_string(file.container()), counted(threads, "thread"),
      nibble::dispatched_architecture(), roof.read_bytes_per_second / giga,
      roof.write_bytes_per_second / giga, roof.flop_per_second / giga);
  using side = table::side;
  table speeds({{"encoding", side::left},
                {"work", side::left},
                {"mode", side::left},
                {"M", side::right},
                {"MB of weights", side::right},
                {"G elements/s", side::right},
                {"GFLOP/s", side::right},
                {"GB/s", side::right},
                {"share of roof", side::right},
                {"limit", side::left}});
  for (const measurement& each : report.measurements) {
    std::vector<std::string> cells{std::string(to_string(each.encoding)), std::string(each.work),
                                   std::string(each.mode.value_or("")),
                                   each.x_rows ? fmt::format("{}", *each.x_rows) : ""};
    cells.push_back(fmt::format("{:.1f}", static_cast<double>(each.weight_bytes) / 1e6));
    if (each.is_right) {
      cells.push_back(fmt::format("{:.3f}", each.elements_per_second() / giga));
      cells.push_back(fmt::format("{:.1f}", each.flop_per_second() / giga));
      cells.push_back(fmt::format("{:.2f}", each.bytes_per_second() / giga));
      cells.push_back(fmt::format("{:.2f}", each.share_of(roof)));
      cells.emplace_back(each.limit_under(roof));
    } else {
      cells.insert(cells.end(), {"wrong", "", "", "", fmt::format("off by {:.1e}", each.error)});
    }
    speeds.add_row(std::move(cells));
  }
  text += speeds.to_string();
  text +=
      "\nM: input vectors. Elements: weights decoded or multiplied by. GB/s: weights, inputs and\n"
      "outputs, each once. Share of roof: of what memory or arithmetic, the one named, allows; above "
      "1\n"
      "where data stay in a cache.\n";
  if (!report.left_out.empty()) {
    text += fmt::format("Not measured, for the file holds more of others: {}\n",
                        fmt::join(report.left_out, ", "));
  }
  return text;
}

nlohmann::json to_json(const nibble::reader& file, const bench_report& report, unsigned threads) {
  using nlohmann::json;
  json list = json::array();
  for (const measurement& each : report.measurements) {
    json entry{{"encoding", to_string(each.encoding)},
               {"work", each.work},
               {"mode", each.mode ? json(*each.mode) : json(nullptr)},
               {"input_vectors", each.x_rows ? json(*each.x_rows) : json(nullptr)},
               {"elements", each.elements},
               {"weight_bytes", each.weight_bytes},
               {"flop", each.flop},
               {"bytes_read", each.bytes_read},
               {"bytes_written", each.bytes_written},
               {"ok", each.is_right},
               // JSON has no infinity.
               {"relative_error", std::isfinite(each.error) ? json(each.error) : json(nullptr)}};
    const auto add = [&](const char* name, const auto& figure) {
      entry[name] = each.is_right ? json(figure()) : json(nullptr);
    };
    add("seconds", [&] { return each.seconds; });
    add("elements_per_second", [&] { return each.elements_per_second(); });
    add("flop_per_second", [&] { return each.flop_per_second(); });
    add("bytes_per_second", [&] { return each.bytes_per_second(); });
    add("share_of_roof", [&] { return each.share_of(report.roof); });
    add("limit", [&] { return each.limit_under(report.roof); });
    list.push_back(std::move(entry));
  }
  return {{"file", file.name()},
          {"threads", threads},
          {"compiled_for", nibble::dispatched_architecture()},
          {"machine",
           {{"read_bytes_per_second", report.roof.read_bytes_per_second},
            {"write_bytes_per_second", report.roof.write_bytes_per_second},
            {"flop_per_second", report.roof.flop_per_second}}},
          {"measurements", std::move(list)},
          {"not_measured", report.left_out}};
}

}  // namespace

exit_code bench(const bench_options& options) {
  const nibble::reader file = open_input(options.input, options.single);
  const bench_report report = measure(file, options.threads, options.seconds);
  if (options.json) {
    print_json(schema_version::bench, to_json(file, report, options.threads));
  } else {
    print_out(describe(file, report, options.threads));
  }
  const bool is_right =
      report.roof.is_checked && std::ranges::all_of(report.measurements, &measurement::is_right);
  return is_right ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
