#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/gguf_bytes.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::entry_of;
using nibble_test::read_file;
using nibble_test::require_success;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::write_file;
using nibble_test::write_safetensors;
using nlohmann::json;

namespace {

stored_tensor f32_tensor(const std::string& name, std::uint64_t rows, std::uint32_t seed) {
  const auto values = nibble_test::gaussian(static_cast<std::size_t>(rows * 64), seed);
  return {name, "F32", {rows, 64}, nibble_test::bytes_of(values)};
}

std::set<std::string> keys_of(const json& object) {
  std::set<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.insert(key);
  return keys;
}

/// Requires that a field is of its type, or null where it may be.
void require_type(const json& object, const std::string& field, std::string_view type) {
  const json& value = object.at(field);
  INFO(field << " is " << value.dump());
  const bool may_be_null = type.ends_with(" or null");
  const auto plain = type.substr(0, type.find(' '));
  REQUIRE(((may_be_null && value.is_null()) || (plain == "string" && value.is_string()) ||
           (plain == "integer" && value.is_number_unsigned()) ||
           (plain == "number" && value.is_number_float()) || (plain == "object" && value.is_object()) ||
           (plain == "array" && value.is_array())));
}

/// What `inspect --json` prints of a path, held against every rule that README has for it.
json require_schema(const std::string& path, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"inspect", path, "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const std::string text = require_success(arguments);
  REQUIRE(text.starts_with("{\n \"version\": 1,\n"));
  REQUIRE(text.ends_with("\n}\n"));
  const json all = json::parse(text);
  REQUIRE(keys_of(all) == std::set<std::string>{"version", "file", "format", "file_bytes", "metadata",
                                                "shard", "shards", "warnings", "tensors"});
  REQUIRE(all.at("version") == 1);
  REQUIRE(all.at("file") == path);
  require_type(all, "format", "string");
  require_type(all, "file_bytes", "integer");
  require_type(all, "metadata", "object");
  require_type(all, "shard", "object or null");
  for (const json& warning : all.at("warnings")) REQUIRE(warning.is_string());
  if (!all.at("shard").is_null()) {
    REQUIRE(keys_of(all.at("shard")) == std::set<std::string>{"index", "count"});
    REQUIRE(all.at("shard").at("index") < all.at("shard").at("count"));
  }
  std::vector<std::size_t> tensors_left;
  std::uint64_t file_bytes = 0;
  for (const json& shard : all.at("shards")) {
    REQUIRE(keys_of(shard) == std::set<std::string>{"file", "file_bytes", "tensors"});
    file_bytes += shard.at("file_bytes").get<std::uint64_t>();
    REQUIRE(shard.at("file_bytes") == read_file(shard.at("file").get<std::string>()).size());
    tensors_left.push_back(shard.at("tensors").get<std::size_t>());
  }
  const bool is_set = !tensors_left.empty();
  REQUIRE(all.at("file_bytes") == (is_set ? file_bytes : read_file(path).size()));
  for (const json& tensor : all.at("tensors")) {
    INFO(tensor.dump());
    REQUIRE(keys_of(tensor) == std::set<std::string>{"name", "encoding", "dtype", "dtype_id", "shape",
                                                     "elements", "bytes", "packing_ratio", "shard",
                                                     "offset"});
    require_type(tensor, "name", "string");
    require_type(tensor, "encoding", "string or null");
    require_type(tensor, "dtype", "string or null");
    REQUIRE(tensor.at("encoding").is_null() != tensor.at("dtype").is_null());
    require_type(tensor, "dtype_id", "integer or null");
    require_type(tensor, "bytes", "integer");
    require_type(tensor, "packing_ratio", "number or null");
    require_type(tensor, "offset", "integer");
    std::uint64_t elements = 1;
    for (const json& dimension : tensor.at("shape")) elements *= dimension.get<std::uint64_t>();
    REQUIRE(tensor.at("elements") == elements);
    const auto bytes = tensor.at("bytes").get<std::uint64_t>();
    REQUIRE(tensor.at("packing_ratio").is_null() == (elements == 0 || bytes == 0));
    if (elements != 0 && bytes != 0) {
      REQUIRE(tensor.at("packing_ratio").get<double>() ==
              4.0 * static_cast<double>(elements) / static_cast<double>(bytes));
    }
    std::uint64_t own_file_bytes = all.at("file_bytes").get<std::uint64_t>();
    REQUIRE(tensor.at("shard").is_null() != is_set);
    if (is_set) {
      const auto shard = tensor.at("shard").get<std::size_t>();
      REQUIRE(tensors_left.at(shard)-- != 0);
      own_file_bytes = all.at("shards")[shard].at("file_bytes").get<std::uint64_t>();
    }
    REQUIRE(tensor.at("offset").get<std::uint64_t>() + bytes <= own_file_bytes);
  }
  for (const std::size_t left : tensors_left) REQUIRE(left == 0);
  return all;
}

/// A tensor's bytes, from where a listing says that they are.
std::vector<std::byte> bytes_at(const json& listing, const std::string& name) {
  const json entry = entry_of(listing, name);
  const std::string path = entry.at("shard").is_null()
                               ? listing.at("file")
                               : listing.at("shards")[entry.at("shard").get<std::size_t>()].at("file");
  const std::vector<std::byte> file = read_file(path);
  const auto part = std::span(file).subspan(entry.at("offset").get<std::size_t>(),
                                            entry.at("bytes").get<std::size_t>());
  return {part.begin(), part.end()};
}

}  // namespace

TEST_CASE("inspect --json of a safetensors file is what README says", "[inspect]") {
  const temporary_directory files;
  const auto w = f32_tensor("w", 3, 1);
  write_safetensors(files / "in.safetensors",
                    {w,
                     {"scalar", "BF16", {}, std::vector<std::byte>(2)},
                     {"empty", "F16", {0, 7}, {}},
                     {"mask", "BOOL", {3}, std::vector<std::byte>(3)},
                     {"new", "F2", {4}, std::vector<std::byte>(1)}},
                    {{"format", "pt"}});
  const json all = require_schema(files / "in.safetensors");
  REQUIRE(all.at("format") == "safetensors");
  REQUIRE(all.at("metadata") == json{{"format", "pt"}});
  REQUIRE(all.at("shard").is_null());
  REQUIRE(bytes_at(all, "w") == w.bytes);
  REQUIRE(entry_of(all, "w").at("dtype_id").is_null());
  REQUIRE(entry_of(all, "scalar").at("shape") == json::array());
  REQUIRE(entry_of(all, "scalar").at("elements") == 1);
  REQUIRE(entry_of(all, "empty").at("packing_ratio").is_null());
  REQUIRE(entry_of(all, "mask").at("encoding") == "bool8");
  REQUIRE(entry_of(all, "new").at("dtype") == "F2");
}

TEST_CASE("inspect --json of a GGUF file is what README says", "[inspect]") {
  const temporary_directory files;
  const auto sample = nibble_test::sample_gguf_file();
  write_file(files / "in.gguf", sample.bytes());
  const json all = require_schema(files / "in.gguf");
  REQUIRE(all.at("format") == "gguf");
  REQUIRE(all.at("metadata").at("a.u8") == 250);
  REQUIRE(all.at("metadata").at("nibble.gguf").at("types").at("a.u8") == "u8");
  REQUIRE(all.at("tensors").size() == sample.tensors.size());
  for (const auto& tensor : sample.tensors) {
    const json entry = entry_of(all, tensor.name);
    REQUIRE(entry.at("dtype_id") == tensor.type);
    REQUIRE(entry.at("shape") ==
            json(std::vector<std::uint64_t>(tensor.dimensions.rbegin(), tensor.dimensions.rend())));
    if (tensor.type != 36) REQUIRE(bytes_at(all, tensor.name) == tensor.bytes);
  }
  REQUIRE(entry_of(all, "other").at("encoding").is_null());
  REQUIRE(entry_of(all, "other").at("dtype") == "id 36");
  REQUIRE(all.at("warnings").size() == 1);
}

TEST_CASE("inspect --json of an .apr file and of a set of shards is what README says", "[inspect]") {
  const temporary_directory files;
  const std::vector<stored_tensor> tensors = {f32_tensor("a", 8, 1), f32_tensor("b", 6, 2),
                                              f32_tensor("c", 4, 3), f32_tensor("d", 1, 4)};
  write_safetensors(files / "in.safetensors", tensors, {{"name", "tiny"}});
  require_success({"pack", files / "in.safetensors", "-o", files / "whole.apr", "--encoding", "f32"});
  const json whole = require_schema(files / "whole.apr");
  REQUIRE(whole.at("format") == "apr");
  REQUIRE(whole.at("metadata").at("name") == "tiny");
  REQUIRE(whole.at("shards") == json::array());
  for (const stored_tensor& tensor : tensors) REQUIRE(bytes_at(whole, tensor.name) == tensor.bytes);
  REQUIRE(entry_of(whole, "a").at("dtype_id") == 0);

  require_success({"split", files / "whole.apr", "-o", files / "s.apr", "--shard-size", "2100"});
  const std::string first = files / "s-00001-of-00003.apr";
  const json set = require_schema(first);
  REQUIRE(set.at("shards").size() == 3);
  REQUIRE(set.at("shard").is_null());
  REQUIRE(set.at("metadata").at("name") == "tiny");
  for (const stored_tensor& tensor : tensors) REQUIRE(bytes_at(set, tensor.name) == tensor.bytes);
  REQUIRE(entry_of(set, "a").at("shard") == 0);
  REQUIRE(entry_of(set, "d").at("shard") == 2);

  const json alone = require_schema(first, {"--single"});
  REQUIRE(alone.at("shard") == json{{"index", 0}, {"count", 3}});
  REQUIRE(alone.at("tensors").size() == 1);
  REQUIRE(bytes_at(alone, "a") == tensors[0].bytes);
  const json last = require_schema(files / "s-00003-of-00003.apr", {"--single"});
  REQUIRE(last.at("shard") == json{{"index", 2}, {"count", 3}});
  REQUIRE(last.at("shards") == json::array());
}

TEST_CASE("inspect --json of an empty file, and of names that are not UTF-8", "[inspect]") {
  const temporary_directory files;
  write_safetensors(files / "none.safetensors", {});
  const json none = require_schema(files / "none.safetensors");
  REQUIRE(none.at("tensors") == json::array());
  REQUIRE(none.at("metadata") == json::object());
  const std::string path = files / "name\xFF.safetensors";
  write_safetensors(path, {f32_tensor("w", 1, 1)});
  const json named = json::parse(require_success({"inspect", path, "--json"}));
  REQUIRE(named.at("file").get<std::string>().ends_with("name\xEF\xBF\xBD.safetensors"));
}

TEST_CASE("inspect lists what --only names", "[inspect]") {
  const temporary_directory folder;
  write_safetensors(folder / "m.safetensors",
                    {f32_tensor("a.0", 1, 1), f32_tensor("a.1", 2, 2), f32_tensor("b", 3, 3)});
  const auto names_listed = [&](const nibble_test::words& more) {
    nibble_test::words arguments{"inspect", folder / "m.safetensors", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::set<std::string> names;
    const json listed = json::parse(require_success(arguments));
    for (const json& tensor : listed.at("tensors")) names.insert(tensor.at("name"));
    return names;
  };
  CHECK(names_listed({}).size() == 3);
  CHECK(names_listed({"--only", "a.*"}) == std::set<std::string>{"a.0", "a.1"});
  CHECK(names_listed({"--only", "a.1", "--only", "b"}) == std::set<std::string>{"a.1", "b"});
  const std::string text = require_success({"inspect", folder / "m.safetensors", "--only", "b"});
  CHECK(text.find("a.0") == std::string::npos);
  nibble_test::require_contains(text, {"3x64", "total"});
  nibble_test::require_refusal(
      nibble_test::run({"inspect", folder / "m.safetensors", "--only", "a.*", "--only", "c*"}), 2,
      {"--only 'c*'", "m.safetensors"});
}

TEST_CASE("inspect sums up by encoding and by kind", "[inspect]") {
  const temporary_directory folder;
  write_safetensors(
      folder / "m.safetensors",
      {f32_tensor("model.layers.0.q.weight", 4, 1), f32_tensor("model.layers.10.q.weight", 4, 2),
       f32_tensor("model.layers.2.q.weight", 4, 3), f32_tensor("layer2norm", 1, 4),
       f32_tensor("x.1.experts.0.w", 2, 5), f32_tensor("x.1.experts.1.w", 2, 6)});
  require_success({"pack", folder / "m.safetensors", "-o", folder / "m.apr", "-e", "q4", "--tensor",
                   "model.layers.2.*=q8"});
  const json sums = json::parse(require_success({"inspect", folder / "m.apr", "--summary", "--json"}));
  CHECK(sums.at("version") == 1);
  CHECK(sums.at("tensors") == 6);
  CHECK(sums.at("layers") == 3);
  CHECK(sums.at("elements") == 17 * 64);
  REQUIRE(sums.at("kinds").size() == 3);
  CHECK(sums.at("kinds")[0].at("kind") == "layer2norm");
  const json& queries = sums.at("kinds")[1];
  CHECK(queries.at("kind") == "model.layers.*.q.weight");
  CHECK(queries.at("tensors") == 3);
  CHECK(queries.at("encodings") == json::array({"q4", "q8"}));
  CHECK(queries.at("bytes") == 4 * 2 * (20 + 20 + 36));
  CHECK(sums.at("kinds")[2].at("kind") == "x.*.experts.*.w");
  std::uint64_t bytes = 0;
  for (const json& each : sums.at("encodings")) bytes += each.at("bytes").get<std::uint64_t>();
  CHECK(sums.at("bytes") == bytes);
  nibble_test::require_contains(require_success({"inspect", folder / "m.apr", "--summary"}),
                                {"model.layers.*.q.weight", "q4 q8", "3 layers", "share"});
  const json some = json::parse(
      require_success({"inspect", folder / "m.apr", "--summary", "--json", "--only", "x.*"}));
  CHECK(some.at("tensors") == 2);
}
