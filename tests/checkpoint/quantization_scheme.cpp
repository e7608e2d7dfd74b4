#include <nibble/checkpoint/quantization_scheme.hpp>

#include <string>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>

namespace {

std::string scheme_of(const char* metadata) {
  return nibble::quantization_scheme(nlohmann::json::parse(metadata)).value_or("none");
}

TEST_CASE("a scheme goes by its method, else its algorithm, else its format", "[quantization_scheme]") {
  CHECK(scheme_of(R"({"quantization_config":{"format":"c","quant_algo":"b","quant_method":"a"}})") ==
        "a");
  CHECK(scheme_of(R"({"quantization_config":{"format":"c","quant_algo":"b"}})") == "b");
  CHECK(scheme_of(R"({"quantization_config":{"format":"c"}})") == "c");
  // What is no text is passed over.
  CHECK(scheme_of(R"({"quantization_config":{"quant_method":7,"format":"c"}})") == "c");
  CHECK(scheme_of(R"({"quantization_config":{"quant_method":""}})").empty());
}

TEST_CASE("the configuration of the weights comes before that of their compression",
          "[quantization_scheme]") {
  CHECK(scheme_of(
            R"({"compression_config":{"format":"b"},"quantization_config":{"quant_method":"a"}})") ==
        "a");
  CHECK(scheme_of(R"({"compression_config":{"format":"b"},"quantization_config":{"bits":4}})") == "b");
  CHECK(scheme_of(R"({"compression_config":{"format":"b"},"quantization_config":[]})") == "b");
}

TEST_CASE("no scheme is read from elsewhere", "[quantization_scheme]") {
  // .apr files have a record of their own under "quantization".
  for (const char* const metadata :
       {"{}", R"({"quantization":{"quant_type":"q4"}})", R"({"quant_method":"gptq"})",
        R"({"quantization_config":null})", R"({"quantization_config":"gptq"})",
        R"({"model":{"quantization_config":{"quant_method":"gptq"}}})"}) {
    CAPTURE(metadata);
    CHECK(scheme_of(metadata) == "none");
  }
}

}  // namespace
