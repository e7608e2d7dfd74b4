// Takes the input for a plan of a valid file and for a list of edits to it: fields that lie, tensors
// that are doubled, moved and resized, JSON that is bent. Whatever the edits, checksums are right, so
// that each lie reaches what has to see through it. A file without edits must open.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include <fmt/format.h>

#include <nibble/core/encoding.hpp>
#include <nibble/format/shards.hpp>

#include <support/apr_bytes.hpp>
#include <support/gguf_bytes.hpp>

#include "edits.hpp"
#include "use.hpp"

namespace {

using nibble_fuzz::bend_text;
using nibble_fuzz::lie;
using nibble_fuzz::name_of;
using nibble_fuzz::patch;
using nibble_fuzz::some_bytes;
using nibble_test::put_number;

std::vector<std::uint64_t> some_dimensions(FuzzedDataProvider& from, std::uint64_t cols_of) {
  std::vector<std::uint64_t> dimensions(from.ConsumeIntegralInRange<std::size_t>(0, 4));
  for (std::uint64_t& dimension : dimensions) {
    dimension = from.ConsumeIntegralInRange<std::uint64_t>(0, 5);
  }
  if (!dimensions.empty()) dimensions.back() *= cols_of;
  return dimensions;
}

void bend_dimensions(FuzzedDataProvider& from, std::vector<std::uint64_t>& dimensions) {
  const int what = from.ConsumeIntegralInRange(0, 7);
  if (what == 7) {
    dimensions.resize(from.PickValueInArray<std::size_t>({8, 9, 255, 1001}), lie(from, 1));
  } else if (dimensions.empty() || what < 2) {
    dimensions.push_back(lie(from, 1));
  } else {
    auto& one = dimensions[from.ConsumeIntegralInRange<std::size_t>(0, dimensions.size() - 1)];
    one = lie(from, one);
  }
}

template <class Tensors>
void shuffle_tensors(FuzzedDataProvider& from, Tensors& tensors) {
  if (tensors.empty()) return;
  const auto one = from.ConsumeIntegralInRange<std::size_t>(0, tensors.size() - 1);
  const auto other = from.ConsumeIntegralInRange<std::size_t>(0, tensors.size() - 1);
  switch (from.ConsumeIntegralInRange(0, 2)) {
    case 0: std::swap(tensors[one], tensors[other]); break;
    case 1: tensors.push_back(typename Tensors::value_type(tensors[one])); break;
    default: tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(one));
  }
}

void mutate_apr(FuzzedDataProvider& from) {
  nibble_test::apr_file file;
  std::vector<std::string> encodings;
  for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
    const auto& figures = nibble_test::all_figures[from.ConsumeIntegralInRange<std::size_t>(
        0, nibble_test::all_figures.size() - 1)];
    const auto dimensions =
        some_dimensions(from, from.PickValueInArray<std::uint64_t>({1, 7, 32, 256}));
    const auto size = static_cast<std::size_t>(nibble_test::size_by_formula(figures.name, dimensions));
    file.tensors.push_back({.name = std::string(1, static_cast<char>('a' + i)),
                            .dtype_id = figures.dtype_id,
                            .dimensions = dimensions,
                            .bytes = some_bytes(from, size)});
    encodings.emplace_back(figures.name);
  }
  std::ranges::reverse(file.tensors);
  std::ranges::reverse(encodings);
  file.metadata = fmt::format(R"({{"architecture":"llama","nibble":{}}})",
                              nibble_test::record_text(file.tensors, encodings));
  const int edits = from.ConsumeIntegralInRange(0, 4);
  if (edits == 0) {
    nibble_fuzz::require(nibble_fuzz::open_and_use(file.bytes()));
    return;
  }
  const bool has_record = from.ConsumeBool();
  if (!has_record)
    file.metadata = from.ConsumeBool() ? "{}" : R"({"hidden_size":64,"a":[1,{"b":"c"}]})";
  file.has_footer = from.ConsumeIntegralInRange(0, has_record ? 15 : 1) != 0;
  for (int i = 0; i < edits; ++i) {
    const int what = from.ConsumeIntegralInRange(0, 10);
    if (what == 0) {
      bend_text(from, file.metadata);
    } else if (what == 1) {
      file.flags = static_cast<std::uint16_t>(file.flags ^ (1U << from.ConsumeIntegralInRange(0, 15)));
    } else if (what == 2) {
      shuffle_tensors(from, file.tensors);
    } else if (what == 3) {
      file.behind_entries = some_bytes(from, from.ConsumeIntegralInRange<std::size_t>(0, 130));
    } else if (!file.tensors.empty()) {
      auto& tensor = file.tensors[from.ConsumeIntegralInRange<std::size_t>(0, file.tensors.size() - 1)];
      switch (what) {
        case 4: tensor.dtype_id = from.ConsumeIntegral<std::uint8_t>(); break;
        case 5: bend_dimensions(from, tensor.dimensions); break;
        case 6:
          tensor.offset = from.ConsumeBool() ? lie(from, tensor.offset.value_or(64))
                                             : from.ConsumeIntegralInRange<std::uint64_t>(0, 2000);
          break;
        case 7: tensor.size = lie(from, tensor.bytes.size()); break;
        case 8: tensor.name_bytes = static_cast<int>(lie(from, tensor.name.size()) & 0xFFFFU); break;
        case 9: tensor.rank = static_cast<int>(lie(from, tensor.dimensions.size()) & 0xFFU); break;
        default: tensor.name = name_of(from);
      }
    }
  }
  std::vector<std::byte> bytes = file.bytes();
  patch(from, bytes, 300, [&](std::vector<std::byte>& sealed) {
    if (sealed.size() < 68) return;
    nibble_test::seal_header(sealed);
    if (file.has_footer) nibble_test::seal_footer(sealed);
  });
  nibble_fuzz::open_and_use(bytes);
}

void mutate_gguf(FuzzedDataProvider& from) {
  nibble_test::gguf_file file;
  const auto all_metadata = nibble_test::sample_gguf_metadata();
  for (const auto& value : all_metadata) {
    if (from.ConsumeIntegralInRange(0, 3) == 0) file.metadata.push_back(value);
  }
  for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
    const nibble::encoding_description& row =
        nibble::encodings[from.ConsumeIntegralInRange<std::size_t>(0, nibble::encodings.size() - 1)];
    if (!row.gguf_type) continue;
    auto dimensions = some_dimensions(from, row.block_elements);
    if (row.block_elements != 1 && dimensions.empty()) continue;
    const nibble::shape shape(std::span<const std::uint64_t>{dimensions});
    const auto size = static_cast<std::size_t>(*nibble::stored_bytes(row.encoding, shape));
    std::ranges::reverse(dimensions);
    file.tensors.push_back({.name = std::string(1, static_cast<char>('a' + i)),
                            .type = *row.gguf_type,
                            .dimensions = dimensions,
                            .bytes = some_bytes(from, size)});
  }
  const int edits = from.ConsumeIntegralInRange(0, 4);
  if (edits == 0) {
    nibble_fuzz::require(nibble_fuzz::open_and_use(file.bytes()));
    return;
  }
  for (int i = 0; i < edits; ++i) {
    const int what = from.ConsumeIntegralInRange(0, 17);
    if (what == 0) {
      file.version = static_cast<std::uint32_t>(lie(from, 3));
    } else if (what == 1) {
      file.tensor_count = lie(from, file.tensors.size());
    } else if (what == 2) {
      file.metadata_count = lie(from, file.metadata.size());
    } else if (what == 3) {
      file.alignment = std::size_t{1} << from.ConsumeIntegralInRange(0, 8);
      file.metadata.push_back({"general.alignment", nibble_test::gguf_id::u32,
                               nibble_test::number_bytes(static_cast<std::uint32_t>(
                                   from.ConsumeBool() ? file.alignment : lie(from, file.alignment)))});
    } else if (what == 4) {
      shuffle_tensors(from, file.tensors);
    } else if (what == 5) {
      shuffle_tensors(from, file.metadata);
    } else if (what == 17) {
      // Arrays in arrays, down to one of no elements.
      auto bytes = nibble_test::array_bytes(nibble_test::gguf_id::u8, {});
      for (int depth = from.ConsumeIntegralInRange(0, 70); depth > 0; --depth) {
        bytes = nibble_test::array_bytes(nibble_test::gguf_id::array, {bytes});
      }
      file.metadata.push_back({"nested", nibble_test::gguf_id::array, bytes});
    } else if (what == 6) {
      file.is_padded_at_its_end = !file.is_padded_at_its_end;
    } else if (what < 10 && !file.metadata.empty()) {
      auto& value =
          file.metadata[from.ConsumeIntegralInRange<std::size_t>(0, file.metadata.size() - 1)];
      if (what == 7) value.key = from.ConsumeBool() ? "nibble.gguf" : name_of(from);
      if (what == 8) value.type = from.ConsumeIntegralInRange<std::uint32_t>(0, 14);
      if (what == 9 && value.bytes.size() >= 8) {
        const auto at = from.ConsumeIntegralInRange<std::size_t>(0, value.bytes.size() - 8);
        put_number(value.bytes, at, lie(from, nibble_test::number_at<std::uint64_t>(value.bytes, at)));
      }
    } else if (!file.tensors.empty()) {
      auto& tensor = file.tensors[from.ConsumeIntegralInRange<std::size_t>(0, file.tensors.size() - 1)];
      switch (what) {
        case 10: tensor.type = from.ConsumeIntegralInRange<std::uint32_t>(0, 45); break;
        case 11: bend_dimensions(from, tensor.dimensions); break;
        case 12: tensor.offset = lie(from, tensor.offset.value_or(32)); break;
        case 13: tensor.name_bytes = lie(from, tensor.name.size()); break;
        case 14: tensor.rank = static_cast<std::uint32_t>(lie(from, tensor.dimensions.size())); break;
        default: tensor.name = name_of(from);
      }
    }
  }
  std::vector<std::byte> bytes = file.bytes();
  patch(from, bytes, 300, [](const std::vector<std::byte>&) {});
  nibble_fuzz::open_and_use(bytes);
}

void mutate_safetensors(FuzzedDataProvider& from) {
  std::string text = from.ConsumeBool() ? R"({"__metadata__":{"format":"pt"})" : "{";
  struct entry {
    char name;
    std::string_view dtype;
    std::vector<std::uint64_t> dimensions;
    std::size_t size;
  };
  std::vector<entry> entries;
  for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
    const nibble::encoding_description& row =
        nibble::encodings[from.ConsumeIntegralInRange<std::size_t>(0, nibble::encodings.size() - 1)];
    if (row.safetensors_dtype.empty()) continue;
    const auto dimensions = some_dimensions(from, 8);
    const nibble::shape shape(std::span<const std::uint64_t>{dimensions});
    if (shape.elements() % row.block_elements != 0) continue;
    const auto size = static_cast<std::size_t>(*nibble::stored_bytes(row.encoding, shape));
    entries.push_back({static_cast<char>('a' + i), row.safetensors_dtype, dimensions, size});
  }
  const int edits = from.ConsumeIntegralInRange(0, 4);
  int bends = 0;
  for (int i = 0; i < edits; ++i) {
    if (entries.empty() || from.ConsumeIntegralInRange(0, 3) != 1) {
      ++bends;
    } else {
      const auto at = from.ConsumeIntegralInRange<std::size_t>(0, entries.size() - 1);
      bend_dimensions(from, entries[at].dimensions);
    }
  }
  std::size_t end = 0;
  for (const entry& one : entries) {
    text += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        text.size() > 1 ? "," : "", one.name, one.dtype, fmt::join(one.dimensions, ","),
                        end, end + one.size);
    end += one.size;
  }
  text += "}";
  for (int i = 0; i < bends; ++i) bend_text(from, text);
  std::vector<std::byte> bytes;
  nibble_test::append_number(bytes, edits > 0 && from.ConsumeIntegralInRange(0, 5) == 0
                                        ? lie(from, text.size())
                                        : std::uint64_t{text.size()});
  for (const char letter : text) bytes.push_back(static_cast<std::byte>(letter));
  const auto data = some_bytes(from, end);
  bytes.insert(bytes.end(), data.begin(), data.end());
  if (edits == 0) {
    nibble_fuzz::require(nibble_fuzz::open_and_use(bytes));
    return;
  }
  if (from.ConsumeIntegralInRange(0, 3) == 0) {
    patch(from, bytes, 16, [](const std::vector<std::byte>&) {});
  }
  nibble_fuzz::open_and_use(bytes);
}

/// The index of a set in several files.
void mutate_index(FuzzedDataProvider& from) {
  std::string text =
      R"({"metadata":{"total_size":24},"weight_map":{"a":"m-00001-of-00002.safetensors",)"
      R"("b":"m-00002-of-00002.safetensors"}})";
  for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) bend_text(from, text);
  nibble_fuzz::open_and_use(nibble_test::bytes_of(text));

  // Names of shards: what one says of its place, the name made of that place says again.
  static constexpr std::array<std::string_view, 12> pieces = {
      "m", "-",  "00001", "00002", "-of-", "00010", "100000", "0", "{:05d}-of-{:05d}",
      "/", "..", ".apr"};
  std::string name;
  for (int i = from.ConsumeIntegralInRange(0, 9); i > 0; --i) {
    name += pieces[from.ConsumeIntegralInRange<std::size_t>(0, pieces.size() - 1)];
  }
  if (const auto names = nibble::shard_names::from_pattern(name)) {
    const std::string made = names->name_of({1, 3});
    nibble_fuzz::require(made.find('/') == std::string::npos && made != ".." && made != ".");
  }
  if (const auto named = nibble::shard_names::from_file_name(name)) {
    const auto again = nibble::shard_names::from_file_name(named->first.name_of(named->second));
    nibble_fuzz::require(again && again->second == named->second);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider from(data, size);
  switch (from.ConsumeIntegralInRange(0, 9)) {
    case 0:
    case 1:
    case 2:
    case 3: mutate_apr(from); break;
    case 4:
    case 5:
    case 6: mutate_gguf(from); break;
    case 7:
    case 8: mutate_safetensors(from); break;
    default: mutate_index(from);
  }
  return 0;
}
