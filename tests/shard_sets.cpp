/// Sets of files that hold one model: written by the writer, built by hand, and broken in every way.
#include <nibble/reader.hpp>
#include <nibble/verify.hpp>
#include <nibble/writer.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::reader;
using nibble::writer;
using nibble_test::missing_parts;
using nibble_test::names_in;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::temporary_directory;
namespace fs = std::filesystem;

namespace {

using file_bytes = std::vector<std::byte>;

/// A plan of twelve tensors of several encodings, and what they are packed from.
struct sample {
  std::vector<std::vector<float>> values;
  writer plan;

  sample() {
    constexpr encoding kinds[] = {encoding::q4, encoding::f32, encoding::apr_q8, encoding::q8};
    for (std::size_t i = 0; i < 12; ++i)
      values.push_back(nibble_test::gaussian(8 * 64, static_cast<std::uint32_t>(i)));
    for (std::size_t i = 0; i < 12; ++i) {
      plan.add(kinds[i % 4], fmt::format("t.{}", (i * 7) % 12), {8, 64}, values[i]);
    }
    plan.metadata()["architecture"] = "llama";
    plan.metadata()["list"] = {1, 2, 3};
  }
};

void require_equal(const reader& a, const reader& b) {
  REQUIRE(a.size() == b.size());
  for (const nibble::tensor_view& tensor : a) {
    const nibble::tensor_view& twin = b[tensor.name()];
    CHECK(twin.dtype_text() == tensor.dtype_text());
    CHECK(twin.shape() == tensor.shape());
    CHECK(std::ranges::equal(twin.bytes(), tensor.bytes()));
  }
}

outcome outcome_of_opening(const std::string& path) {
  return outcome_of([&] { static_cast<void>(reader::open_set(path)); });
}

struct plain_tensor {
  std::string name;
  file_bytes bytes;
};

/// A safetensors file of U8 vectors, built by hand.
file_bytes safetensors_file(const std::vector<plain_tensor>& tensors,
                            const std::string& metadata = R"({"format":"pt"})") {
  std::string header = "{\"__metadata__\":" + metadata;
  file_bytes data;
  for (const plain_tensor& tensor : tensors) {
    header += fmt::format(R"(,"{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", tensor.name,
                          tensor.bytes.size(), data.size(), data.size() + tensor.bytes.size());
    data.insert(data.end(), tensor.bytes.begin(), tensor.bytes.end());
  }
  header += "}";
  file_bytes file;
  nibble_test::append_number(file, std::uint64_t{header.size()});
  const auto text = nibble_test::bytes_of(header);
  file.insert(file.end(), text.begin(), text.end());
  file.insert(file.end(), data.begin(), data.end());
  return file;
}

constexpr const char* shard_index_name = "model.safetensors.index.json";

std::string shard_name(std::size_t number, const char* extension = "safetensors") {
  return fmt::format("model-{:05}-of-00003.{}", number, extension);
}

/// Three safetensors shards of two tensors each and their index, in a folder.
struct indexed_set {
  std::map<std::size_t, std::vector<plain_tensor>> shards;
  std::map<std::string, std::string> weight_map;
  std::string total_size = "21";

  indexed_set() {
    for (std::size_t i = 0; i < 6; ++i) {
      const std::string name = fmt::format("w{}", i);
      shards[i / 2 + 1].push_back(
          {name, nibble_test::random_bytes(i + 1, 7 + static_cast<unsigned>(i))});
      weight_map[name] = shard_name(i / 2 + 1);
    }
  }

  void write(const temporary_directory& folder) const {
    std::string map;
    for (const auto& [tensor, file] : weight_map) {
      map += fmt::format("{}\"{}\":\"{}\"", map.empty() ? "" : ",", tensor, file);
    }
    const std::string index =
        fmt::format(R"({{"metadata":{{"total_size":{}}},"weight_map":{{{}}}}})", total_size, map);
    nibble_test::write_file(folder / shard_index_name, nibble_test::bytes_of(index));
    for (const auto& [number, tensors] : shards) {
      nibble_test::write_file(folder / shard_name(number), safetensors_file(tensors));
    }
  }
};

/// An .apr file of one tensor whose metadata are given.
file_bytes apr_with(const std::string& metadata, const std::string& tensor) {
  return nibble_test::apr_file{
      .metadata = metadata,
      .tensors = {{.name = tensor, .dimensions = {2}, .bytes = nibble_test::random_bytes(8, 3)}}}
      .bytes();
}

std::string split_text(std::size_t number, std::size_t count, std::size_t tensors) {
  return fmt::format(R"({{"split.no":{},"split.count":{},"split.tensors.count":{},"key{}":1}})", number,
                     count, tensors, number);
}

}  // namespace

TEST_CASE("a plan is written as several files that read like one", "[shard_sets]") {
  const temporary_directory folder;
  sample model;
  CHECK(model.plan.write(folder / "whole.apr") == std::vector<std::string>{folder / "whole.apr"});
  const auto paths = model.plan.write(folder / "model.apr", {.shard_size_bytes = 6000});
  REQUIRE(paths.size() == 3);
  CHECK(names_in(folder.path()) == std::vector<std::string>{shard_name(1, "apr"), shard_name(2, "apr"),
                                                            shard_name(3, "apr"), "whole.apr"});
  const reader whole(folder / "whole.apr");
  CHECK_FALSE(whole.shard());
  std::uint64_t total = 0;
  for (const nibble::tensor_view& tensor : whole) total += tensor.bytes().size();

  // Any of the files opens the set.
  for (const std::string& path : paths) {
    const reader set = reader::open_set(path);
    require_equal(whole, set);
    CHECK(set.shards().size() == 3);
    CHECK_FALSE(set.shard());
    CHECK(set.container() == nibble::container::apr);
    CHECK(set.metadata()["architecture"] == "llama");
    CHECK(set.metadata()["list"] == nlohmann::json{1, 2, 3});
    CHECK_FALSE(set.metadata().contains("sharding"));
    CHECK_FALSE(set.metadata().contains("nibble"));
    CHECK(set.name() == path);
    std::uint64_t bytes = 0;
    for (const std::string& file : paths) bytes += fs::file_size(file);
    CHECK(set.file_bytes() == bytes);
    CHECK_NOTHROW(set.verify());
    CHECK(set.find("t.12") == nullptr);
    CHECK(outcome_of([&] { static_cast<void>(set["t.00"]); }).code == "no_such_tensor");
    CHECK(set.examine().empty());
  }

  // One of them by its own path is that file alone, and knows what it is.
  std::size_t tensors = 0;
  std::string previous;
  for (std::size_t i = 0; i < 3; ++i) {
    const reader shard(paths[i]);
    CHECK(shard.shard() == nibble::shard_position{i, 3});
    CHECK(shard.metadata()["sharding"] == nlohmann::json{{"shard_count", 3},
                                                         {"shard_index", i},
                                                         {"total_size", total},
                                                         {"pattern", "model-{:05d}-of-{:05d}.apr"}});
    CHECK(shard.metadata().contains("architecture") == (i == 0));
    CHECK(shard.shards().empty());
    const file_bytes bytes = nibble_test::read_file(paths[i]);
    CHECK((nibble_test::number_at<std::uint16_t>(bytes, 6) & 0x010U) != 0);
    std::uint64_t stored = 0;
    for (const nibble::tensor_view& tensor : shard) {
      CHECK(tensor.name() > previous);
      previous = tensor.name();
      stored += tensor.bytes().size();
    }
    CHECK(stored <= 6000);
    tensors += shard.size();
  }
  CHECK(tensors == 12);
}

TEST_CASE("a set is the same files whatever the order of the plan", "[shard_sets]") {
  const temporary_directory folder;
  const std::vector<float> values = nibble_test::gaussian(64, 5);
  std::vector<std::string> names = {"a", "b", "c", "d", "e"};
  std::map<std::string, file_bytes> expected;
  for (int turn = 0; turn < 3; ++turn) {
    writer out;
    for (const std::string& name : names) out.add(encoding::q8, name, {64}, values);
    for (const std::string& path : out.write(folder / "m.apr", {.shard_size_bytes = 150})) {
      const file_bytes bytes = nibble_test::read_file(path);
      const auto [at, is_new] = expected.emplace(path, bytes);
      CHECK(at->second == bytes);
      CHECK(is_new == (turn == 0));
    }
    std::rotate(names.begin(), names.begin() + 2, names.end());
  }
  CHECK(expected.size() == 3);
}

TEST_CASE("a set is parted as it is told, in the order of names within a file", "[shard_sets]") {
  const temporary_directory folder;
  const std::vector<float> values = nibble_test::gaussian(64, 5);
  const std::vector<std::string> names = {"d", "a", "e", "c", "b"};
  writer out;
  for (const std::string& name : names) out.add(encoding::q8, name, {64}, values);
  const std::vector<std::size_t> shard_of = {1, 2, 0, 1, 2};
  const auto paths = out.write(folder / "m.apr", {.shard_of_tensors = shard_of});
  REQUIRE(paths.size() == 3);
  const std::vector<std::vector<std::string>> expected = {{"e"}, {"c", "d"}, {"a", "b"}};
  for (std::size_t i = 0; i < paths.size(); ++i) {
    std::vector<std::string> found;
    const reader shard(paths[i]);
    for (const nibble::tensor_view& tensor : shard) found.emplace_back(tensor.name());
    CHECK(found == expected[i]);
  }
  CHECK(reader::open_set(paths[1]).size() == 5);
  CHECK(out.paths(folder / "m.apr", {.shard_of_tensors = shard_of}) == paths);
  const std::vector<std::vector<std::size_t>> refused = {{0, 0, 0, 0},
                                                         {0, 0, 0, 0, 0, 0},
                                                         {0, 2, 0, 2, 2},
                                                         {1, 1, 1, 1, 1},
                                                         {0, 1, 2, 3, std::size_t{0} - 1}};
  for (const std::vector<std::size_t>& each : refused) {
    const auto result = outcome_of([&] { out.write(folder / "x.apr", {.shard_of_tensors = each}); });
    CHECK(result.code == "invalid_argument");
    CHECK(result.message.find("shard_of_tensors") != std::string::npos);
  }
  const std::vector<std::size_t> two = {0, 1, 0, 1, 0};
  const auto gguf = outcome_of([&] {
    out.write(folder / "x.gguf", {.container = nibble::container::gguf, .shard_of_tensors = two});
  });
  CHECK(gguf.code == "invalid_argument");
}

TEST_CASE("tensors are never cut, and one file needs no number", "[shard_sets]") {
  const temporary_directory folder;
  const std::vector<float> values = nibble_test::gaussian(1000, 5);
  writer out;
  for (const char* const name : {"a", "b", "c"}) out.add<nibble::f32>(name, {1000}, values);
  CHECK(out.write(folder / "m.apr", {.shard_size_bytes = 1}).size() == 3);
  CHECK(out.write(folder / "m.apr", {.shard_size_bytes = 7999}).size() == 3);
  CHECK(out.write(folder / "m.apr", {.shard_size_bytes = 8000}).size() == 2);
  const auto one = out.write(folder / "m.apr", {.shard_size_bytes = 12'000});
  CHECK(one == std::vector<std::string>{folder / "m.apr"});
  const reader in = reader::open_set(one[0]);
  CHECK(in.size() == 3);
  CHECK(in.shards().empty());
  CHECK_FALSE(in.metadata().contains("sharding"));
  CHECK(writer().write(folder / "none.apr", {.shard_size_bytes = 1}).size() == 1);
  const auto refused = outcome_of([&] {
    out.write(folder / "m.safetensors",
              {.container = nibble::container::safetensors, .shard_size_bytes = 1});
  });
  CHECK(refused.code == "invalid_argument");
  CHECK(out.write(folder / "m.safetensors",
                  {.container = nibble::container::safetensors, .shard_size_bytes = 12'000})
            .size() == 1);
}

TEST_CASE("a set that cannot be written whole leaves the old one as it was", "[shard_sets]") {
  const temporary_directory folder;
  sample model;
  const auto paths = model.plan.write(folder / "model.apr", {.shard_size_bytes = 6000});
  std::map<std::string, file_bytes> before;
  for (const std::string& path : paths) before[path] = nibble_test::read_file(path);

  writer failing = model.plan;
  failing.add(encoding::f32, "z", {4, 64}, [](std::uint64_t, std::uint64_t, std::span<float>) {
    throw std::runtime_error("no more rows");
  });
  CHECK_THROWS_AS(failing.write(folder / "model.apr", {.shard_size_bytes = 6000}), std::runtime_error);
  int calls = 0;
  const auto cancelled = outcome_of([&] {
    model.plan.write(folder / "model.apr",
                     {.progress = [&](const auto&) { return ++calls < 10; }, .shard_size_bytes = 6000});
  });
  CHECK(cancelled.code == "cancelled");
  CHECK(names_in(folder.path()).size() == 3);
  for (const auto& [path, bytes] : before) CHECK(nibble_test::read_file(path) == bytes);

  // Progress is that of the whole set.
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  model.plan.write(folder / "model.apr", {.progress =
                                              [&](const nibble::write_progress& progress) {
                                                CHECK(progress.written_bytes >= last);
                                                last = progress.written_bytes;
                                                total = progress.total_bytes;
                                                return true;
                                              },
                                          .shard_size_bytes = 6000});
  CHECK(last == total);
  for (const auto& [path, bytes] : before) CHECK(nibble_test::read_file(path) == bytes);
}

TEST_CASE("shards of an .apr set that do not belong together are refused by name", "[shard_sets]") {
  struct row {
    std::string what;
    std::function<void(const temporary_directory&, const std::vector<std::string>&)> spoil;
    std::string code;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"missing",
       [](const auto&, const auto& paths) { fs::remove(paths[1]); },
       "bad_shard",
       {"model-00002-of-00003.apr", "shard 2 of 3"}},
      {"doubled",
       [](const auto&, const auto& paths) {
         fs::copy_file(paths[1], paths[2], fs::copy_options::overwrite_existing);
       },
       "bad_shard",
       {"model-00003-of-00003.apr", "shard 2 of 3", "shard 3 of 3"}},
      {"of another model",
       [](const auto& folder, const auto& paths) {
         sample other;
         const std::vector<float> values(64);
         other.plan.add(encoding::f32, "zz", {64}, values);
         const auto files = other.plan.write(folder / "other.apr", {.shard_size_bytes = 6000});
         fs::rename(files[1], paths[1]);
       },
       "bad_shard",
       {"model-00002-of-00003.apr", "total or pattern"}},
      {"unsharded",
       [](const auto& folder, const auto& paths) {
         sample().plan.write(folder / "x.apr");
         fs::rename(folder / "x.apr", paths[2]);
       },
       "bad_shard",
       {"model-00003-of-00003.apr", "no shard"}},
      {"of another container",
       [](const auto&, const auto& paths) { nibble_test::write_file(paths[1], safetensors_file({})); },
       "bad_shard",
       {"model-00002-of-00003.apr", "container", "safetensors"}},
      {"damaged",
       [](const auto&, const auto& paths) { fs::resize_file(paths[1], fs::file_size(paths[1]) - 1); },
       "truncated",
       {"model-00002-of-00003.apr"}},
  };
  for (const row& wrong : rows) {
    const temporary_directory folder;
    const auto paths = sample().plan.write(folder / "model.apr", {.shard_size_bytes = 6000});
    wrong.spoil(folder, paths);
    CAPTURE(wrong.what);
    const outcome result = outcome_of_opening(paths[0]);
    CHECK(result.code == wrong.code);
    CHECK(missing_parts(result.message, wrong.named).empty());
  }
}

TEST_CASE("a set whose files were renamed is found by its new names or its pattern", "[shard_sets]") {
  const temporary_directory folder;
  const auto paths = sample().plan.write(folder / "model.apr", {.shard_size_bytes = 6000});
  fs::rename(paths[0], folder / "first.apr");
  // The first by its pattern; the others cannot find the first.
  CHECK(reader::open_set(folder / "first.apr").size() == 12);
  CHECK(outcome_of_opening(paths[1]).code == "bad_shard");
  fs::rename(folder / "first.apr", folder / "other-00001-of-00003.apr");
  CHECK(outcome_of_opening(folder / "other-00001-of-00003.apr").code == "bad_shard");
  for (std::size_t i = 1; i < 3; ++i) {
    fs::rename(paths[i], folder / fmt::format("other-{:05}-of-00003.apr", i + 1));
  }
  CHECK(reader::open_set(folder / "other-00002-of-00003.apr").size() == 12);
  fs::rename(folder / "other-00002-of-00003.apr", folder / "other-00004-of-00009.apr");
  const outcome result = outcome_of_opening(folder / "other-00004-of-00009.apr");
  CHECK(result.code == "bad_shard");
  CHECK(missing_parts(result.message, {"other-00004-of-00009.apr", "shard 2 of 3"}).empty());

  const temporary_directory away;
  nibble_test::write_file(
      away / "a.apr",
      apr_with(
          R"({"sharding":{"shard_count":2,"shard_index":0,"pattern":"../m-{:05d}-of-{:05d}.apr"}})",
          "w"));
  CHECK(outcome_of_opening(away / "a.apr").code == "bad_shard");
  CHECK(missing_parts(outcome_of_opening(away / "a.apr").message, {"pattern", "../m"}).empty());
  nibble_test::write_file(away / "b.apr",
                          apr_with(R"({"sharding":{"shard_count":2,"shard_index":0}})", "w"));
  CHECK(outcome_of_opening(away / "b.apr").code == "bad_shard");
  CHECK(missing_parts(outcome_of_opening(away / "b.apr").message, {"file name", "NAME-00001-of-00002"})
            .empty());
}

TEST_CASE("what a set's findings say they say of a file", "[shard_sets]") {
  const temporary_directory folder;
  const auto paths = sample().plan.write(folder / "model.apr", {.shard_size_bytes = 6000});
  file_bytes bytes = nibble_test::read_file(paths[1]);
  const nibble::tensor_view tensor = reader(paths[1]).tensors()[1];
  bytes[static_cast<std::size_t>(tensor.file_offset_bytes()) + 30] ^= std::byte{1};
  nibble_test::write_file(paths[1], bytes);
  const reader set = reader::open_set(paths[0]);
  std::size_t problems = 0;
  for (const nibble::finding& found : set.examine()) {
    if (found.severity != nibble::finding::kind::problem) continue;
    CHECK(found.file == paths[1]);
    ++problems;
  }
  CHECK(problems == 2);  // the tensor's checksum and the footer
  const outcome result = outcome_of([&] { set.verify(); });
  CHECK(result.code == "damaged");
  CHECK(missing_parts(result.message, {"model-00002-of-00003.apr: "}).empty());
}

TEST_CASE("an index opens its shards", "[shard_sets]") {
  const temporary_directory folder;
  const indexed_set model;
  model.write(folder);
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    reader opened_set = reader::open_set(folder / shard_index_name, how);
    const reader set = std::move(opened_set);
    REQUIRE(set.size() == 6);
    CHECK(set.shards().size() == 3);
    CHECK(set.container() == nibble::container::safetensors);
    CHECK(set.metadata() == nlohmann::json{{"format", "pt"}});
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(set.tensors()[i].name() == fmt::format("w{}", i));
      CHECK(std::ranges::equal(set[fmt::format("w{}", i)].bytes(),
                               model.shards.at(i / 2 + 1)[i % 2].bytes));
    }
    CHECK(set.examine().empty());
  }
  // By a file beside it, which is one of three.
  CHECK(reader::open_set(folder / shard_name(2)).size() == 6);
  // Without the index, by their names.
  fs::rename(folder / shard_index_name, folder / "index.json");
  CHECK(reader(folder / shard_name(2)).shard() == nibble::shard_position{1, 3});
  CHECK(reader::open_set(folder / shard_name(3)).size() == 6);
  // A path without a folder.
  const fs::path here = fs::current_path();
  fs::current_path(folder.path());
  CHECK(reader::open_set("index.json").size() == 6);
  CHECK(reader::open_set(shard_name(1)).size() == 6);
  fs::rename("index.json", shard_index_name);
  CHECK(reader::open_set(shard_index_name).size() == 6);
  CHECK(reader::open_set(shard_name(1)).size() == 6);
  fs::current_path(here);
}

TEST_CASE("a total that an index counts otherwise is noted", "[shard_sets]") {
  const temporary_directory folder;
  indexed_set model;
  model.total_size = "22";
  model.write(folder);
  const auto findings = reader::open_set(folder / shard_index_name).examine();
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].severity == nibble::finding::kind::note);
  CHECK(findings[0].field == "total_size");
  CHECK(missing_parts(findings[0].text, {"22", "21"}).empty());
}

TEST_CASE("an index of nothing is a set of nothing", "[shard_sets]") {
  const temporary_directory folder;
  nibble_test::write_file(folder / "i.json", nibble_test::bytes_of(R"({"weight_map":{}})"));
  const reader set = reader::open_set(folder / "i.json");
  CHECK(set.size() == 0);
  CHECK(set.examine().empty());
}

TEST_CASE("an index and shards that disagree are refused by name", "[shard_sets]") {
  struct row {
    std::string what;
    std::function<void(indexed_set&)> change;
    std::function<void(const temporary_directory&)> spoil;
    std::string code;
    std::vector<std::string> named;
  };
  const auto nothing = [](const temporary_directory&) {};
  const std::vector<row> rows = {
      {"a shard is missing",
       [](indexed_set& set) { set.shards.erase(2); },
       nothing,
       "bad_shard",
       {shard_name(2), "shard 2 of 3", shard_index_name}},
      {"a tensor is in another shard",
       [](indexed_set& set) { set.weight_map["w0"] = shard_name(2); },
       nothing,
       "bad_shard",
       {shard_name(2), "'w0'", "no such tensor", shard_index_name}},
      {"a tensor is in no shard",
       [](indexed_set& set) { set.weight_map["w9"] = shard_name(3); },
       nothing,
       "bad_shard",
       {shard_name(3), "'w9'", "no such tensor"}},
      {"a shard is of another container",
       [](indexed_set&) {},
       [](const temporary_directory& folder) {
         nibble_test::write_file(folder / shard_name(2), apr_with("{}", "w2"));
       },
       "bad_shard",
       {shard_name(2), "container", "apr"}},
      {"a shard is cut",
       [](indexed_set&) {},
       [](const temporary_directory& folder) {
         fs::resize_file(folder / shard_name(2), fs::file_size(folder / shard_name(2)) - 1);
       },
       "truncated",
       {shard_name(2)}},
      {"a path leads away",
       [](indexed_set& set) { set.weight_map["w0"] = "../secret"; },
       nothing,
       "bad_shard",
       {shard_index_name, "'w0'", "../secret"}},
      {"a path is absolute",
       [](indexed_set& set) { set.weight_map["w0"] = "/etc/passwd"; },
       nothing,
       "bad_shard",
       {shard_index_name, "'w0'", "/etc/passwd"}},
  };
  for (const row& wrong : rows) {
    CAPTURE(wrong.what);
    const temporary_directory folder;
    indexed_set model;
    wrong.change(model);
    model.write(folder);
    wrong.spoil(folder);
    const outcome result = outcome_of_opening(folder / shard_index_name);
    CHECK(result.code == wrong.code);
    CHECK(missing_parts(result.message, wrong.named).empty());
  }
}

TEST_CASE("what an index does not map is left out and noted", "[shard_sets]") {
  const temporary_directory folder;
  indexed_set model;
  model.weight_map.erase("w3");
  model.shards[3].push_back(model.shards[1][0]);  // w0, which is mapped to the first
  for (const std::size_t shard : {1, 2, 3}) {
    model.shards[shard].push_back({"of.nobody", nibble_test::random_bytes(5, 77)});
  }
  model.total_size = "17";
  model.write(folder);
  const std::vector<std::string> paths = {folder / shard_index_name, folder / shard_name(1),
                                          folder / shard_name(3)};
  for (const std::string& path : paths) {
    CAPTURE(path);
    const reader set = reader::open_set(path);
    CHECK(set.name() == path);
    REQUIRE(set.size() == 5);
    for (const char* const name : {"w3", "of.nobody"}) CHECK_FALSE(set.contains(name));
    for (const auto& [name, file] : model.weight_map) CHECK(set.contains(name));
    CHECK(std::ranges::equal(set["w0"].bytes(), model.shards[1][0].bytes));
    CHECK(set.shards()[0].size() == 2);
    CHECK(set.shards()[1].size() == 1);
    CHECK(set.shards()[1].contains("w2"));
    CHECK_FALSE(set.shards()[2].contains("w0"));
    std::vector<std::string> noted;
    for (const nibble::finding& found : set.examine()) {
      CHECK(found.severity == nibble::finding::kind::note);
      CHECK(found.field == "index.weight_map");
      noted.push_back(fs::path(found.file).filename().string() + " " + found.tensor);
    }
    std::ranges::sort(noted);
    CHECK(noted == std::vector<std::string>{shard_name(1) + " of.nobody", shard_name(2) + " of.nobody",
                                            shard_name(2) + " w3", shard_name(3) + " of.nobody",
                                            shard_name(3) + " w0"});
    CHECK_NOTHROW(set.verify());
  }
}

TEST_CASE("a file that an index does not name is left out", "[shard_sets]") {
  const temporary_directory folder;
  indexed_set model;
  model.weight_map.erase("w4");
  model.weight_map.erase("w5");
  model.total_size = "10";
  model.write(folder);
  const reader set = reader::open_set(folder / shard_index_name);
  CHECK(set.size() == 4);
  REQUIRE(set.notes().size() == 1);
  CHECK(missing_parts(set.notes()[0].text, {"2 files", shard_name(1), "3"}).empty());
  // The third file is of a set by its name alone.
  CHECK(reader::open_set(folder / shard_name(1)).size() == 4);
  CHECK(reader::open_set(folder / shard_name(3)).size() == 6);
}

TEST_CASE("tensors that are left out are listed up to a hundred", "[shard_sets]") {
  const temporary_directory folder;
  indexed_set model;
  for (int i = 0; i < 150; ++i) model.shards[2].push_back({fmt::format("x{}", i), {}});
  model.write(folder);
  const reader set = reader::open_set(folder / shard_index_name);
  CHECK(set.size() == 6);
  REQUIRE(set.notes().size() == 101);
  CHECK(missing_parts(set.notes()[100].text, {"50"}).empty());
}

TEST_CASE("an index that is broken is told where a file beside it is opened", "[shard_sets]") {
  const temporary_directory folder;
  const indexed_set model;
  model.write(folder);
  nibble_test::write_file(folder / shard_index_name, nibble_test::bytes_of(std::string("{")));
  const outcome result = outcome_of_opening(folder / shard_name(1));
  CHECK(result.code == "bad_metadata");
  CHECK(missing_parts(result.message, {shard_index_name}).empty());
}

TEST_CASE("safetensors files by their names alone hold each tensor once", "[shard_sets]") {
  const temporary_directory folder;
  indexed_set model;
  model.shards[3].push_back(model.shards[1][0]);
  model.write(folder);
  fs::remove(folder / shard_index_name);
  const outcome result = outcome_of_opening(folder / shard_name(1));
  CHECK(result.code == "duplicate_name");
  CHECK(missing_parts(result.message, {"'w0'", shard_name(1), shard_name(3)}).empty());
}

TEST_CASE("files that metadata split are one set", "[shard_sets]") {
  const temporary_directory folder;
  const auto write = [&](std::size_t number, const std::string& metadata) {
    nibble_test::write_file(folder / shard_name(number, "gguf"),
                            apr_with(metadata, fmt::format("t{}", number)));
  };
  for (std::size_t i = 0; i < 3; ++i) write(i + 1, split_text(i, 3, 3));
  const reader set = reader::open_set(folder / shard_name(2, "gguf"));
  CHECK(set.size() == 3);
  CHECK(set.metadata() == nlohmann::json{{"key0", 1}});

  write(3, split_text(1, 3, 3));
  CHECK(missing_parts(outcome_of_opening(folder / shard_name(1, "gguf")).message,
                      {"shard 2 of 3", "shard 3 of 3"})
            .empty());
  write(3, split_text(2, 4, 3));
  CHECK(outcome_of_opening(folder / shard_name(1, "gguf")).code == "bad_shard");
  write(3, split_text(2, 3, 4));
  CHECK(missing_parts(outcome_of_opening(folder / shard_name(1, "gguf")).message, {"another total"})
            .empty());
  for (std::size_t i = 0; i < 3; ++i) write(i + 1, split_text(i, 3, 4));
  const outcome result = outcome_of_opening(folder / shard_name(1, "gguf"));
  CHECK(result.code == "bad_shard");
  CHECK(missing_parts(result.message, {"split.tensors.count", "3 tensors", "4"}).empty());
}

TEST_CASE("a file that is no part of a set is opened by itself", "[shard_sets]") {
  const temporary_directory folder;
  nibble_test::write_file(folder / "model-00001-of-00001.safetensors",
                          safetensors_file({{"w", nibble_test::random_bytes(3, 1)}}));
  const reader in = reader::open_set(folder / "model-00001-of-00001.safetensors");
  CHECK(in.size() == 1);
  CHECK(in.shards().empty());
  CHECK(outcome_of_opening(folder / "absent.apr").code == "file_not_found");
  nibble_test::write_file(folder / "text", nibble_test::bytes_of("hello, this is text"));
  CHECK(outcome_of_opening(folder / "text").code == "unknown_container");
}
