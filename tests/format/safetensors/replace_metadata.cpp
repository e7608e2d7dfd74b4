#include <nibble/format/safetensors/replace_metadata.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::safetensors::replace_metadata;
using nlohmann::json;

namespace {

using file_bytes = std::vector<std::byte>;

file_bytes file_of(std::string_view header, std::string_view data) {
  file_bytes file;
  nibble_test::append_number(file, std::uint64_t{header.size()});
  for (const std::string_view part : {header, data}) {
    const file_bytes bytes = nibble_test::bytes_of(part);
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  return file;
}

}  // namespace

TEST_CASE("other metadata of safetensors keep the tensors in their order",
          "[safetensors_replace_metadata]") {
  constexpr std::string_view entries = R"("z":{"dtype":"F32","shape":[1],"data_offsets":[2,6]},)"
                                       R"("a\"\n":{"dtype":"X7\"","shape":[3],"data_offsets":[0,2]},)"
                                       R"("none":{"dtype":"U8","shape":[0,9],"data_offsets":[6,6]}})";
  const auto with = [&](const std::string& metadata) {
    return file_of(
        "{" + (metadata.empty() ? "" : "\"__metadata__\":" + metadata + ",") + std::string(entries),
        "abcdef");
  };
  for (const std::string& old : {std::string(), std::string(R"({"format":"pt","b":"1"})")}) {
    for (const json& metadata : {json::object(), json{{"format", "np"}}, json{{"n", 3}, {"t", "3"}},
                                 json{{"long", std::string(1000, 'x')}}}) {
      const file_bytes before = with(old);
      const auto made = replace_metadata(before, metadata);
      CHECK_FALSE(made.has_footer);
      CHECK(made.front.size() % 64 == 0);
      CHECK(made.file_bytes == made.front.size() + made.kept.size());
      CHECK(nibble_test::text_of(made.kept) == "abcdef");
      CHECK(nibble_test::number_at<std::uint64_t>(made.front, 0) == made.front.size() - 8);
      json strings = metadata;
      for (auto& value : strings) {
        if (!value.is_string()) value = value.dump();
      }
      const std::string expected =
          "{" + (metadata.empty() ? "" : "\"__metadata__\":" + strings.dump() + ",") +
          std::string(entries);
      const std::string_view text = nibble_test::text_of(made.front).substr(8);
      CHECK(text.substr(0, expected.size()) == expected);
      CHECK(text.substr(expected.size()).find_first_not_of(' ') == std::string_view::npos);
    }
  }
}
