// Takes the input for a plan of tensors and metadata, writes it as each container and in shards, and
// reads it back: the same names, shapes, encodings, bytes and metadata, or a nibble::error and no file.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include <nlohmann/json.hpp>

#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>
#include <nibble/writer.hpp>

#include "folder.hpp"
#include "use.hpp"

namespace {

namespace fs = std::filesystem;
using nibble_fuzz::folder;
using nibble_fuzz::require;

struct planned {
  nibble::encoding encoding;
  nibble::shape shape;
  std::vector<float> values;     ///< packed from these
  std::vector<std::byte> bytes;  ///< or stored as they are
};

nlohmann::json some_json(FuzzedDataProvider& from, int depth) {
  switch (from.ConsumeIntegralInRange(0, depth > 0 ? 8 : 6)) {
    case 0: return nullptr;
    case 1: return from.ConsumeBool();
    case 2: return from.ConsumeIntegral<std::int64_t>();
    case 3: return from.ConsumeIntegral<std::uint64_t>();
    case 4: return std::bit_cast<double>(from.ConsumeIntegral<std::uint64_t>());
    case 5: return from.ConsumeRandomLengthString(12);
    case 6: return from.ConsumeIntegralInRange(-3, 300);
    case 7: {
      auto list = nlohmann::json::array();
      for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
        list.push_back(some_json(from, depth - 1));
      }
      return list;
    }
    default: {
      auto object = nlohmann::json::object();
      for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
        object[from.ConsumeRandomLengthString(8)] = some_json(from, depth - 1);
      }
      return object;
    }
  }
}

/// What GGUF takes from metadata beyond keys and values: its alignment, and the record of their types.
void describe_for_gguf(FuzzedDataProvider& from, nlohmann::json& metadata) {
  metadata["general.alignment"] = from.ConsumeBool()
                                      ? some_json(from, 0)
                                      : nlohmann::json(from.PickValueInArray({1, 4, 8, 32, 64, 3}));
  static constexpr std::array types = {"u8",  "i8",  "u16", "i16", "u32",  "i32", "f32",
                                       "u64", "i64", "f64", "str", "bool", "none"};
  nlohmann::json record = {{"types", nlohmann::json::object()}, {"bytes", nlohmann::json::object()}};
  for (const auto& [key, value] : metadata.items()) {
    const char* const type = types[from.ConsumeIntegralInRange<std::size_t>(0, types.size() - 1)];
    switch (from.ConsumeIntegralInRange(0, 4)) {
      case 0: record["types"][key] = type; break;
      case 1: record["types"][key] = {type}; break;
      case 2: record["types"][key] = some_json(from, 2); break;
      case 3:
        record["bytes"][key] = from.PickValueInArray({"0:ff", "0:00ff 1:fe", "1:ff 0:ff", "x"});
        break;
      default: break;
    }
  }
  if (from.ConsumeIntegralInRange(0, 7) == 0) record["other"] = some_json(from, 1);
  metadata["nibble.gguf"] = record;
}

std::vector<float> some_values(FuzzedDataProvider& from, std::size_t count) {
  std::vector<float> values(count);
  const bool any_bits = from.ConsumeBool();
  const auto given = from.ConsumeBytes<std::uint8_t>(std::min<std::size_t>(4 * count, 160));
  for (std::size_t i = 0; i < count && !given.empty(); ++i) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 4; ++j) bits = bits << 8U | given[(4 * i + j) % given.size()];
    values[i] = any_bits ? std::bit_cast<float>(bits)
                         : static_cast<float>(static_cast<std::int32_t>(bits)) * 0x1p-24F;
  }
  return values;
}

/// What metadata must be when it comes back from an .apr file: what was given, without what the library
/// writes itself.
nlohmann::json without_records(nlohmann::json metadata) {
  for (const char* const key : {"nibble", "quantization"}) metadata.erase(key);
  return metadata;
}

/// And from a set, which keeps nothing that is true of one of its files alone.
nlohmann::json without_shards(nlohmann::json metadata) {
  nibble::shard_record::erase_from(metadata);
  return without_records(std::move(metadata));
}

/// The bits of a number, for files hold whatever they were given.
bool is_same_json(const nlohmann::json& one, const nlohmann::json& other) {
  if (one.is_number_float() && other.is_number_float()) {
    return std::bit_cast<std::uint64_t>(one.get<double>()) ==
           std::bit_cast<std::uint64_t>(other.get<double>());
  }
  if (one.is_structured() && other.is_structured() && one.size() == other.size() &&
      one.type() == other.type()) {
    return std::equal(one.begin(), one.end(), other.begin(), is_same_json) && (!one.is_object() || [&] {
             for (const auto& [key, value] : one.items()) {
               if (!other.contains(key)) return false;
             }
             return true;
           }());
  }
  return one == other;
}

void check(const nibble::reader& in, const std::map<std::string, planned>& plan) {
  require(in.size() == plan.size());
  for (const auto& [name, entry] : plan) {
    const nibble::tensor_view* const tensor = in.find(name);
    require(tensor != nullptr);
    const bool is_gguf = in.container() == nibble::container::gguf;
    require(tensor->encoding() ==
            (is_gguf ? nibble::gguf::ggml_twin_of(entry.encoding) : std::optional(entry.encoding)));
    const auto holds = [&, which = entry.encoding](std::span<const std::byte> bytes) {
      std::vector<std::byte> stored(bytes.begin(), bytes.end());
      if (is_gguf) nibble::gguf::to_ggml_twin(which, bytes, stored);
      return std::ranges::equal(tensor->bytes(), stored);
    };
    require(tensor->shape() == entry.shape);
    require(tensor->bytes().size() == *nibble::stored_bytes(entry.encoding, entry.shape));
    if (entry.values.empty()) {
      require(holds(entry.bytes));
    } else if (entry.encoding == nibble::encoding::f32) {
      require(holds(std::as_bytes(std::span(entry.values))));
    } else {
      std::vector<std::byte> packed(tensor->bytes().size());
      nibble::quantize(entry.encoding, entry.shape, entry.values, packed);
      require(holds(packed));
    }
  }
  for (const nibble::finding& found : in.examine()) {
    // Values may be what they are, and so may the alignment that was asked for; what was written is not
    // damaged, and nothing else of it is unusual.
    const bool is_of_values = found.field == "values" || found.field == "scales";
    require(is_of_values || (found.severity == nibble::finding::kind::note &&
                             (found.field == "dtype" || found.field == "general.alignment")));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider from(data, size);
  std::map<std::string, planned> plan;
  nibble::writer out;
  for (int i = from.ConsumeIntegralInRange(0, 3); i > 0; --i) {
    const nibble::encoding_description& row =
        nibble::encodings[from.ConsumeIntegralInRange<std::size_t>(0, nibble::encodings.size() - 1)];
    std::vector<std::uint64_t> dimensions(from.ConsumeIntegralInRange<std::size_t>(0, 5));
    for (std::uint64_t& one : dimensions) one = from.ConsumeIntegralInRange<std::uint64_t>(0, 4);
    if (!dimensions.empty()) {
      dimensions.back() *= from.PickValueInArray<std::uint64_t>({1, 1, 9, row.block_elements});
    }
    const nibble::shape shape(std::span<const std::uint64_t>{dimensions});
    if (shape.elements() > 3000) continue;
    std::string name = from.ConsumeBool() ? std::string(1, static_cast<char>('a' + i))
                                          : from.ConsumeRandomLengthString(70);
    planned entry{row.encoding, shape, {}, {}};
    const bool is_packed = nibble::is_packable(row.encoding) && from.ConsumeBool();
    if (is_packed) {
      entry.values = some_values(from, static_cast<std::size_t>(shape.elements()));
    } else {
      entry.bytes.resize(static_cast<std::size_t>(*nibble::stored_bytes(row.encoding, shape)));
      const auto given = from.ConsumeBytes<std::uint8_t>(std::min<std::size_t>(entry.bytes.size(), 64));
      for (std::size_t j = 0; j < entry.bytes.size() && !given.empty(); ++j) {
        entry.bytes[j] = static_cast<std::byte>(given[j % given.size()]);
      }
    }
    const auto [at, is_new] = plan.try_emplace(name, entry);
    const planned& added = is_new ? at->second : entry;  // the plan's lives until it is written
    try {
      if (is_packed) {
        out.add(row.encoding, name, shape, std::span<const float>(added.values));
      } else {
        out.add_stored(row.encoding, name, shape, added.bytes);
      }
      require(is_new);
    } catch (const nibble::error& problem) {
      const bool is_doubled = problem.code() == nibble::error_code::duplicate_name;
      require(is_doubled ? !is_new : problem.code() == nibble::error_code::bad_name);
      if (is_new) plan.erase(at);
    }
  }
  for (int i = from.ConsumeIntegralInRange(0, 4); i > 0; --i) {
    out.metadata()[from.ConsumeRandomLengthString(10)] = some_json(from, 3);
  }
  if (from.ConsumeBool()) describe_for_gguf(from, out.metadata());

  // A name that one container keeps for itself, and tensors that no file holds, of which no row is
  // asked for.
  static constexpr std::array reserved_bytes = {std::byte{1}, std::byte{2}};
  if (from.ConsumeIntegralInRange(0, 15) == 1 && !plan.contains("__metadata__")) {
    plan["__metadata__"] = {
        nibble::encoding::u8, {2}, {}, {reserved_bytes.begin(), reserved_bytes.end()}};
    out.add_stored(nibble::encoding::u8, "__metadata__", {2}, reserved_bytes);
  }
  const int huge_tensors =
      from.ConsumeIntegralInRange(0, 15) == 1 ? from.ConsumeIntegralInRange(1, 3) : 0;
  for (int i = 0; i < huge_tensors; ++i) {
    const std::string name = "a tensor of 2^63 bytes " + std::to_string(i);
    if (plan.contains(name)) return 0;
    out.add(nibble::encoding::f32, name, {std::uint64_t{1} << 61U},
            [](std::uint64_t, std::uint64_t, std::span<float>) { require(false); });
  }

  const std::string path = folder() + "/file";
  for (const nibble::container container :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    try {
      out.write(path, {.container = container});
    } catch (const nibble::error&) {
      require(fs::is_empty(folder()));
      continue;
    }
    require(huge_tensors == 0);
    const nibble::reader in(path, nibble::file_access::read);
    require(in.container() == container);
    check(in, plan);
    const nlohmann::json given = without_records(out.metadata());
    if (container == nibble::container::apr) {
      require(is_same_json(without_records(in.metadata()), given));
    } else if (container == nibble::container::safetensors) {
      require(in.metadata().size() == out.metadata().size());
      for (const auto& [key, value] : out.metadata().items()) {
        if (value.is_string()) require(in.metadata().at(key) == value);
      }
    } else {
      // Some of JSON becomes text in it; what has been through it once stays what it is.
      nibble::writer again;
      again.metadata() = in.metadata();
      for (const nibble::tensor_view& tensor : in) {
        again.add_stored(tensor.encoding(), std::string(tensor.name()), tensor.shape(), tensor.bytes());
      }
      again.write(path + ".again", {.container = container});
      const nibble::reader same(path + ".again", nibble::file_access::read);
      require(is_same_json(same.metadata(), in.metadata()));
      check(same, plan);
      fs::remove(path + ".again");
    }
    require(fs::remove(path));
  }

  const auto shard_size_bytes = from.ConsumeIntegralInRange<std::uint64_t>(0, 3000);
  if (shard_size_bytes == 0) return 0;
  try {
    const std::vector<std::string> paths = out.write(path, {.shard_size_bytes = shard_size_bytes});
    require(huge_tensors == 0);
    for (const std::string& one : paths) {
      const nibble::reader set = nibble::reader::open_set(one, nibble::file_access::read);
      if (paths.size() > 1) require(set.shards().size() == paths.size());
      require(set.size() == plan.size());
      if (one == paths.back()) check(set, plan);
      require(is_same_json(without_shards(set.metadata()), without_shards(out.metadata())));
    }
    for (const std::string& one : paths) require(fs::remove(one));
  } catch (const nibble::error&) {
  }
  require(fs::is_empty(folder()));
  return 0;
}
