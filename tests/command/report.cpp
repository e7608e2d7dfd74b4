/// The page that report writes: its figures are those of diff, its counts those of the values, and nothing
/// in it leads elsewhere.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

namespace {

using nibble_test::read_file;
using nibble_test::require_ended;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::run;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

/// A page as its script reads it.
struct report_page {
  std::string text{};
  json data{};
  std::vector<json> details{};  ///< one a tensor
};

/// What stands in the script element of this id: as in a browser, up to the first end tag.
std::string script_element(const std::string& page, const std::string& id) {
  const std::string start = "id=\"" + id + "\">";
  const std::size_t begin = page.find(start);
  REQUIRE(begin != std::string::npos);
  const std::size_t end = page.find("</script", begin);
  REQUIRE(end != std::string::npos);
  return page.substr(begin + start.size(), end - begin - start.size());
}

report_page read_page(const std::string& path) {
  const auto bytes = read_file(path);
  report_page page;
  page.text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  page.data = json::parse(script_element(page.text, "data"));
  std::istringstream lines(script_element(page.text, "detail-lines"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) page.details.push_back(json::parse(line));
  }
  return page;
}

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

const std::string odd_name = "</script><!-- & \"quoted\" 'é' \xE5\xAD\x97 https://nowhere.example/";

/// Matrices of odd lengths, a vector, whole numbers, and a name that has to be escaped.
std::vector<stored_tensor> tensors_to_pack() {
  std::vector<stored_tensor> tensors;
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    const std::uint64_t count =
        std::accumulate(shape.begin(), shape.end(), std::uint64_t{1}, std::multiplies<>());
    const auto values =
        random_values(static_cast<std::size_t>(count), static_cast<unsigned>(tensors.size() + 1));
    tensors.push_back({name, "F32", std::move(shape), nibble_test::bytes_of(values)});
  };
  add("blk.0.attn_q.weight", {37, 96});
  add("blk.0.attn_norm.weight", {96});
  add("blk.11.attn_q.weight", {5, 257});
  add("blk.11.experts.3.w1.weight", {33, 64});
  add(odd_name, {3, 45});
  tensors.push_back({"places", "I64", {2}, nibble_test::bytes_of(std::vector<std::int64_t>{1, 2})});
  return tensors;
}

std::uint64_t sum_of(const json& counts) {
  std::uint64_t sum = 0;
  for (const json& count : counts) sum += count.get<std::uint64_t>();
  return sum;
}

const json& tensor_of(const json& data, const std::string& name) {
  for (const json& tensor : data.at("tensors")) {
    if (tensor.at("name") == name) return tensor;
  }
  FAIL("no tensor " << name);
  return data;
}

}  // namespace

TEST_CASE("report shows the errors that diff measures, of every file and tensor", "[command]") {
  const temporary_directory files;
  const std::string model = files / "model.safetensors";
  nibble_test::write_safetensors(model, tensors_to_pack());
  words arguments{"report", model};
  words packed;
  for (const std::string encoding : {"q4", "q8", "apr_q4", "q6_k"}) {
    packed.push_back(files / (encoding + ".apr"));
    require_ended({"pack", model, "-o", packed.back(), "-e", encoding}, 0);
    arguments.push_back(packed.back());
  }
  const std::string output = files / "report.html";
  arguments.insert(arguments.end(), {"-o", output});
  require_success(arguments);
  const report_page page = read_page(output);
  REQUIRE(page.data.at("files").size() == packed.size());
  for (std::size_t i = 0; i < packed.size(); ++i) {
    const json differences = json::parse(require_success({"diff", model, packed[i], "--json"}));
    const json& file = page.data.at("files").at(i);
    CHECK(file.at("file") == packed[i]);
    CHECK(file.at("file_bytes") == read_file(packed[i]).size());
    for (const std::string sum : {"all_tensors", "all_matrices"}) {
      CHECK(file.at(sum) == differences.at(sum));
    }
    REQUIRE(differences.at("tensors").size() == page.data.at("tensors").size());
    for (const json& expected : differences.at("tensors")) {
      INFO(expected.dump());
      const json& tensor = tensor_of(page.data, expected.at("name").get<std::string>());
      const json& found = tensor.at("files").at(i);
      CHECK(tensor.at("shape") == expected.at("shape"));
      CHECK(tensor.at("elements") == expected.at("elements"));
      CHECK(tensor.at("encoding") == expected.at("encoding_a"));
      CHECK(found.at("encoding") == expected.at("encoding_b"));
      for (const std::string field : {"equal", "infinite_errors", "max_abs_error", "rmse",
                                      "relative_rmse", "sqnr_db", "cosine"}) {
        CHECK(found.at(field) == expected.at(field));
      }
    }
  }
  const auto place = [&](const std::string& name) {
    const json& tensor = tensor_of(page.data, name);
    return std::pair(page.data.at("kinds").at(tensor.at("kind").get<std::size_t>()),
                     tensor.at("layer"));
  };
  CHECK(place("blk.0.attn_q.weight") == std::pair<json, json>("blk.*.attn_q.weight", 0));
  CHECK(place("blk.11.attn_q.weight") == std::pair<json, json>("blk.*.attn_q.weight", 11));
  CHECK(place("blk.11.experts.3.w1.weight") == std::pair<json, json>("blk.*.experts.*.w1.weight", 11));
  CHECK(place(odd_name) == std::pair<json, json>(odd_name, nullptr));
}

TEST_CASE("report counts every value, and finds the worst blocks", "[command]") {
  const temporary_directory files;
  const std::string model = files / "model.safetensors";
  const std::string packed = files / "q4.apr";
  const std::vector<stored_tensor> tensors = tensors_to_pack();
  nibble_test::write_safetensors(model, tensors);
  require_ended({"pack", model, "-o", packed, "-e", "q4", "--drop", "places"}, 0);
  require_success({"unpack", packed, "-o", files / "floats.safetensors"});
  require_success({"report", model, packed, "-o", files / "report.html", "--threads", "3"});
  const auto decoded = nibble_test::read_safetensors(files / "floats.safetensors");
  const report_page page = read_page(files / "report.html");
  REQUIRE(page.details.size() == tensors.size());
  CHECK(page.data.at("files").at(0).at("only_in_reference") == json::array({"places"}));
  for (std::size_t t = 0; t + 1 < tensors.size(); ++t) {
    const stored_tensor& tensor = tensors[t];
    const auto reference = nibble_test::numbers_of<float>(tensor.bytes);
    const auto other = nibble_test::numbers_of<float>(decoded[tensor.name].bytes);
    std::size_t at = 0;
    while (page.data.at("tensors").at(at).at("name") != tensor.name) ++at;
    const json& details = page.details[at];
    const json& of_file = details.at("files").at(0);
    INFO(tensor.name);

    // Counted again, over the same range.
    const double from = details.at("from").get<double>();
    const double to = details.at("to").get<double>();
    const auto counted = [&](const std::vector<float>& values) {
      std::vector<std::uint64_t> counts(details.at("counts").size());
      std::uint64_t below = 0;
      std::uint64_t above = 0;
      for (const float value : values) {
        const double share = (static_cast<double>(value) - from) / (to - from);
        if (share < 0) {
          ++below;
        } else if (share > 1) {
          ++above;
        } else {
          ++counts[std::min(static_cast<std::size_t>(share * static_cast<double>(counts.size())),
                            counts.size() - 1)];
        }
      }
      return json{{"counts", counts}, {"below", below}, {"above", above}};
    };
    const json of_reference = counted(reference);
    const json of_other = counted(other);
    for (const std::string field : {"counts", "below", "above"}) {
      CHECK(details.at(field) == of_reference.at(field));
      CHECK(of_file.at(field) == of_other.at(field));
    }

    const std::uint64_t cols = tensor.shape.back();
    double worst = 0.0;
    json place;
    for (std::uint64_t row = 0; row < reference.size() / cols; ++row) {
      for (std::uint64_t column = 0; column < cols; column += 32) {
        double squares = 0.0;
        const std::uint64_t count = std::min<std::uint64_t>(32, cols - column);
        for (std::uint64_t i = row * cols + column; i < row * cols + column + count; ++i) {
          squares += std::pow(static_cast<double>(reference[i]) - static_cast<double>(other[i]), 2);
        }
        const double rmse = std::sqrt(squares / static_cast<double>(count));
        if (rmse > worst) {
          worst = rmse;
          place = {row, column, count};
        }
      }
    }
    if (tensor.shape.size() == 1) {  // kept as f32
      CHECK(of_file.at("blocks").empty());
      CHECK(of_file.at("positions").is_null());
      continue;
    }
    const json& block = of_file.at("blocks").at(0);
    CHECK(json{block.at("row"), block.at("column"), block.at("elements")} == place);
    CHECK(block.at("rmse").get<double>() == Approx(worst).epsilon(1e-4));
    REQUIRE(block.at("reference").size() == place.at(2));
    for (std::size_t i = 0; i < block.at("reference").size(); ++i) {
      const std::size_t element = place.at(0).get<std::size_t>() * static_cast<std::size_t>(cols) +
                                  place.at(1).get<std::size_t>() + i;
      CHECK(block.at("reference").at(i).get<double>() == Approx(reference[element]).epsilon(1e-4));
      CHECK(block.at("packed").at(i).get<double>() == Approx(other[element]).epsilon(1e-4));
    }
    const json& positions = of_file.at("positions");
    CHECK(positions.at("first") == 0);
    CHECK(positions.at("last") == 15);
    CHECK(sum_of(positions.at("counts")) + positions.at("below").get<std::uint64_t>() +
              positions.at("above").get<std::uint64_t>() +
              positions.at("without_scale").get<std::uint64_t>() ==
          reference.size());
    // What the search leaves beyond the outermost codes is little.
    const std::uint64_t outside =
        positions.at("below").get<std::uint64_t>() + positions.at("above").get<std::uint64_t>();
    CHECK(outside * 20 < reference.size());
  }
}

TEST_CASE("report finds values among the codes of their own blocks", "[command]") {
  const temporary_directory files;
  const std::string model = files / "model.safetensors";
  // Rows of values that every encoding holds exactly: each lies on a code, whatever its block's scale.
  const std::size_t rows = 3;
  const std::size_t cols = 64;
  std::vector<float> values;
  for (std::size_t i = 0; i < rows * cols; ++i) {
    const int code = static_cast<int>(i % 16);
    values.push_back(std::ldexp(static_cast<float>(code - 8), static_cast<int>(i / 32) - 5));
  }
  nibble_test::write_safetensors(model, {{"w", "F32", {rows, cols}, nibble_test::bytes_of(values)}});
  for (const std::string encoding : {"q4", "q4_0", "q4_1"}) {
    INFO(encoding);
    const std::string packed = files / (encoding + ".apr");
    require_ended({"pack", model, "-o", packed, "-e", encoding}, 0);
    require_success({"report", model, packed, "-o", files / "report.html"});
    const report_page page = read_page(files / "report.html");
    CHECK(page.data.at("tensors").at(0).at("files").at(0).at("equal") == true);
    const json& positions = page.details.at(0).at("files").at(0).at("positions");
    const double from = positions.at("from").get<double>();
    const double step = positions.at("step").get<double>();
    std::set<double> codes;
    for (std::size_t i = 0; i < positions.at("counts").size(); ++i) {
      const auto count = positions.at("counts").at(i).get<std::uint64_t>();
      if (count == 0) continue;
      CHECK(count == values.size() / 16);
      codes.insert(from + (static_cast<double>(i) + 0.5) * step);
    }
    std::set<double> all;
    for (int code = 0; code < 16; ++code) all.insert(code + positions.at("first").get<int>());
    CHECK(codes == all);
  }
}

TEST_CASE("a report leads nowhere, holds names as text, and is the same again", "[command]") {
  const temporary_directory files;
  const std::string model = files / "model.safetensors";
  const std::string packed = files / "q4.apr";
  nibble_test::write_safetensors(model, tensors_to_pack());
  require_ended({"pack", model, "-o", packed, "-e", "q4"}, 0);
  require_success({"report", model, packed, "-o", files / "one.html", "--threads", "1"});
  require_success({"report", model, packed, "-o", files / "two.HTML", "--threads", "4"});
  CHECK(read_file(files / "one.html") == read_file(files / "two.HTML"));

  std::string page = read_page(files / "one.html").text;
  for (const std::string id : {"data", "detail-lines"}) {
    const std::string element = script_element(page, id);
    CHECK(element.find('<') == std::string::npos);
    page.erase(page.find(element), element.size());
  }
  for (const std::string leads : {"http:", "https:", "//", "src=", "@import", "url(", "import("}) {
    INFO(leads);
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t at = line.find(leads);
      const bool is_comment = leads == "//" && line.find_first_not_of(' ') == at;
      const bool is_remark = leads == "//" && at != std::string::npos && at > 0 && line[at - 1] == ' ';
      INFO(line);
      CHECK((at == std::string::npos || is_comment || is_remark));
    }
  }
  CHECK(page.find("default-src 'none'") != std::string::npos);
}

TEST_CASE("report compares files under one convention of names", "[command]") {
#if defined(NIBBLE_DEMO_MODEL)
  const temporary_directory files;
  const std::string model = NIBBLE_DEMO_MODEL;
  const std::string packed = files / "q8.apr";
  const std::string moved = files / "q8_0.gguf";
  require_ended({"pack", model, "-o", packed, "-e", "q8_0"}, 0);
  require_ended({"pack", model, "-o", moved, "-e", "q8_0"}, 0);
  require_success({"report", model, packed, moved, "-o", files / "report.html"});
  const json data = read_page(files / "report.html").data;
  const json differences = json::parse(require_ended({"diff", model, moved, "--json"}, 0).out);
  CHECK(data.at("files").at(1).at("all_tensors") == differences.at("all_tensors"));
  CHECK(tensor_of(data, "token_embd.weight").at("files").at(0).at("relative_rmse").get<double>() > 0);
  for (const json& expected : differences.at("tensors")) {
    const json& found = tensor_of(data, expected.at("name").get<std::string>());
    CHECK(found.at("files").at(1).at("relative_rmse") == expected.at("relative_rmse"));
    CHECK(found.at("files").at(0).at("relative_rmse").get<double>() ==
          Approx(expected.at("relative_rmse").get<double>()).epsilon(1e-9).margin(1e-12));
  }
#else
  SUCCEED("the engine is not built");
#endif
}

TEST_CASE("report shows infinite errors and values that are none", "[command]") {
  const temporary_directory files;
  const auto write = [&](const std::string& name, const std::vector<float>& values) {
    nibble_test::write_safetensors(files / name, {{"a", "F32", {2, 3}, nibble_test::bytes_of(values)},
                                                  {"empty", "F32", {0, 3}, {}}});
    return files / name;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::string a = write("a.safetensors", {1, 2, nan, 4, -5, 0});
  const std::string b = write("b.safetensors", {1, infinity, nan, 4, -5, 0});
  require_success({"report", a, b, a, "-o", files / "report.html"});
  const report_page page = read_page(files / "report.html");
  const json& found = page.data.at("tensors").at(0).at("files");
  CHECK(found.at(0).at("relative_rmse") == "inf");
  CHECK(found.at(1).at("equal") == true);
  CHECK(page.details.at(0).at("non_finite") == 1);
  CHECK(page.details.at(0).at("zeros") == 1);
  CHECK(page.details.at(0).at("files").at(0).at("blocks").at(0).at("rmse") == "inf");
}

TEST_CASE("report refuses what it cannot write or compare", "[command]") {
  const temporary_directory files;
  const std::string model = files / "model.safetensors";
  const std::string other = files / "other.safetensors";
  nibble_test::write_safetensors(model,
                                 {{"a", "F32", {1}, nibble_test::bytes_of(std::vector<float>{1})}});
  nibble_test::write_safetensors(other,
                                 {{"b", "F32", {1}, nibble_test::bytes_of(std::vector<float>{1})}});
  require_refusal(run({"report", model, model, "-o", files / "report"}), 2, {".html"});
  require_refusal(run({"report", model, model, "-o", files / "report.apr"}), 2, {".html"});
  require_refusal(run({"report", model, model, "-o", "-"}), 2, {"-o -"});
  require_refusal(run({"report", model, model}), 2, {"--output"});
  require_refusal(run({"report", model, "-o", files / "report.html"}), 2, {"PACKED"});
  require_refusal(run({"report", model, model, other, "-o", files / "report.html"}), 2,
                  {"other.safetensors", "share no tensor"});
  require_refusal(run({"report", model, files / "absent.apr", "-o", files / "report.html"}), 4,
                  {"absent.apr"});
  require_refusal(run({"report", model, model, "-o", files / "no/report.html"}), 4, {"folder"});
}
