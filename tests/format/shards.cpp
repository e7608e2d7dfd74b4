#include <nibble/format/shards.hpp>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>

using nibble::shard_names;
using nibble::shard_position;
using nibble::shard_record;
using nlohmann::json;

TEST_CASE("the names of a set are counted from one with five digits", "[shards]") {
  const shard_names names{"model-", ".apr"};
  CHECK(names.name_of({0, 3}) == "model-00001-of-00003.apr");
  CHECK(names.name_of({2, 3}) == "model-00003-of-00003.apr");
  CHECK(names.name_of({99'999, 100'000}) == "model-100000-of-100000.apr");
  CHECK(names.pattern() == "model-{:05d}-of-{:05d}.apr");
}

TEST_CASE("a file's name says which part of a set it is", "[shards]") {
  struct row {
    std::string name;
    std::optional<shard_position> at;
    std::string before;
    std::string after;
  };
  const std::vector<row> rows = {
      {"model-00001-of-00005.gguf", shard_position{0, 5}, "model-", ".gguf"},
      {"model-00005-of-00005.safetensors", shard_position{4, 5}, "model-", ".safetensors"},
      {"a-of-b-00002-of-00002", shard_position{1, 2}, "a-of-b-", ""},
      {"-00001-of-00001.apr", shard_position{0, 1}, "-", ".apr"},
      {"m-100000-of-100000.apr", shard_position{99'999, 100'000}, "m-", ".apr"},
      {"model.apr", std::nullopt, "", ""},
      {"model-00000-of-00005.gguf", std::nullopt, "", ""},
      {"model-00006-of-00005.gguf", std::nullopt, "", ""},
      {"model-1-of-5.gguf", std::nullopt, "", ""},
      {"model-00001-of-5.gguf", std::nullopt, "", ""},
      {"model00001-of-00005.gguf", std::nullopt, "", ""},
      {"model-00001of-00005.gguf", std::nullopt, "", ""},
      {"model-000001-of-000005.gguf", std::nullopt, "", ""},
      {"model-00001-of-99999999999999999999.gguf", std::nullopt, "", ""},
      {"00001-of-00002", std::nullopt, "", ""},
      {"", std::nullopt, "", ""},
  };
  for (const row& each : rows) {
    CAPTURE(each.name);
    const auto named = shard_names::from_file_name(each.name);
    REQUIRE(named.has_value() == each.at.has_value());
    if (!named) continue;
    CHECK(named->second == *each.at);
    CHECK(named->first.before == each.before);
    CHECK(named->first.after == each.after);
    CHECK(named->first.name_of(named->second) == each.name);
  }
}

TEST_CASE("a pattern of names is taken where it stays in the directory", "[shards]") {
  const auto first_of = [](const std::string& pattern) {
    const auto names = shard_names::from_pattern(pattern);
    return names ? names->name_of({0, 3}) : std::string("refused");
  };
  CHECK(first_of("model-{:05d}-of-{:05d}.apr") == "model-00001-of-00003.apr");
  CHECK(first_of("{:05}-of-{:05}") == "00001-of-00003");
  CHECK(first_of(shard_names{"a{}b-", ".x"}.pattern()) == "a{}b-00001-of-00003.x");
  for (const char* const wrong :
       {"", "model.apr", "model-{}-of-{}.apr", "../m-{:05d}-of-{:05d}.apr", "/m-{:05d}-of-{:05d}.apr",
        "a/m-{:05d}-of-{:05d}.apr", "m-{:05d}-of-{:05d}/x", "a\\m-{:05d}-of-{:05d}.apr"}) {
    CHECK(first_of(wrong) == "refused");
  }
  CHECK(first_of(std::string("m\0-{:05d}-of-{:05d}", 19)) == "refused");
}

TEST_CASE("a plain name leads out of no directory", "[shards]") {
  for (const char* const plain : {"a", "a.b", "...", ".hidden", "a..b", "-", " "}) {
    CHECK(shard_names::is_plain_name(plain));
  }
  for (const char* const away :
       {"", ".", "..", "/", "/etc/passwd", "../a", "a/..", "a/b", "a\\b", "C:\\a"}) {
    CHECK_FALSE(shard_names::is_plain_name(away));
  }
  CHECK_FALSE(shard_names::is_plain_name(std::string("a\0b", 3)));
#if defined(_WIN32)
  CHECK_FALSE(shard_names::is_plain_name("C:a"));
  CHECK_FALSE(shard_names::is_plain_name("a.apr:stream"));
#endif
}

TEST_CASE("metadata say which part of a set a file is", "[shards]") {
  const json apr = {{"sharding",
                     {{"shard_count", 3},
                      {"shard_index", 1},
                      {"total_size", 123456789012},
                      {"pattern", "model-{:05d}-of-{:05d}.apr"}}}};
  const auto record = shard_record::find(apr);
  REQUIRE(record);
  CHECK(record->at == shard_position{1, 3});
  CHECK(record->total_bytes == 123456789012U);
  CHECK(record->pattern == "model-{:05d}-of-{:05d}.apr");
  CHECK_FALSE(record->total_tensors);
  CHECK(record->to_json() == apr["sharding"]);

  const json gguf = {{"split.no", 2}, {"split.count", 3}, {"split.tensors.count", 30}};
  const auto split = shard_record::find(gguf);
  REQUIRE(split);
  CHECK(split->at == shard_position{2, 3});
  CHECK(split->total_tensors == 30U);
  CHECK_FALSE(split->total_bytes);

  for (const json& none : std::vector<json>{
           json::object(),
           {{"sharding", 3}},
           {{"sharding", json::object()}},
           {{"sharding", {{"shard_count", 1}, {"shard_index", 0}}}},
           {{"sharding", {{"shard_count", 3}, {"shard_index", 3}}}},
           {{"sharding", {{"shard_count", -3}, {"shard_index", 0}}}},
           {{"sharding", {{"shard_count", "3"}, {"shard_index", 0}}}},
           {{"sharding", {{"shard_count", 3.0}, {"shard_index", 0}}}},
           {{"split.no", 0}},
           {{"split.count", 2}},
           {{"split.no", 0}, {"split.count", 0}},
       }) {
    CAPTURE(none.dump());
    CHECK_FALSE(shard_record::find(none));
  }

  json all = apr;
  all.update(gguf);
  all["kept"] = true;
  shard_record::erase_from(all);
  CHECK(all == json{{"kept", true}});
}
