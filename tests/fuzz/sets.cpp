// Takes the input for a model in several files (.apr shards, GGUF splits, safetensors shards with or
// without an index), for lies in what its files say of each other, and for edits to the files: removed,
// renamed, doubled, swapped, cut, replaced, patched, with the checksums made right again. A set without
// edits must open by any of its files as what was planned; one with edits opens or is refused.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include <nibble/core/encoding.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <support/apr_bytes.hpp>
#include <support/files.hpp>
#include <support/gguf_bytes.hpp>

#include "edits.hpp"
#include "folder.hpp"
#include "use.hpp"

namespace {

namespace fs = std::filesystem;
using nibble_fuzz::bend_text;
using nibble_fuzz::folder;
using nibble_fuzz::lie;
using nibble_fuzz::require;
using file_bytes = std::vector<std::byte>;

enum class form { apr, gguf, numbered_safetensors, indexed_safetensors };

struct set_tensor {
  std::string name;
  std::string_view encoding;
  std::uint32_t type;  ///< dtype id of .apr, type of GGUF
  std::string_view dtype;
  std::vector<std::uint64_t> dimensions;
  file_bytes bytes;
};

struct shard {
  std::uint64_t index;
  std::uint64_t count;
  std::uint64_t total;  ///< bytes of all tensors in .apr, their number in GGUF
  std::string pattern;
  std::vector<set_tensor> tensors{};
  int bends = 0;  ///< edits to the text of its metadata or header
};

struct model {
  form kind;
  std::string before;
  std::string extension;
  std::vector<shard> shards{};
  std::string index{};  ///< as JSON
  int bends = 0;        ///< edits to that
};

std::string file_name(const model& set, std::uint64_t index) {
  return fmt::format("{}{:05}-of-{:05}{}", set.before, index + 1, set.shards.size(), set.extension);
}

/// A name made of what names of shards are made of.
std::string some_name(FuzzedDataProvider& from, const model& set) {
  static constexpr std::array<std::string_view, 9> pieces = {
      "-", "00001", "00002", "00003", "-of-", "00001-of-00002", "{:05d}-of-{:05d}", ".apr", "m"};
  if (from.ConsumeBool() && !set.shards.empty()) {
    return file_name(set, from.ConsumeIntegralInRange<std::uint64_t>(0, 9));
  }
  std::string name = from.ConsumeBool() ? set.before : "";
  for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
    name += pieces[from.ConsumeIntegralInRange<std::size_t>(0, pieces.size() - 1)];
  }
  name += from.ConsumeBool() ? set.extension : "x";
  return name.empty() ? "x" : name;
}

std::optional<set_tensor> some_tensor(FuzzedDataProvider& from, form kind, std::string name) {
  set_tensor tensor{.name = std::move(name)};
  std::uint64_t block_elements = 1;
  if (kind == form::apr) {
    const auto& figures = nibble_test::all_figures[from.ConsumeIntegralInRange<std::size_t>(
        0, nibble_test::all_figures.size() - 1)];
    tensor.encoding = figures.name;
    tensor.type = static_cast<std::uint32_t>(figures.dtype_id);
    block_elements = from.PickValueInArray<std::uint64_t>({1, 7, 32, 256});
  } else {
    const nibble::encoding_description& row =
        nibble::encodings[from.ConsumeIntegralInRange<std::size_t>(0, nibble::encodings.size() - 1)];
    if (kind == form::gguf ? !row.gguf_type : row.safetensors_dtype.empty()) return std::nullopt;
    tensor.encoding = row.name;
    tensor.type = row.gguf_type.value_or(0);
    tensor.dtype = row.safetensors_dtype;
    block_elements = row.block_elements;
  }
  tensor.dimensions = {from.ConsumeIntegralInRange<std::uint64_t>(0, 3),
                       from.ConsumeIntegralInRange<std::uint64_t>(0, 2) * block_elements};
  tensor.bytes = nibble_fuzz::some_bytes(
      from, kind == form::apr ? static_cast<std::size_t>(
                                    nibble_test::size_by_formula(tensor.encoding, tensor.dimensions))
                              : static_cast<std::size_t>(*nibble::stored_bytes(
                                    *nibble::encoding_from_name(tensor.encoding),
                                    nibble::shape(std::span<const std::uint64_t>{tensor.dimensions}))));
  return tensor;
}

std::string index_of(const model& set) {
  std::string map;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < set.shards.size(); ++i) {
    for (const set_tensor& tensor : set.shards[i].tensors) {
      map += fmt::format(R"({}"{}":"{}")", map.empty() ? "" : ",", tensor.name, file_name(set, i));
      bytes += tensor.bytes.size();
    }
  }
  return fmt::format(R"({{"metadata":{{"total_size":{}}},"weight_map":{{{}}}}})", bytes, map);
}

model some_model(FuzzedDataProvider& from) {
  const auto kind = static_cast<form>(from.ConsumeIntegralInRange(0, 3));
  model set{.kind = kind,
            .before = from.PickValueInArray({"m-", "-", "a-of-b-", "00001-of-00002-"}),
            .extension = from.PickValueInArray({".apr", ".gguf", ".safetensors", ""})};
  const auto count = from.ConsumeIntegralInRange<std::uint64_t>(1, 4);
  for (std::uint64_t i = 0; i < count; ++i) {
    set.shards.push_back({.index = i, .count = count, .total = 0, .pattern = {}});
  }
  for (int i = from.ConsumeIntegralInRange(0, 5); i >= 0; --i) {
    auto tensor = some_tensor(from, kind, std::string(1, static_cast<char>('a' + i)));
    if (!tensor) continue;
    const auto place = from.ConsumeIntegralInRange<std::size_t>(0, count - 1);
    set.shards[place].tensors.push_back(std::move(*tensor));
  }
  // An index knows no file without tensors.
  if (kind == form::indexed_safetensors) {
    std::erase_if(set.shards, [](const shard& one) { return one.tensors.empty(); });
  }
  std::uint64_t total = 0;
  for (const shard& one : set.shards) {
    for (const set_tensor& tensor : one.tensors) {
      total += kind == form::gguf ? 1 : tensor.bytes.size();
    }
  }
  for (shard& one : set.shards) {
    one.total = total;
    one.pattern = set.before + "{:05d}-of-{:05d}" + set.extension;
    std::ranges::reverse(one.tensors);
  }
  set.index = index_of(set);
  return set;
}

/// A lie in what files say of each other.
void lie_in(FuzzedDataProvider& from, model& set) {
  const int what = from.ConsumeIntegralInRange(0, 9);
  if (what == 0) {
    ++set.bends;
    return;
  }
  if (set.shards.empty()) return;
  const auto pick = [&]() -> shard& {
    return set.shards[from.ConsumeIntegralInRange<std::size_t>(0, set.shards.size() - 1)];
  };
  shard& one = pick();
  switch (what) {
    case 1: one.index = lie(from, one.index); break;
    case 2: one.count = lie(from, one.count); break;
    case 3: one.total = lie(from, one.total); break;
    case 4: one.pattern = some_name(from, set); break;
    case 5: ++one.bends; break;
    case 6: {
      // All of them alike.
      const std::uint64_t count = lie(from, one.count);
      const std::uint64_t total = from.ConsumeBool() ? lie(from, one.total) : one.total;
      for (shard& each : set.shards) std::tie(each.count, each.total) = std::pair(count, total);
      break;
    }
    default: {
      if (one.tensors.empty()) break;
      const auto at = one.tensors.begin() +
                      from.ConsumeIntegralInRange<std::ptrdiff_t>(0, std::ssize(one.tensors) - 1);
      if (what == 7) {
        at->name = nibble_fuzz::name_of(from);
        break;
      }
      const set_tensor copy = *at;
      if (what == 8) one.tensors.erase(at);
      pick().tensors.push_back(copy);
    }
  }
}

file_bytes bytes_of_apr(FuzzedDataProvider& from, const shard& one) {
  nibble_test::apr_file file;
  std::vector<std::string> encodings;
  for (const set_tensor& tensor : one.tensors) {
    file.tensors.push_back({.name = tensor.name,
                            .dtype_id = static_cast<int>(tensor.type),
                            .dimensions = tensor.dimensions,
                            .bytes = tensor.bytes});
    encodings.emplace_back(tensor.encoding);
  }
  file.metadata = fmt::format(
      R"({{"architecture":"llama","sharding":{{"shard_count":{},"shard_index":{},"total_size":{},)"
      R"("pattern":"{}"}},"nibble":{}}})",
      one.count, one.index, one.total, one.pattern, nibble_test::record_text(file.tensors, encodings));
  for (int i = 0; i < one.bends; ++i) bend_text(from, file.metadata);
  return file.bytes();
}

file_bytes bytes_of_gguf(FuzzedDataProvider& from, const shard& one) {
  namespace id = nibble_test::gguf_id;
  nibble_test::gguf_file file;
  const auto add = [&](const char* key, std::uint64_t number) {
    // As llama.cpp has them, where they fit.
    if (number >> 16U != 0) {
      file.metadata.push_back({key, id::u64, nibble_test::number_bytes(number)});
    } else {
      file.metadata.push_back(
          {key, id::u16, nibble_test::number_bytes(static_cast<std::uint16_t>(number))});
    }
  };
  file.metadata.push_back({"general.architecture", id::string, nibble_test::string_bytes("llama")});
  add("split.no", one.index);
  add("split.count", one.count);
  add("split.tensors.count", one.total);
  for (const set_tensor& tensor : one.tensors) {
    file.tensors.push_back({.name = tensor.name,
                            .type = tensor.type,
                            .dimensions = {tensor.dimensions.rbegin(), tensor.dimensions.rend()},
                            .bytes = tensor.bytes});
  }
  for (int i = 0; i < one.bends && !file.metadata.empty(); ++i) {
    const auto at = file.metadata.begin() +
                    from.ConsumeIntegralInRange<std::ptrdiff_t>(0, std::ssize(file.metadata) - 1);
    switch (from.ConsumeIntegralInRange(0, 3)) {
      case 0: file.metadata.erase(at); break;
      case 1:
        *at = {at->key, id::i32, nibble_test::number_bytes(from.ConsumeIntegral<std::int32_t>())};
        break;
      case 2:
        *at = {at->key, id::string, nibble_test::string_bytes(from.ConsumeRandomLengthString(9))};
        break;
      default:
        file.metadata.push_back({"sharding", id::u8, nibble_test::number_bytes(std::uint8_t{1})});
    }
  }
  return file.bytes();
}

file_bytes bytes_of_safetensors(FuzzedDataProvider& from, const shard& one) {
  std::string text = R"({"__metadata__":{"format":"pt"})";
  file_bytes data;
  for (const set_tensor& tensor : one.tensors) {
    text += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                        tensor.dtype, fmt::join(tensor.dimensions, ","), data.size(),
                        data.size() + tensor.bytes.size());
    data.insert(data.end(), tensor.bytes.begin(), tensor.bytes.end());
  }
  text += "}";
  for (int i = 0; i < one.bends; ++i) bend_text(from, text);
  file_bytes file;
  nibble_test::append_number(file, std::uint64_t{text.size()});
  for (const char letter : text) file.push_back(static_cast<std::byte>(letter));
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

file_bytes bytes_of(FuzzedDataProvider& from, form kind, const shard& one) {
  switch (kind) {
    case form::apr: return bytes_of_apr(from, one);
    case form::gguf: return bytes_of_gguf(from, one);
    default: return bytes_of_safetensors(from, one);
  }
}

/// Files by their names; what is no plain file is made in their place.
using file_map = std::map<std::string, file_bytes>;

void edit_files(FuzzedDataProvider& from, const model& set, file_map& files) {
  if (files.empty()) return;
  const auto pick = [&] {
    return std::next(files.begin(),
                     from.ConsumeIntegralInRange<std::ptrdiff_t>(0, std::ssize(files) - 1));
  };
  const auto one = pick();
  switch (from.ConsumeIntegralInRange(0, 7)) {
    case 0: files.erase(one); break;
    case 1: pick()->second = file_bytes(one->second); break;
    case 2: std::swap(one->second, pick()->second); break;
    case 3: {
      file_bytes moved = std::move(one->second);
      files.erase(one);
      files[some_name(from, set)] = std::move(moved);
      break;
    }
    case 4:
      one->second = bytes_of(from, static_cast<form>(from.ConsumeIntegralInRange(0, 2)),
                             {.index = 0, .count = 1, .total = 0, .pattern = {}});
      break;
    case 5: files[some_name(from, set)] = file_bytes(one->second); break;
    default:
      nibble_fuzz::patch(from, one->second, 300, [&](file_bytes& sealed) {
        if (set.kind != form::apr || sealed.size() < 68) return;
        nibble_test::seal_header(sealed);
        nibble_test::seal_footer(sealed);
      });
  }
}

/// Puts what is no plain file in the place of one, or a link to another.
void edit_folder(FuzzedDataProvider& from, const file_map& files) {
  const auto name = [&] {
    return std::next(files.begin(),
                     from.ConsumeIntegralInRange<std::ptrdiff_t>(0, std::ssize(files) - 1))
        ->first;
  };
  const fs::path path = fs::path(folder()) / name();
  fs::remove(path);
  switch (from.ConsumeIntegralInRange(0, 2)) {
    case 0: fs::create_directory(path); break;
    case 1: fs::create_symlink(name(), path); break;
    default: require(::mkfifo(path.c_str(), 0600) == 0);
  }
}

/// Whatever a set was made of, it reads like one file.
void check_whole(const nibble::reader& set) {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  for (const nibble::reader& one : set.shards()) {
    require(one.container() == set.container());
    require(one.shards().empty());
    require(fs::path(one.name()).parent_path() == folder());
    for (const nibble::tensor_view& tensor : one) {
      require(set.tensors()[tensors].bytes().data() == tensor.bytes().data());
      require(set.tensors()[tensors].name() == tensor.name());
      ++tensors;
    }
    bytes += one.file_bytes();
  }
  if (set.shards().empty()) return;
  require(set.size() == tensors && set.file_bytes() == bytes);
  require(!set.shard());
}

void check_as_planned(const nibble::reader& set, const model& plan) {
  // One file is no set, unless an index says so.
  require(set.shards().size() == plan.shards.size() ||
          (set.shards().empty() && plan.shards.size() == 1));
  std::size_t tensors = 0;
  for (const shard& one : plan.shards) {
    tensors += one.tensors.size();
    for (const set_tensor& tensor : one.tensors) {
      const nibble::tensor_view* const found = set.find(tensor.name);
      require(found != nullptr && std::ranges::equal(found->bytes(), tensor.bytes));
      require(found->encoding() == nibble::encoding_from_name(tensor.encoding));
      require(std::ranges::equal(found->shape().dimensions(), tensor.dimensions));
    }
  }
  require(set.size() == tensors);
  for (const nibble::finding& found : set.examine()) {
    require(found.severity == nibble::finding::kind::note || found.field == "values" ||
            found.field == "scales");
    require(found.field != "total_size");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider from(data, size);
  model set = some_model(from);
  const model plan = set;
  const int lies = from.ConsumeIntegralInRange(0, 3);
  for (int i = 0; i < lies; ++i) lie_in(from, set);

  file_map files;
  for (std::size_t i = 0; i < set.shards.size(); ++i) {
    files[file_name(plan, i)] = bytes_of(from, set.kind, set.shards[i]);
  }
  for (int i = 0; i < set.bends; ++i) bend_text(from, set.index);
  // One that nobody asked for lies beside the files now and then.
  const bool has_index = set.kind == form::indexed_safetensors || set.bends > 0;
  if (has_index) files["index.json"] = nibble_test::bytes_of(set.index);
  const int edits = from.ConsumeIntegralInRange(0, 3);
  for (int i = 0; i < edits; ++i) edit_files(from, plan, files);

  for (const auto& [name, bytes] : files) {
    nibble_test::write_file(fs::path(folder()) / name, bytes);
  }
  const bool edits_folder = from.ConsumeIntegralInRange(0, 7) == 0 && !files.empty();
  if (edits_folder) edit_folder(from, files);
  const bool is_plain = lies == 0 && edits == 0 && !edits_folder;

  bool is_used = false;
  for (const auto& [name, bytes] : files) {
    const auto how = from.ConsumeBool() ? nibble::file_access::mapped : nibble::file_access::read;
    try {
      nibble::reader opened = nibble::reader::open_set((fs::path(folder()) / name).string(), how);
      check_whole(opened);
      const nibble::reader moved = std::move(opened);
      check_whole(moved);
      if (is_plain) check_as_planned(moved, plan);
      // By another of its files it is the same set.
      if (std::exchange(is_used, true)) continue;
      nibble_fuzz::use(moved);
      moved.verify();
    } catch (const nibble::error& problem) {
      require(!is_plain || problem.code() == nibble::error_code::damaged);
      require(nibble_fuzz::is_one_line(problem.what()));
    }
  }
  fs::remove_all(folder());
  fs::create_directory(folder());
  return 0;
}
