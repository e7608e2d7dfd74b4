#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/when_used.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/json_text.hpp>

namespace nibble::safetensors {

/// What stands before the header: its length as a u64.
inline constexpr std::size_t length_bytes = 8;
/// The reference implementation's limit.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;
/// The key that is no tensor but a map of strings.
inline constexpr std::string_view metadata_key = "__metadata__";

/// Whether a file starts as safetensors files do: a plausible length, then an opening brace.
[[nodiscard]] inline bool has_magic(std::span<const std::byte> file) noexcept {
  if (file.size() < length_bytes + 1) return false;
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  return header_bytes >= 2 && header_bytes <= max_header_bytes &&
         std::to_integer<char>(file[length_bytes]) == '{';
}

namespace detail {

/// Takes the header as a stream of tokens: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [b,
/// e]}, ..., "__metadata__": {"key": "value", ...}}.
template <class Json>
class header_handler : public nlohmann::json_sax<Json> {
 public:
  using typename nlohmann::json_sax<Json>::number_integer_t;
  using typename nlohmann::json_sax<Json>::number_unsigned_t;
  using typename nlohmann::json_sax<Json>::number_float_t;
  using typename nlohmann::json_sax<Json>::string_t;
  using typename nlohmann::json_sax<Json>::binary_t;

  explicit header_handler(directory& to) : to_(to) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override { return unexpected(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == place::dimensions) {
      dimensions_.push_back(value);
    } else if (place_ == place::offsets) {
      offsets_.push_back(value);
    } else {
      return unexpected(std::to_string(value));
    }
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool string(string_t& value) override {
    if (place_ == place::metadata_value) {
      to_.metadata[key_] = value;
      place_ = place::metadata;
    } else if (place_ == place::dtype) {
      tensor_.dtype = value;
      place_ = place::tensor;
    } else {
      return unexpected("a string");
    }
    return true;
  }
  bool binary(binary_t&) override { return unexpected("a binary value"); }

  bool start_object(std::size_t) override {
    switch (place_) {
      case place::start: place_ = place::file; return true;
      case place::entry:
        place_ = key_ == metadata_key ? place::metadata : place::tensor;
        tensor_ = tensor_info{.name = key_};
        seen_ = {};
        dimensions_.clear();
        offsets_.clear();
        return true;
      default: return unexpected("an object");
    }
  }
  bool key(string_t& name) override {
    if (place_ == place::file) {
      if (!names_.insert(name).second) {
        throw error(error_code::duplicate_name, {.tensor = name,
                                                 .field = "header",
                                                 .found = "the name a second time",
                                                 .expected = "every name once"});
      }
      place_ = place::entry;
    } else if (place_ == place::metadata) {
      place_ = place::metadata_value;
    } else {
      const auto field = [&](std::string_view known, bool& seen, place next) {
        if (name != known) return false;
        if (seen) refuse(name, "a second time", "each field once");
        seen = true;
        place_ = next;
        return true;
      };
      if (!field("dtype", seen_.dtype, place::dtype) &&
          !field("shape", seen_.shape, place::before_dimensions) &&
          !field("data_offsets", seen_.offsets, place::before_offsets)) {
        refuse(name, "an unknown field", "dtype, shape and data_offsets");
      }
      return true;
    }
    key_ = name;
    return true;
  }
  bool end_object() override {
    switch (place_) {
      case place::tensor: finish_tensor(); [[fallthrough]];
      case place::metadata: place_ = place::file; return true;
      case place::file: place_ = place::finished; return true;
      default: return unexpected("the end of an object");
    }
  }
  bool start_array(std::size_t) override {
    if (place_ == place::before_dimensions) {
      place_ = place::dimensions;
    } else if (place_ == place::before_offsets) {
      place_ = place::offsets;
    } else {
      return unexpected("an array");
    }
    return true;
  }
  bool end_array() override {
    place_ = place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& problem) override {
    throw error(error_code::bad_metadata, {.field = join_text({"header, byte ", position}),
                                           .found = problem.what(),
                                           .expected = "a JSON object"});
  }

 private:
  enum class place : std::uint8_t {
    start,
    file,
    entry,
    metadata,
    metadata_value,
    tensor,
    dtype,
    before_dimensions,
    dimensions,
    before_offsets,
    offsets,
    finished,
  };

  [[noreturn]] void refuse(std::string_view field, std::string found, std::string expected) const {
    throw error(error_code::bad_index, {.tensor = tensor_.name,
                                        .field = std::string(field),
                                        .found = std::move(found),
                                        .expected = std::move(expected)});
  }
  [[noreturn]] bool unexpected(std::string found) const {
    static constexpr std::string_view wanted[] = {"an object",
                                                  "a name",
                                                  "an object",
                                                  "a key",
                                                  "a string",
                                                  "a field",
                                                  "a string",
                                                  "an array of dimensions",
                                                  "a whole number >= 0",
                                                  "an array of two offsets",
                                                  "a whole number >= 0",
                                                  "nothing more"};
    refuse("header", std::move(found), std::string(wanted[static_cast<std::size_t>(place_)]));
  }

  void finish_tensor() {
    if (!seen_.dtype || !seen_.shape || !seen_.offsets) {
      refuse("header", "an entry that lacks a field", "dtype, shape and data_offsets");
    }
    if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) {
      refuse("data_offsets", join_text({"[", list_text(offsets_, ", "), "]"}), "[begin, end]");
    }
    try {
      tensor_.shape = shape(dimensions_);
    } catch (const error& problem) {
      throw problem.in_tensor(tensor_.name);
    }
    tensor_.file_offset_bytes = offsets_[0];
    tensor_.size_bytes = offsets_[1] - offsets_[0];
    to_.tensors.push_back(std::move(tensor_));
  }

  directory& to_;
  place place_ = place::start;
  std::string key_;
  tensor_info tensor_;
  struct {
    bool dtype = false;
    bool shape = false;
    bool offsets = false;
  } seen_;
  std::vector<std::uint64_t> dimensions_;
  std::vector<std::uint64_t> offsets_;
  std::unordered_set<std::string> names_;
};

/// Settles the encoding from the dtype's name and holds the size against it. Dtypes that the table
/// lacks stay without one.
inline void settle(tensor_info& tensor) {
  for (const encoding_description& row : encodings) {
    if (!row.safetensors_dtype.empty() && row.safetensors_dtype == tensor.dtype) {
      tensor.encoding = row.encoding;
    }
  }
  if (!tensor.encoding) return;
  const auto needed = stored_bytes(*tensor.encoding, tensor.shape);
  if (needed != tensor.size_bytes) {
    throw error(error_code::size_mismatch,
                {.tensor = tensor.name,
                 .field = "data_offsets",
                 .found = join_text({tensor.size_bytes, " bytes"}),
                 .expected = join_text(
                     {bytes_text(needed), " for ", tensor.dtype, " of ", tensor.shape.to_string()})});
  }
}

/// Throws unless the tensors cover the data without holes or overlaps, up to its very end.
template <class = when_used>
void check_extents(const std::vector<tensor_info>& tensors, std::uint64_t data_bytes) {
  std::vector<const tensor_info*> by_offset;
  by_offset.reserve(tensors.size());
  for (const tensor_info& tensor : tensors) by_offset.push_back(&tensor);
  std::ranges::sort(by_offset, {}, [](const tensor_info* tensor) {
    return std::pair(tensor->file_offset_bytes, tensor->size_bytes);
  });
  std::uint64_t end = 0;
  for (const tensor_info* const tensor : by_offset) {
    if (tensor->file_offset_bytes != end) {
      throw error(error_code::bad_layout, {.tensor = tensor->name,
                                           .field = "data_offsets",
                                           .found = std::to_string(tensor->file_offset_bytes),
                                           .expected = join_text({end, ", without hole or overlap"})});
    }
    end += tensor->size_bytes;
    if (end > data_bytes) {
      throw error(error_code::truncated,
                  {.tensor = tensor->name,
                   .field = "data",
                   .found = join_text({data_bytes, " bytes of data in the file"}),
                   .expected = join_text({"at least ", end})});
    }
  }
  if (end != data_bytes) {
    throw error(error_code::bad_layout, {.field = "data",
                                         .found = join_text({data_bytes, " bytes"}),
                                         .expected = join_text({end, ", which the tensors cover"})});
  }
}

}  // namespace detail

/// The directory of a safetensors file, from its bytes alone. Throws an error without a file's name.
template <class = when_used>
[[nodiscard]] directory parse(std::span<const std::byte> file) {
  if (file.size() < length_bytes) {
    throw error(error_code::truncated, {.field = "header length",
                                        .found = join_text({"a file of ", file.size(), " bytes"}),
                                        .expected = join_text({"at least ", length_bytes})});
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  if (header_bytes > max_header_bytes) {
    throw error(error_code::bad_metadata, {.field = "header length",
                                           .found = join_text({header_bytes, " bytes"}),
                                           .expected = join_text({"at most ", max_header_bytes})});
  }
  if (header_bytes > file.size() - length_bytes) {
    throw error(error_code::truncated,
                {.field = "header",
                 .found = join_text({"a file of ", file.size(), " bytes"}),
                 .expected = join_text({"at least ", length_bytes + header_bytes})});
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + length_bytes,
                              static_cast<std::size_t>(header_bytes));
  if (!text.starts_with('{')) {
    throw error(error_code::bad_metadata,
                {.field = "header", .found = "no opening brace", .expected = "a JSON object"});
  }
  require_parsable_json(text, "header");

  directory parsed{.container = container::safetensors};
  parsed.metadata_text = text;
  parsed.metadata = nlohmann::json::object();
  detail::header_handler<nlohmann::json> handler(parsed);
  nlohmann::json::sax_parse(text.begin(), text.end(), &handler);

  const std::uint64_t data_offset = length_bytes + header_bytes;
  detail::check_extents(parsed.tensors, file.size() - data_offset);
  for (tensor_info& tensor : parsed.tensors) {
    detail::settle(tensor);
    tensor.file_offset_bytes += data_offset;
  }
  return parsed;
}

}  // namespace nibble::safetensors
