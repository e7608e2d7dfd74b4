#include <nibble/checkpoint/compose_weights.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "scheme_checkpoint.hpp"

using nibble_test::bytes_of_numbers;
using nibble_test::count_differences;
using nibble_test::decoded_in_parts;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::read_file;
using nibble_test::scheme_checkpoint;
using nibble_test::scheme_tensor;
using nibble_test::temporary_directory;
using nlohmann::json;

namespace {

std::vector<std::byte> number_bytes(float value) { return bytes_of_numbers(std::vector<float>{value}); }

const scheme_tensor stored_codes{
    "l.weight", "F8_E4M3", {2, 2}, std::vector<std::byte>(4, std::byte{0x38})};
const scheme_tensor stored_scale{"l.weight_scale", "F32", {1}, number_bytes(0.5F)};
const scheme_tensor stored_norm{"norm.weight", "F32", {1}, number_bytes(1.0F)};

TEST_CASE("weights stand where their codes stood, and nothing else of them is listed",
          "[compose_weights]") {
  const scheme_checkpoint checkpoint(R"({"quant_method":"fp8"})",
                                     {stored_scale, stored_norm, stored_codes});
  CHECK(checkpoint.listing() == "norm.weight[f32,1] l.weight[fp8,2x2]");
  const nibble::checkpoint in = checkpoint.open();
  CHECK(in["l.weight"].size_bytes() == 8);
  CHECK(in["l.weight"].packing_ratio() == 2.0);
  CHECK(outcome_of([&] { static_cast<void>(in["l.weight"].encoding()); }).code ==
        "unsupported_encoding");
  CHECK(outcome_of([&] { static_cast<void>(in["l.weight_scale"]); }).code == "no_such_tensor");
  // A reader moved into another one keeps them.
  const nibble::reader moved = checkpoint.open();
  CHECK(decoded_in_parts(moved["l.weight"], 2) == std::vector<float>(4, 0.5F));
}

TEST_CASE("what scales inputs and caches is left out and noted, of quantized weights alone",
          "[compose_weights]") {
  std::vector<scheme_tensor> tensors = {stored_codes, stored_scale};
  const std::vector<std::string> names = {"l.input_scale",    "l.k_scale",     "a.kv_scale",
                                          "l.scale_input",    "l.act_scale",   "a.prob_scale",
                                          "e.up_input_scale", "l.output_scale"};
  for (const std::string& name : names) tensors.push_back({name, "F32", {1}, number_bytes(2.0F)});
  const scheme_checkpoint checkpoint(R"({"quant_method":"fp8"})", tensors);
  CHECK(checkpoint.listing() == "l.weight[fp8,2x2]");
  const nibble::checkpoint in = checkpoint.open();
  REQUIRE(in.notes().size() == names.size());
  for (std::size_t i = 0; i < names.size(); ++i) CHECK(in.notes()[i].tensor == names[i]);
  const scheme_checkpoint plain("", {stored_norm, {"l.k_scale", "F32", {1}, number_bytes(2.0F)}});
  CHECK(plain.listing() == "norm.weight[f32,1] l.k_scale[f32,1]");
  CHECK(plain.open().notes().empty());
}

TEST_CASE("parts that belong to no weight are refused", "[compose_weights]") {
  for (const char* const name : {"l.weight_scale", "l.qzeros", "l.weight_packed", "l.SCB",
                                 "l.weight_scale_inv", "l.weight_scale_2", "l.weight.absmax"}) {
    CAPTURE(name);
    for (const char* const config : {"", R"({"quant_method":"gptq","bits":4})"}) {
      const outcome result =
          scheme_checkpoint(config, {stored_norm, {name, "F32", {1}, number_bytes(2.0F)}}).opened();
      CHECK(result.code == "bad_scheme");
    }
  }
}

TEST_CASE("a scheme that is not known leaves the tensors and its name", "[compose_weights]") {
  for (const char* const config :
       {R"({"quant_method":"sevenbit","bits":7})",
        R"({"quant_method":"modelopt","quant_algo":"W4A8_AWQ"})", R"({"quant_method":"quark"})"}) {
    CAPTURE(config);
    const scheme_checkpoint checkpoint(config, {stored_codes, stored_scale});
    CHECK(checkpoint.listing() == "l.weight[f8_e4m3,2x2] l.weight_scale[f32,1]");
    CHECK(nibble::quantization_scheme(checkpoint.open().metadata()).has_value());
  }
}

TEST_CASE("a weight beside one of its name is refused", "[compose_weights]") {
  const std::vector<std::byte> words(std::size_t{8} * 4);
  const std::vector<scheme_tensor> tensors = {{"l.qweight", "I32", {1, 8}, words},
                                              {"l.qzeros", "I32", {1, 1}, std::vector<std::byte>(4)},
                                              {"l.scales", "F32", {1, 8}, words},
                                              {"l.weight", "F32", {1}, number_bytes(1.0F)}};
  CHECK(scheme_checkpoint(R"({"quant_method":"gptq","bits":4})", tensors).opened().code ==
        "duplicate_name");
}

TEST_CASE("a configuration is found where programs put it", "[compose_weights]") {
  for (const char* const nested :
       {R"({"quantization":{"quant_algo":"FP8"}})", R"({"quantization_config":{"quant_method":"fp8"}})",
        R"({"quant_algo":"FP8","kv_cache_quant_algo":"FP8"})", R"({"quant_method":"FP8"})"}) {
    CAPTURE(nested);
    CHECK(scheme_checkpoint(nested, {stored_codes, stored_scale}).listing() == "l.weight[fp8,2x2]");
    CHECK(scheme_checkpoint(nested, {stored_codes}).opened().code == "bad_scheme");
  }
}

TEST_CASE("parts may lie in several files of a set", "[compose_weights]") {
  const scheme_checkpoint first("", {stored_codes});
  const scheme_checkpoint second("", {stored_scale, stored_norm});
  const temporary_directory folder;
  const std::filesystem::path set = folder.path();
  std::filesystem::copy_file(std::filesystem::path(first.path()) / "model.safetensors",
                             set / "model-00001-of-00002.safetensors");
  // By itself the second file has a scale and no weight.
  std::filesystem::copy_file(std::filesystem::path(second.path()) / "model.safetensors",
                             set / "model-00002-of-00002.safetensors");
  const nibble::checkpoint in(set.string());
  CHECK(in.size() == 2);
  CHECK(decoded_in_parts(in["l.weight"], 1) == std::vector<float>(4, 0.5F));
}

TEST_CASE("every case of the shared generator reads as it says", "[compose_weights]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const temporary_directory folder;
  const std::string command =
      fmt::format("python3 \"{}\" \"{}\"", (shared / "cases/make.py").string(), folder.path().string());
  if (!std::filesystem::exists(shared / "cases/make.py") || std::system(command.c_str()) != 0) {
    WARN("passed by: the generator of cases is not there, or Python is not");
    return;
  }
  std::size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (!std::filesystem::exists(entry.path() / "expected.json")) continue;
    CAPTURE(entry.path().filename().string());
    const nibble::checkpoint in(entry.path().string());
    const json weights = json::parse(nibble_test::text_of(read_file(entry.path() / "expected.json")));
    const std::vector<std::byte> bytes = read_file(entry.path() / "expected.f32");
    std::vector<float> expected(bytes.size() / sizeof(float));
    std::memcpy(expected.data(), bytes.data(), bytes.size());
    std::size_t at = 0;
    for (const json& weight : weights) {
      const nibble::tensor_view& tensor = in[weight.at("name").get<std::string>()];
      const auto shape = weight.at("shape").get<std::vector<std::uint64_t>>();
      REQUIRE(tensor.shape() == nibble::shape(std::span<const std::uint64_t>(shape)));
      const auto count = static_cast<std::size_t>(tensor.elements());
      const auto values = std::span<const float>(expected).subspan(at, count);
      at += count;
      if (tensor.composed() == nullptr) {
        CHECK(std::memcmp(tensor.bytes().data(), values.data(), values.size_bytes()) == 0);
        continue;
      }
      CHECK(count_differences(decoded_in_parts(tensor, 5), values) == 0);
      compared += count;
    }
    CHECK(at == expected.size());
    for (const nibble::tensor_view& tensor : in) {
      CHECK((tensor.name().ends_with("weight") || tensor.name() == "mlp.experts.down_proj"));
    }
  }
  CHECK(compared == 133'504);
  const auto opened = [&](const char* name) {
    return outcome_of([&] { static_cast<void>(nibble::checkpoint((folder.path() / name).string())); });
  };
  const outcome missing = opened("fp8_scale_missing");
  CHECK(missing_parts(missing.message, {"bad_scheme", "l.weight"}).empty());
  const outcome other = opened("fp8_scale_of_another_shape");
  CHECK(missing_parts(other.message, {"bad_scheme", "l.weight", "7x1", "24x40"}).empty());
}

}  // namespace
