#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/file_order.hpp>
#include <nibble/format/json_footprint.hpp>
#include <nibble/format/json_stream.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble::safetensors {

/// Size of the length, a u64, that is before the header.
inline constexpr std::size_t length_bytes = 8;
/// The longest header that the reference implementation takes.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;
/// The member of the header that is no tensor but a map of strings.
inline constexpr std::string_view metadata_key = "__metadata__";

/// Whether a file starts as safetensors files do: a length up to max_header_bytes, an opening brace.
[[nodiscard]] inline bool has_magic(std::span<const std::byte> file) noexcept {
  if (file.size() < length_bytes + 1) return false;
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  return header_bytes >= 2 && header_bytes <= max_header_bytes &&
         std::to_integer<char>(file[length_bytes]) == '{';
}

namespace detail {

/// Reads tensors and metadata of a header, token by token: {"name": {"dtype": "F32", "shape": [..],
/// "data_offsets": [begin, end]}, ..., "__metadata__": {"key": "value", ...}}.
///
/// As the reference implementation does, it skips fields that it does not know, takes null for no
/// metadata, and of a metadata key that is there twice the last. It refuses a tensor's name that is
/// there twice, as the description of the format does.
template <class Json>
class header_reader {
 public:
  header_reader(std::string_view text, basic_directory<Json>& to, memory_budget& budget)
      : stream_(text, "header"), to_(to), budget_(budget) {
    constexpr std::string_view told_by = "\"data_offsets\"";
    std::size_t entries = 0;
    for (std::size_t at = 0; (at = text.find(told_by, at)) != std::string_view::npos;) {
      at += told_by.size();
      ++entries;
    }
    budget_.take(entries, directory_bytes_per_tensor, "header");
    to_.tensors.reserve(entries);
  }

  void read() {
    stream_.require('{');
    read_members([&](std::string_view name) {
      if (name == metadata_key) {
        read_metadata();
      } else {
        read_tensor(name);
      }
    });
    stream_.require_end();
    require_names_once();
  }

 private:
  [[noreturn]] void refuse(std::string_view field, std::string found, std::string expected) const {
    throw error(error_code::bad_index, {.tensor = tensor_name_.text,
                                        .field = std::string(field),
                                        .found = std::move(found),
                                        .expected = std::move(expected)});
  }
  /// Takes the mark that opens a value. Throws bad_index, which says what is there instead.
  void enter(char mark, std::string_view field, std::string_view expected) {
    if (stream_.take(mark)) return;
    std::string found = stream_.describe_next();
    refuse(field, std::move(found), std::string(expected));
  }

  /// Reads the members of an object whose opening brace has been taken: read_value(key) reads each
  /// value.
  template <class ReadValue>
  void read_members(const ReadValue& read_value) {
    if (stream_.take('}')) return;
    reused_string unescaped;
    do {
      const std::string_view key = stream_.take_string(unescaped.text);
      unescaped.cover(budget_, "header");
      stream_.require(':');
      read_value(key);
    } while (stream_.take(','));
    stream_.require('}');
  }

  void read_metadata() {
    name_entry(metadata_key);
    if (has_metadata_) {
      throw error(error_code::duplicate_name, {.tensor = std::string(metadata_key),
                                               .field = "header",
                                               .found = "the name a second time",
                                               .expected = "every name once"});
    }
    has_metadata_ = true;
    if (stream_.peek() == 'n' && stream_.take_literal() == "null") return;
    enter('{', "header", "an object");
    read_members([&](std::string_view key) {
      if (++metadata_keys_ > max_metadata_keys) {
        throw error(error_code::directory_too_large,
                    {.field = std::string(metadata_key),
                     .found = "more keys",
                     .expected = join_text({"at most ", max_metadata_keys})});
      }
      budget_.take(json_member_bytes<Json>(key) + sizeof(std::string), "header");
      std::string& value =
          (to_.metadata[std::string(key)] = std::string()).template get_ref<std::string&>();
      const std::string_view text = read_string("header");
      budget_.take(memory_budget::string_bytes(text.size()), "header");
      value = text;
    });
  }

  [[nodiscard]] std::string_view read_string(std::string_view field) {
    if (stream_.peek() != '"') enter('"', field, "a string");
    const std::string_view text = stream_.take_string(unescaped_.text);
    unescaped_.cover(budget_, "header");
    return text;
  }

  void read_tensor(std::string_view name) {
    if (to_.tensors.size() == to_.tensors.capacity()) {
      // Entries with escapes in the names of their fields were not counted before: the list doubles.
      budget_.take(3 * to_.tensors.size() + 1, directory_bytes_per_tensor, "header");
    }
    budget_.take(memory_budget::string_bytes(name.size()), "header");
    tensor_info& tensor = to_.tensors.emplace_back();
    tensor.name = name;
    name_entry(name);
    enter('{', "header", "an object");
    bool has_dtype = false;
    bool has_shape = false;
    bool has_offsets = false;
    const auto once = [&](bool& seen, std::string_view field) {
      if (seen) refuse(field, "a second time", "each field once");
      seen = true;
    };
    read_members([&](std::string_view field) {
      if (field == "dtype") {
        once(has_dtype, field);
        const std::string_view dtype = read_string(field);
        budget_.take(memory_budget::string_bytes(dtype.size()), "header");
        tensor.dtype = dtype;
      } else if (field == "shape") {
        once(has_shape, field);
        read_numbers(field, "an array of dimensions");
        read_shape(tensor);
      } else if (field == "data_offsets") {
        once(has_offsets, field);
        read_numbers(field, "an array of two offsets");
        if (count_ != 2 || numbers_[0] > numbers_[1]) {
          refuse(field,
                 join_text({"[", list_text(numbers_, ", "), count_ > numbers_.size() ? ", ...]" : "]"}),
                 "[begin, end]");
        }
        tensor.file_offset_bytes = numbers_[0];
        tensor.size_bytes = numbers_[1] - numbers_[0];
      } else {
        constexpr std::size_t levels_around = 2;
        stream_.skip_value(levels_around);
      }
    });
    if (!has_dtype || !has_shape || !has_offsets) {
      refuse("header", "an entry that lacks a field", "dtype, shape and data_offsets");
    }
  }

  /// Reads an array of numbers into numbers_ and its length into count_. Numbers behind the eighth, of
  /// which no shape has any, are counted and not kept.
  void read_numbers(std::string_view field, std::string_view expected) {
    numbers_.clear();
    count_ = 0;
    enter('[', field, expected);
    if (stream_.take(']')) return;
    do {
      const char next = stream_.peek();
      std::uint64_t number = 0;
      std::string text;
      if ((next >= '0' && next <= '9') || next == '-') {
        const std::string_view digits = stream_.take_number();
        const auto [end, problem] =
            std::from_chars(digits.data(), digits.data() + digits.size(), number);
        if (problem != std::errc() || end != digits.data() + digits.size()) text = digits;
      } else {
        text = stream_.describe_next();
      }
      if (!text.empty()) refuse(field, std::move(text), "a whole number from 0 to 2^64 - 1");
      constexpr std::uint64_t max_numbers = 1000;
      if (++count_ > max_numbers) {
        refuse(field, join_text({"more than ", max_numbers, " numbers"}), std::string(expected));
      }
      if (count_ <= shape::max_rank) numbers_.push_back(number);
    } while (stream_.take(','));
    stream_.require(']');
  }

  void read_shape(tensor_info& tensor) const {
    if (count_ > shape::max_rank) {
      throw error(error_code::bad_shape, {.tensor = tensor.name,
                                          .field = "shape",
                                          .found = join_text({count_, " dimensions"}),
                                          .expected = join_text({"at most ", shape::max_rank})});
    }
    try {
      tensor.shape = shape(numbers_);
    } catch (const error& problem) {
      throw problem.in_tensor(tensor.name);
    }
    if (tensor.shape.elements() != 0) return;
    // A zero does not excuse dimensions before it whose product 64 bits do not hold.
    std::uint64_t product = 1;
    for (const std::uint64_t dimension : numbers_) {
      const auto next = checked_multiply(product, dimension);
      if (!next) {
        throw error(error_code::bad_shape, {.tensor = tensor.name,
                                            .field = "shape",
                                            .found = tensor.shape.to_string(),
                                            .expected = "a product that 64 bits hold at every step"});
      }
      product = *next;
    }
  }

  void require_names_once() const {
    const auto name_at = [&](std::size_t i) -> const std::string& { return to_.tensors[i].name; };
    const name_index names(to_.tensors.size(), name_at);
    if (const auto repeated = names.first_repeated(name_at)) {
      throw error(error_code::duplicate_name, {.tensor = to_.tensors[*repeated].name,
                                               .field = "header",
                                               .found = "the name a second time",
                                               .expected = "every name once"});
    }
  }

  void name_entry(std::string_view name) {
    tensor_name_.text = name;
    tensor_name_.cover(budget_, "header");
  }

  json_stream stream_;
  basic_directory<Json>& to_;
  memory_budget& budget_;
  reused_string tensor_name_;  ///< of the entry that is read, for messages
  bool has_metadata_ = false;
  std::uint64_t metadata_keys_ = 0;
  reused_string unescaped_;
  std::vector<std::uint64_t> numbers_;
  std::uint64_t count_ = 0;
};

/// Sets the encoding of a tensor by the name of its dtype, where the table of encodings has it. Throws
/// size_mismatch where the tensor's size is not the encoding's stored size, or elements narrower than a
/// byte end within one.
inline void resolve_encoding(tensor_info& tensor) {
  for (const encoding_description& row : encodings) {
    if (!row.safetensors_dtype.empty() && row.safetensors_dtype == tensor.dtype) {
      tensor.encoding = row.encoding;
    }
  }
  if (!tensor.encoding) return;
  const auto needed = stored_bytes(*tensor.encoding, tensor.shape);
  const bool ends_within_a_byte =
      tensor.shape.elements() % describe(*tensor.encoding).block_elements != 0;
  if (needed != tensor.size_bytes || ends_within_a_byte) {
    throw error(
        error_code::size_mismatch,
        {.tensor = tensor.name,
         .field = "data_offsets",
         .found = join_text({tensor.size_bytes, " bytes"}),
         .expected = join_text(
             {ends_within_a_byte ? std::string("elements that fill whole bytes") : bytes_text(needed),
              " for ", tensor.dtype, " of ", tensor.shape.to_string()})});
  }
}

/// Throws bad_layout unless the tensors cover the data without hole or overlap up to their end,
/// truncated for a tensor that ends behind it. Offsets count from the start of the data.
inline void check_extents(const std::vector<tensor_info>& tensors, std::uint64_t data_bytes) {
  std::uint64_t end = 0;
  const auto check = [&](const tensor_info& tensor) {
    if (tensor.file_offset_bytes != end) {
      throw error(error_code::bad_layout, {.tensor = tensor.name,
                                           .field = "data_offsets",
                                           .found = std::to_string(tensor.file_offset_bytes),
                                           .expected = join_text({end, ", without hole or overlap"})});
    }
    end += tensor.size_bytes;
    if (end > data_bytes) {
      throw error(error_code::truncated,
                  {.tensor = tensor.name,
                   .field = "data",
                   .found = join_text({data_bytes, " bytes of data in the file"}),
                   .expected = join_text({"at least ", end})});
    }
  };
  for_each_in_file_order(tensors, check);
  if (end != data_bytes) {
    throw error(error_code::bad_layout, {.field = "data",
                                         .found = join_text({data_bytes, " bytes"}),
                                         .expected = join_text({end, ", which the tensors cover"})});
  }
}

}  // namespace detail

/// How many bytes length and header take together, read from the first length_bytes of a file of
/// `file_bytes`. Throws truncated, bad_metadata (over the format's limit).
inline std::uint64_t front_bytes(std::span<const std::byte> file, std::uint64_t file_bytes) {
  if (file_bytes < length_bytes) {
    throw error(error_code::truncated, {.field = "header length",
                                        .found = join_text({"a file of ", file_bytes, " bytes"}),
                                        .expected = join_text({"at least ", length_bytes})});
  }
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  if (header_bytes > max_header_bytes) {
    throw error(error_code::bad_metadata, {.field = "header length",
                                           .found = join_text({header_bytes, " bytes"}),
                                           .expected = join_text({"at most ", max_header_bytes})});
  }
  if (header_bytes > file_bytes - length_bytes) {
    throw error(error_code::truncated,
                {.field = "header",
                 .found = join_text({"a file of ", file_bytes, " bytes"}),
                 .expected = join_text({"at least ", length_bytes + header_bytes})});
  }
  return length_bytes + header_bytes;
}

/// The directory of a safetensors file, made from `front`, the bytes before its tensors (or more), and
/// from its size. The directory refers to `front`.
///
/// Throws, naming tensor and field but no file: truncated, bad_metadata, bad_index, bad_shape,
/// bad_layout, duplicate_name, size_mismatch, directory_too_large (see memory_budget).
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse(std::span<const std::byte> front, std::uint64_t file_bytes) {
  const std::uint64_t data_offset = front_bytes(front, file_bytes);
  const std::string_view text(reinterpret_cast<const char*>(front.data()) + length_bytes,
                              static_cast<std::size_t>(data_offset - length_bytes));
  if (!text.starts_with('{')) {
    throw error(error_code::bad_metadata,
                {.field = "header", .found = "no opening brace", .expected = "a JSON object"});
  }
  if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    throw error(error_code::bad_metadata,
                {.field = join_text({"header, byte ", at}),
                 .found = join_text({"0x", hex_text(static_cast<unsigned char>(text[at]), 2)}),
                 .expected = "UTF-8"});
  }

  basic_directory<Json> parsed{.container = container::safetensors};
  parsed.metadata_text = text;
  parsed.metadata = Json::object();
  memory_budget budget(file_bytes);
  detail::header_reader<Json>(text, parsed, budget).read();

  detail::check_extents(parsed.tensors, file_bytes - data_offset);
  for (tensor_info& tensor : parsed.tensors) {
    detail::resolve_encoding(tensor);
    tensor.file_offset_bytes += data_offset;
  }
  return parsed;
}

/// As above, of a file whose bytes are all there.
template <class Json = nlohmann::json>
[[nodiscard]] basic_directory<Json> parse(std::span<const std::byte> file) {
  return parse<Json>(file, file.size());
}

}  // namespace nibble::safetensors
