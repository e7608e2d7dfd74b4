#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::require_contains;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::run;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

namespace {

/// A file of one matrix of 5 x 70 and one with what is no number.
struct shown_file {
  temporary_directory folder;
  std::string path = folder / "m.safetensors";
  std::vector<float> values = nibble_test::gaussian(350, 9);
  std::vector<float> wide = nibble_test::gaussian(5 * 256, 10);

  shown_file() {
    values[71] = 0.0F;
    std::vector<float> odd = nibble_test::gaussian(64, 2);
    odd[3] = std::numeric_limits<float>::quiet_NaN();
    odd[4] = -std::numeric_limits<float>::infinity();
    nibble_test::write_safetensors(path, {{"w", "F32", {5, 70}, nibble_test::bytes_of(values)},
                                          {"wide", "F32", {5, 256}, nibble_test::bytes_of(wide)},
                                          {"odd", "F32", {2, 32}, nibble_test::bytes_of(odd)},
                                          {"none", "F32", {0, 32}, {}},
                                          {"f6", "F6_E2M3", {4}, std::vector<std::byte>(3)}});
  }
  [[nodiscard]] json shown(const words& more) const {
    words arguments{"show", path, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json::parse(require_success(arguments));
  }
};

}  // namespace

TEST_CASE("show gives values of rows, their spread and their figures", "[show]") {
  const shown_file file;
  const json shown = file.shown({"w", "--rows", "1:4", "--columns", "60:70"});
  CHECK(shown.at("version") == 1);
  CHECK(shown.at("encoding") == "f32");
  CHECK(shown.at("shape") == json::array({5, 70}));
  CHECK(shown.at("scales").is_null());
  REQUIRE(shown.at("rows").size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const json& row = shown.at("rows")[i];
    CHECK(row.at("row") == i + 1);
    CHECK(row.at("first_column") == 60);
    REQUIRE(row.at("values").size() == 10);
    for (std::size_t j = 0; j < 10; ++j) {
      CHECK(row.at("values")[j].get<float>() == file.values[(i + 1) * 70 + 60 + j]);
    }
  }
  const auto [lowest, highest] = std::ranges::minmax(file.values);
  const json& figures = shown.at("values");
  CHECK(figures.at("lowest") == static_cast<double>(lowest));
  CHECK(figures.at("highest") == static_cast<double>(highest));
  CHECK(figures.at("zeros") == 1);
  CHECK(figures.at("finite") == 350);
  double mean = 0.0;
  for (const float value : file.values) mean += static_cast<double>(value) / 350;
  double variance = 0.0;
  for (const float value : file.values)
    variance += std::pow(static_cast<double>(value) - mean, 2) / 350;
  CHECK(figures.at("mean").get<double>() == Approx(mean));
  CHECK(figures.at("standard_deviation").get<double>() == Approx(std::sqrt(variance)));
  std::uint64_t counted = 0;
  REQUIRE(shown.at("histogram").size() == 20);
  for (const json& part : shown.at("histogram")) {
    const auto inside = std::ranges::count_if(file.values, [&](float value) {
      const auto at = static_cast<double>(value);
      return at >= part.at("from").get<double>() &&
             (at < part.at("to").get<double>() ||
              (value == highest && part == shown.at("histogram").back()));
    });
    // An edge that is rounded may put a value on its other side.
    CHECK(std::abs(inside - part.at("elements").get<std::int64_t>()) <= 1);
    counted += part.at("elements").get<std::uint64_t>();
  }
  CHECK(counted == 350);
}

TEST_CASE("show gives the scales and mins of blocks", "[show]") {
  const shown_file file;
  struct row {
    std::string encoding;
    std::size_t elements_per_scale;
  };
  for (const auto& [which, elements_per_scale] : std::vector<row>{
           {"q4", 32}, {"q8", 32}, {"q4_0", 32}, {"q5_1", 32}, {"q4_k", 32}, {"q6_k", 16}}) {
    INFO(which);
    require_success({"pack", file.path, "-o", file.folder / "p.apr", "--tensor", "wide=" + which,
                     "--only", "wide", "--drop", "f6", "--drop", "odd"});
    const json shown = json::parse(require_success(
        {"show", file.folder / "p.apr", "wide", "--json", "--rows", "2:3", "--columns", "0:256"}));
    const json& shown_row = shown.at("rows")[0];
    REQUIRE(shown_row.at("scales").size() == 256 / elements_per_scale);
    CHECK(shown.at("scales").at("finite") == 5 * 256 / elements_per_scale);
    // Every value lies on the grid of its block: x = scale * q + min for a whole q.
    for (std::size_t j = 0; j < 256; ++j) {
      const auto scale = shown_row.at("scales")[j / elements_per_scale].get<double>();
      const json& mins = shown_row.at("mins");
      const double min = mins.empty() ? 0.0 : mins[j / elements_per_scale].get<double>();
      const double code = (shown_row.at("values")[j].get<double>() - min) / scale;
      CHECK(std::abs(code - std::nearbyint(code)) < 1e-3);
    }
  }
  require_success({"pack", file.path, "-o", file.folder / "p.apr", "--tensor", "w=apr_q8", "--drop",
                   "f6", "--drop", "odd"});
  const json one = json::parse(require_success({"show", file.folder / "p.apr", "w", "--json"}));
  CHECK(one.at("scales").at("finite") == 1);
}

TEST_CASE("show decodes a weight of several stored tensors", "[show]") {
  const temporary_directory folder;
  // 1, 0.5, 2 and 0 in E4M3, and their scale.
  const std::vector<std::uint8_t> codes = {0x38, 0x30, 0x40, 0x00};
  nibble_test::write_safetensors(
      folder / "m.safetensors",
      {{"l.weight", "F8_E4M3", {2, 2}, nibble_test::bytes_of(codes)},
       {"l.weight_scale", "F32", {1}, nibble_test::bytes_of(std::vector<float>{0.25F})}});
  const json shown =
      json::parse(require_success({"show", folder / "m.safetensors", "l.weight", "--json"}));
  CHECK(shown.at("encoding").is_null());
  CHECK(shown.at("dtype") == "fp8");
  CHECK(shown.at("bytes") == 8);
  CHECK(shown.at("scales").is_null());
  CHECK(shown.at("rows")[0].at("values") == json::array({0.25, 0.125}));
  CHECK(shown.at("rows")[1].at("values") == json::array({0.5, 0.0}));
}

TEST_CASE("show says what it cannot show", "[show]") {
  const shown_file file;
  const json odd = file.shown({"odd"});
  CHECK(odd.at("values").at("nan") == 1);
  CHECK(odd.at("values").at("infinite") == 1);
  CHECK(odd.at("values").at("finite") == 62);
  CHECK(odd.at("rows")[0].at("values")[3] == "nan");
  CHECK(odd.at("rows")[0].at("values")[4] == "-inf");
  require_contains(require_success({"show", file.path, "odd"}), {"1 NaN", "1 infinite", "row 0", "#"});
  CHECK(file.shown({"none"}).at("values").at("lowest").is_null());
  require_success({"show", file.path, "none"});
  require_refusal(run({"show", file.path, "f6"}), 2, {file.path, "f6", "f6_e2m3"});
  require_refusal(run({"show", file.path, "W"}), 2, {file.path, "'W'", "'w'"});
  for (const std::string range : {"5:6", "3:3", "4:2", "1", ":", "a:b", "0:6"}) {
    require_refusal(run({"show", file.path, "w", "--rows", range}), 2, {"--rows"});
  }
  require_refusal(run({"show", file.path, "w", "--columns", "0:71"}), 2, {"--columns", "70"});
}
