#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_info.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/safetensors/parse.hpp>

namespace nibble {

/// How much the columns of one weight count.
struct weight_importance {
  std::string name{};  ///< of the weight, GGUF's
  /// Mean squares of the inputs that a column is multiplied by: [matrices, columns]. Finite and not
  /// negative; one that is 0 was never multiplied by anything but zeros.
  std::vector<float> mean_squares{};
  /// Matrices that are counted apart, the experts of a stack; 1 where the file does not tell.
  std::uint64_t matrices = 1;
};

/// The importance of a model's weights as llama.cpp's llama-imatrix gathers it ("importance matrix"): for
/// each column of a weight the mean square of the inputs that it is multiplied by in a text.
///
/// Two forms are read, told apart by their first bytes; numbers are little-endian:
///
///   GGUF      metadata general.type "imatrix", imatrix.datasets, imatrix.chunk_count,
///             imatrix.chunk_size; for a weight NAME the f32 tensors NAME.in_sum2 (sums of squares) and
///             NAME.counts (inputs that were added, one number a matrix). mean = in_sum2 / counts
///   the older i32 entries · entry by entry: i32 bytes of the name · name · i32 calls ·
///             i32 values · f32 values · at the end, or not at all: i32 chunks · i32 bytes of the
///             dataset's name · name. mean = value / calls, or the value where there are 0 calls
///
/// Where a matrix of a stack was never reached (its count is 0), its columns count alike: 1, as
/// llama-quantize takes it.
///
/// Source: tools/imatrix/imatrix.cpp, common/imatrix-loader.cpp and tools/quantize/quantize.cpp of
/// llama.cpp.
class importance {
 public:
  /// Reads a file whole.
  ///
  /// Throws file_not_found, read_failed; unknown_container (another kind of file), truncated,
  /// duplicate_name, and what gguf::parse throws; bad_importance where a value is negative, NaN or
  /// infinite, where sums and counts do not belong together, and where there is no entry. Errors name
  /// file, tensor, what was found and what was expected.
  explicit importance(const std::string& path)
      : importance(input_file(path, file_access::read).bytes(), path) {}

  /// Reads a file in memory; `name` stands for its path in messages. Throws as above, without what the
  /// system may throw.
  importance(std::span<const std::byte> file, std::string name) : file_name_(std::move(name)) {
    try {
      if (gguf::has_magic(file)) {
        read_gguf(file);
      } else {
        read_older(file);
      }
    } catch (const error& problem) {
      throw problem.in_file(file_name_);
    }
    if (entries_.empty()) {
      refuse({}, "entries", "none", "at least one weight's sums of squares");
    }
  }

  /// The path, or what stands for it.
  [[nodiscard]] const std::string& file_name() const noexcept { return file_name_; }
  /// In the order of their names.
  [[nodiscard]] std::span<const weight_importance> entries() const noexcept { return entries_; }
  /// The texts that it was gathered from, as the file names them.
  [[nodiscard]] std::span<const std::string> datasets() const noexcept { return datasets_; }
  /// Pieces of text; 0 where the file does not say.
  [[nodiscard]] std::uint64_t chunk_count() const noexcept { return chunk_count_; }
  /// Tokens of a piece; 0 where the file does not say.
  [[nodiscard]] std::uint64_t chunk_tokens() const noexcept { return chunk_tokens_; }

  /// The mean squares for a weight [..., columns] under GGUF's or Hugging Face's name: one for each
  /// column, or for each column of each matrix of a stack. Empty where the file has no entry for it. A
  /// single expert under Hugging Face's name (experts.3) has its part of the stack's.
  ///
  /// `architecture` is either convention's name of it; where it is not known here, only the very name is
  /// looked up. The span lives as long as this object. Throws bad_importance where the entry is for
  /// another number of columns or matrices.
  [[nodiscard]] std::span<const float> of(std::string_view architecture, std::string_view weight,
                                          const shape& dimensions) const {
    const auto expert = expert_in(weight);
    const std::string stacked = expert ? expert->name : std::string(weight);
    const weight_importance* found = find(weight);
    if (found != nullptr) return checked(*found, weight, dimensions);
    const auto renamed = renamed_tensor(architecture, stacked, naming::gguf);
    if (renamed) found = find(*renamed);
    if (found == nullptr) return {};
    if (!expert) return checked(*found, weight, dimensions);
    const std::uint64_t columns = dimensions.cols();
    const std::uint64_t matrices = columns == 0 ? 0 : found->mean_squares.size() / columns;
    if (matrices * columns != found->mean_squares.size() || expert->number >= matrices) {
      refuse_shape(*found, weight,
                   join_text({"a stack of matrices with ", columns, " columns, of which ",
                              "this is number ", expert->number}));
    }
    return std::span(found->mean_squares)
        .subspan(static_cast<std::size_t>(expert->number * columns), static_cast<std::size_t>(columns));
  }

  /// The entry of that very name; null where there is none.
  [[nodiscard]] const weight_importance* find(std::string_view name) const noexcept {
    const auto found = std::lower_bound(
        entries_.begin(), entries_.end(), name,
        [](const weight_importance& entry, std::string_view wanted) { return entry.name < wanted; });
    return found == entries_.end() || found->name != name ? nullptr : &*found;
  }

 private:
  [[noreturn]] void refuse(std::string_view tensor, std::string field, std::string found,
                           std::string expected) const {
    throw error(error_code::bad_importance, {.file = file_name_,
                                             .tensor = std::string(tensor),
                                             .field = std::move(field),
                                             .found = std::move(found),
                                             .expected = std::move(expected)});
  }
  [[noreturn]] void refuse_shape(const weight_importance& entry, std::string_view weight,
                                 std::string expected) const {
    refuse(
        weight, "importance",
        join_text({entry.mean_squares.size(), " columns under '", entry.name, "', of another model"}),
        std::move(expected));
  }

  [[nodiscard]] std::span<const float> checked(const weight_importance& entry, std::string_view weight,
                                               const shape& dimensions) const {
    const std::uint64_t columns = dimensions.cols();
    std::uint64_t matrices = 1;
    for (std::size_t i = 0; i + 2 < dimensions.rank(); ++i) matrices *= dimensions[i];
    const std::uint64_t size = entry.mean_squares.size();
    if (size != columns && size != matrices * columns) {
      refuse_shape(entry, weight,
                   matrices == 1 ? join_text({columns, " columns"})
                                 : join_text({columns, " columns of ", matrices, " matrices"}));
    }
    return entry.mean_squares;
  }

  /// The stack that a single expert belongs to, and its place there.
  struct single_expert {
    std::string name;
    std::uint64_t number;
  };
  [[nodiscard]] static std::optional<single_expert> expert_in(std::string_view weight) {
    constexpr std::string_view before = ".experts.";
    const std::size_t at = weight.find(before);
    if (at == std::string_view::npos) return std::nullopt;
    const std::size_t first = at + before.size();
    const std::size_t end = std::min(weight.find('.', first), weight.size());
    constexpr std::size_t max_digits = 9;
    if (end == first || end - first > max_digits || end == weight.size()) return std::nullopt;
    std::uint64_t number = 0;
    for (const char digit : weight.substr(first, end - first)) {
      if (digit < '0' || digit > '9') return std::nullopt;
      number = number * 10 + static_cast<std::uint64_t>(digit - '0');
    }
    return single_expert{std::string(weight.substr(0, first - 1)).append(weight.substr(end)), number};
  }

  void require_square(const std::string& tensor, std::string_view field, std::size_t at,
                      float value) const {
    if (std::isfinite(value) && value >= 0.0F) return;
    refuse(tensor, join_text({field, " ", at}), shortest_text(value), "a finite number from 0 on");
  }

  void add(weight_importance entry) { entries_.push_back(std::move(entry)); }

  void sort_entries() {
    std::sort(entries_.begin(), entries_.end(),
              [](const weight_importance& a, const weight_importance& b) { return a.name < b.name; });
    for (std::size_t i = 1; i < entries_.size(); ++i) {
      if (entries_[i - 1].name != entries_[i].name) continue;
      throw error(error_code::duplicate_name,
                  {.tensor = entries_[i].name, .field = "entry", .expected = "one a weight"});
    }
  }

  // GGUF

  /// The two tensors of a weight, by their bytes.
  struct sums_and_counts {
    const tensor_info* sums = nullptr;
    const tensor_info* counts = nullptr;
  };

  void read_gguf(std::span<const std::byte> file) {
    const auto parsed = gguf::parse<nlohmann::json>(file);
    if (const auto type = parsed.metadata.find("general.type");
        type != parsed.metadata.end() && *type != "imatrix") {
      refuse({}, "general.type", type->dump(), "\"imatrix\"");
    }
    read_metadata(parsed.metadata);
    std::map<std::string, sums_and_counts, std::less<>> weights;
    const auto without = [](std::string_view name, std::string_view end) {
      return std::string(name.substr(0, name.size() - end.size()));
    };
    constexpr std::string_view sums_end = ".in_sum2";
    constexpr std::string_view counts_end = ".counts";
    for (const tensor_info& each : parsed.tensors) {
      const std::string_view name = each.name;
      if (name.ends_with(sums_end)) weights[without(name, sums_end)].sums = &each;
      if (name.ends_with(counts_end)) weights[without(name, counts_end)].counts = &each;
    }
    for (const auto& [name, found] : weights) add(entry_of(file, name, found));
    sort_entries();
  }

  [[nodiscard]] weight_importance entry_of(std::span<const std::byte> file, const std::string& name,
                                           const sums_and_counts& found) const {
    if (found.sums == nullptr) refuse(name, "in_sum2", "nothing", "a tensor beside counts");
    if (found.counts == nullptr) refuse(name, "counts", "nothing", "a tensor beside in_sum2");
    const std::vector<float> sums = floats_of(file, name, "in_sum2", *found.sums);
    const std::vector<float> counts = floats_of(file, name, "counts", *found.counts);
    if (counts.empty() || sums.size() % counts.size() != 0) {
      refuse(name, "counts", std::to_string(counts.size()),
             join_text({"one for each of the matrices that ", sums.size(), " sums are of"}));
    }
    weight_importance entry{.name = name, .mean_squares = sums, .matrices = counts.size()};
    const std::size_t columns = sums.size() / counts.size();
    for (std::size_t matrix = 0; matrix < counts.size(); ++matrix) {
      require_square(name, "count", matrix, counts[matrix]);
      for (std::size_t column = 0; column < columns; ++column) {
        const std::size_t at = matrix * columns + column;
        require_square(name, "in_sum2", at, sums[at]);
        entry.mean_squares[at] = counts[matrix] > 0.0F ? sums[at] / counts[matrix] : 1.0F;
        require_square(name, "mean square", at, entry.mean_squares[at]);
      }
    }
    return entry;
  }

  [[nodiscard]] std::vector<float> floats_of(std::span<const std::byte> file, const std::string& name,
                                             std::string_view field, const tensor_info& tensor) const {
    if (tensor.encoding != encoding::f32) {
      refuse(name, std::string(field),
             tensor.encoding ? std::string(to_string(*tensor.encoding)) : "a dtype that is not known",
             "f32");
    }
    const auto bytes = file.subspan(static_cast<std::size_t>(tensor.file_offset_bytes),
                                    static_cast<std::size_t>(tensor.size_bytes));
    return floats_in(bytes);
  }

  [[nodiscard]] static std::vector<float> floats_in(std::span<const std::byte> bytes) {
    std::vector<float> values(bytes.size() / sizeof(float));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = load_number<float>(bytes, i * sizeof(float));
    }
    return values;
  }

  void read_metadata(const nlohmann::json& metadata) {
    const auto count = [&](const char* key) -> std::uint64_t {
      const auto found = metadata.find(key);
      const bool is_count = found != metadata.end() && found->is_number_unsigned();
      return is_count ? found->get<std::uint64_t>() : 0;
    };
    chunk_count_ = count("imatrix.chunk_count");
    chunk_tokens_ = count("imatrix.chunk_size");
    const auto names = metadata.find("imatrix.datasets");
    if (names == metadata.end() || !names->is_array()) return;
    for (const nlohmann::json& each : *names) {
      if (each.is_string()) datasets_.push_back(each.get<std::string>());
    }
  }

  // The older form

  /// Takes numbers and texts off the front of a file's bytes.
  class cursor {
   public:
    explicit cursor(std::span<const std::byte> file) : file_(file) {}
    [[nodiscard]] bool at_end() const noexcept { return position_ == file_.size(); }
    [[nodiscard]] std::span<const std::byte> take(std::uint64_t bytes, std::string_view field) {
      const std::size_t left = file_.size() - position_;
      if (bytes > left) {
        throw error(error_code::truncated,
                    {.field = std::string(field),
                     .found = join_text({bytes, " bytes"}),
                     .expected = join_text({"at most ", left, ", which are left"})});
      }
      const auto taken = file_.subspan(position_, static_cast<std::size_t>(bytes));
      position_ += taken.size();
      return taken;
    }
    /// An i32 that is a count.
    [[nodiscard]] std::uint64_t take_count(std::string_view field, std::int32_t least) {
      const auto number = load_number<std::int32_t>(take(sizeof(std::int32_t), field), 0);
      if (number < least) {
        throw error(
            error_code::bad_importance,
            {.field = std::string(field),
             .found = std::to_string(number),
             .expected = join_text({"a number from ", static_cast<std::uint64_t>(least), " on"})});
      }
      return static_cast<std::uint64_t>(number);
    }
    [[nodiscard]] std::string take_text(std::string_view field) {
      const auto bytes = take(take_count(field, 0), field);
      return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

   private:
    std::span<const std::byte> file_;
    std::size_t position_ = 0;
  };

  void read_older(std::span<const std::byte> file) {
    const bool is_apr = apr::has_magic(file);
    if (is_apr || safetensors::has_magic(file)) {
      throw error(error_code::unknown_container,
                  {.field = "first bytes",
                   .found = is_apr ? "those of an .apr file" : "those of a safetensors file",
                   .expected = "an importance matrix of llama.cpp"});
    }
    cursor from(file);
    const std::uint64_t count = from.take_count("entries", 1);
    for (std::uint64_t i = 0; i < count; ++i) {
      weight_importance entry{.name = from.take_text(join_text({"entry ", i, ", name"}))};
      try {
        const std::uint64_t calls = from.take_count("calls", 0);
        const std::uint64_t values = from.take_count("values", 1);
        entry.mean_squares = floats_in(from.take(values * sizeof(float), "values"));
        for (std::size_t at = 0; at < entry.mean_squares.size(); ++at) {
          require_square(entry.name, "value", at, entry.mean_squares[at]);
          if (calls != 0) entry.mean_squares[at] /= static_cast<float>(calls);
        }
      } catch (const error& problem) {
        throw problem.in_tensor(entry.name);
      }
      add(std::move(entry));
    }
    sort_entries();
    if (from.at_end()) return;
    chunk_count_ = from.take_count("chunks", 0);
    if (!from.at_end()) datasets_.push_back(from.take_text("dataset"));
  }

  std::string file_name_;
  std::vector<weight_importance> entries_;
  std::vector<std::string> datasets_;
  std::uint64_t chunk_count_ = 0;
  std::uint64_t chunk_tokens_ = 0;
};

}  // namespace nibble
