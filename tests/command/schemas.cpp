/// What --json prints is what the command's README says: every field is there, of a type that is listed,
/// and no field is printed that is not.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

namespace {

using nibble_test::require_ended;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

/// A row of a table of fields.
struct documented_field {
  std::string name{};
  words types{};                           ///< any of these; empty: any
  std::set<std::string> quoted{};          ///< names in its description
  std::vector<documented_field> nested{};  ///< of the objects that it holds

  [[nodiscard]] bool may_be(const std::string& type) const {
    return std::find(types.begin(), types.end(), type) != types.end();
  }
};
using schema = std::vector<documented_field>;

/// The parts between separators.
words split(const std::string& text, const std::string& separator) {
  words parts;
  std::size_t at = 0;
  for (std::size_t end = 0; end != std::string::npos; at = end + separator.size()) {
    end = text.find(separator, at);
    parts.push_back(text.substr(at, end - at));
  }
  return parts;
}

/// What stands in back quotes.
words quoted_in(const std::string& text) {
  const words parts = split(text, "`");
  words quoted;
  for (std::size_t i = 1; i < parts.size(); i += 2) quoted.push_back(parts[i]);
  return quoted;
}

words listed_types(const std::string& cell) {
  words types;
  for (const std::string& some : split(cell, " or ")) {
    for (const std::string& type : split(some, ", ")) {
      if (!type.empty()) types.push_back(type);
    }
  }
  return types;
}

/// The tables of fields below a heading of the README.
std::vector<schema> schemas_below(const std::string& heading) {
  std::ifstream file(NIBBLE_COMMAND_README);
  REQUIRE(file.good());
  std::vector<schema> tables;
  bool is_below = false;
  bool is_table = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("#")) is_below = line == heading;
    if (!is_below) continue;
    if (line.starts_with("| field | type |")) {
      is_table = true;
      tables.emplace_back();
    } else if (!line.starts_with("|")) {
      is_table = false;
    } else if (is_table && !line.starts_with("|---")) {
      const words cells = split(line, "|");
      REQUIRE(cells.size() >= 5);
      const auto trimmed = [](const std::string& cell) {
        const std::size_t first = cell.find_first_not_of(' ');
        if (first == std::string::npos) return std::string();
        return cell.substr(first, cell.find_last_not_of(' ') - first + 1);
      };
      const bool is_nested = trimmed(cells[1]).starts_with("&nbsp;");
      if (is_nested) REQUIRE_FALSE(tables.back().empty());
      schema& into = is_nested ? tables.back().back().nested : tables.back();
      words names = quoted_in(cells[1]);
      if (names.empty()) names.push_back("");  // the fields of another table
      const words quoted = quoted_in(cells[3]);
      for (const std::string& name : names) {
        into.push_back({name, listed_types(trimmed(cells[2])), {quoted.begin(), quoted.end()}, {}});
      }
    }
  }
  return tables;
}

bool is_of_type(const json& value, const std::string& type) {
  if (type == "1") return value == 1;
  if (type == "string") return value.is_string();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  if (type == "object" || type == "errors" || type == "map") return value.is_object();
  if (type == "array") return value.is_array();
  const auto all = [&](auto is) {
    return value.is_array() && std::all_of(value.begin(), value.end(), is);
  };
  if (type == "array of strings") return all([](const json& each) { return each.is_string(); });
  if (type == "array of integers") {
    return all([](const json& each) { return each.is_number_integer(); });
  }
  return false;
}

/// Holds an object against what is documented; `errors` are the fields of the type of that name.
void require_schema(const json& object, const schema& fields, const schema& errors) {
  REQUIRE(object.is_object());
  std::set<std::string> known;
  for (const documented_field& field : fields) {
    INFO(field.name);
    if (field.name.empty()) {
      REQUIRE_FALSE(errors.empty());
      for (const documented_field& each : errors) known.insert(each.name);
      continue;
    }
    known.insert(field.name);
    const auto found = object.find(field.name);
    if (found == object.end()) {
      CHECK(field.may_be("absent"));
      continue;
    }
    const json& value = *found;
    INFO(value.dump().substr(0, 200));
    CHECK((field.types.empty() ||
           std::any_of(field.types.begin(), field.types.end(),
                       [&](const auto& type) { return is_of_type(value, type); })));
    if (field.may_be("errors")) require_schema(value, errors, {});
    for (const json& each : value.is_array() ? value : json::array({value})) {
      if (!each.is_object()) continue;
      if (!field.nested.empty()) {
        require_schema(each, field.nested, errors);
      } else if (!field.quoted.empty() && !field.types.empty() && !field.may_be("map")) {
        for (const auto& [key, inner] : each.items()) {
          INFO(key);
          CHECK(field.quoted.count(key) == 1);
        }
      }
    }
  }
  for (const auto& [key, value] : object.items()) {
    INFO(key);
    CHECK(known.count(key) == 1);
  }
}

void require_documented(const std::string& heading, std::size_t table, const words& arguments,
                        int exit_code = 0) {
  INFO(heading << ", table " << table);
  const std::vector<schema> tables = schemas_below(heading);
  REQUIRE(table < tables.size());
  const json printed = json::parse(require_ended(arguments, exit_code).out);
  require_schema(printed, tables[table], tables.back());
}

std::string write_model(const temporary_directory& files, float scale) {
  std::vector<float> values(64 * 64);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * static_cast<float>(static_cast<int>(i * 7919 % 1009) - 504);
  }
  const std::string path = files / ("m" + std::to_string(scale) + ".safetensors");
  nibble_test::write_safetensors(
      path, {{"a.weight", "F32", {64, 64}, nibble_test::bytes_of(values)},
             {"zeros", "F32", {4}, nibble_test::bytes_of(std::vector<float>(4))},
             {"short", "F32", {2, 3}, nibble_test::bytes_of(std::vector<float>{1, 2, 3, 4, 5, 6})},
             {"places", "I64", {2}, nibble_test::bytes_of(std::vector<std::int64_t>{1, 2})}});
  return path;
}

}  // namespace

TEST_CASE("JSON prints the fields that the README lists, of their types", "[command]") {
  const temporary_directory files;
  const std::string a = write_model(files, 0.001F);
  const std::string b = write_model(files, 0.002F);
  const std::string packed = files / "packed.apr";
  require_documented("## What is written", 0, {"pack", a, "-o", packed, "-e", "q4", "-j"});
  require_documented("## What is written", 0, {"convert", packed, "-o", files / "c.gguf", "-j"});
  require_documented("## What is written", 0, {"unpack", packed, "-o", files / "u.safetensors", "-j"});
  require_documented("## What is written", 0,
                     {"split", packed, "-o", files / "s.apr", "--shard-size", "2kB", "-j"});
  require_documented("## pack", 0,
                     {"pack", a, "-o", files / "d.gguf", "-e", "q4_k", "--dry-run", "-j"});
  require_documented("## pack", 0,
                     {"pack", a, "-o", files / "d.gguf", "--target-bits", "6", "--dry-run", "-j"});
  require_documented("## What is written", 0,
                     {"pack", a, "-o", files / "t.apr", "--target-size", "8kB", "-j"});
  for (const std::string& input : {a, packed, files / "c.gguf"}) {
    require_documented("## inspect", 0, {"inspect", input, "-j"});
    require_documented("## inspect", 1, {"inspect", input, "--summary", "-j"});
    require_documented("## meta", 0, {"meta", input, "--set-string", "a=b", "--dry-run", "-j"});
    require_documented("## verify", 0, {"verify", input, "--fail-on", "never", "-j"});
    require_documented("## hash", 0, {"hash", input, "-j"});
    for (const char* const tensor : {"a.weight", "zeros", "places"}) {
      require_documented("## show", 0, {"show", input, tensor, "-j"});
    }
  }
  require_documented("## verify", 0, {"verify", files / "absent", "-j"}, 4);
  require_documented("## diff", 0, {"diff", a, packed, "-j"});
  require_documented("## diff", 0, {"diff", a, b, "--max-error", "0.001", "-j"}, 1);
  require_documented("## report", 0, {"report", a, packed, b, "-o", files / "r.html", "-j"});
  const std::string list = files / "list";
  std::ofstream(list) << require_ended({"hash", a}, 0).out;
  require_documented("## hash", 0, {"hash", b, "--check", list, "-j"}, 1);
}

#if defined(NIBBLE_DEMO_MODEL)
TEST_CASE("JSON of what runs models, and of bench, is as documented", "[command]") {
  const temporary_directory files;
  const std::string model = NIBBLE_DEMO_MODEL;
  const std::string oracle = NIBBLE_ENGINE_DATA "/demo_model.json";
  require_ended({"pack", model, "-o", files / "q8.apr", "-e", "q8"}, 0);
  require_ended({"pack", model, "-o", files / "q4.apr", "-e", "q4"}, 0);
  require_documented("## bench", 0, {"bench", files / "q8.apr", "-j", "--seconds", "0.01"});
  require_documented("### run", 0, {"run", model, "-p", "And", "-n", "2", "-j"});
  require_documented("### perplexity", 0, {"perplexity", model, "--tokens", oracle, "-j"});
  require_documented("### perplexity", 0,
                     {"perplexity", files / "q8.apr", "--tokens", oracle, "--against", model, "-j"});
  require_documented("## report", 0,
                     {"report", model, files / "q8.apr", files / "q4.apr", "--tokens", oracle, "-o",
                      files / "r.html", "-j"});
  const std::string tokens = files / "tokens.json";
  std::ifstream evaluation(oracle);
  std::ofstream(tokens) << json{{"calibration", json::parse(evaluation).at("evaluation")}};
  require_documented("### importance", 0,
                     {"importance", model, "--tokens", tokens, "-o", files / "i.gguf", "-j"});
  require_documented("## What is written", 0,
                     {"pack", model, "-o", files / "weighted.apr", "-e", "q4", "--importance",
                      files / "i.gguf", "-j"});
#if defined(NIBBLE_WITH_CALIBRATION)
  require_documented("## What is written", 0,
                     {"pack", model, "-o", files / "calibrated.apr", "-e", "q4", "--search",
                      "calibrated", "--tokens", tokens, "-j"});
#endif
  require_documented("### parity", 0,
                     {"parity", model, files / "q8.apr", files / "q4.apr", "--oracle", oracle, "-j"},
                     1);
}
#endif
