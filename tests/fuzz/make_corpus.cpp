// Writes what fuzzing starts from, a folder a target: small valid files for the one that opens bytes,
// and for those that take their input for choices some bytes to choose by. Usage: make_corpus FOLDER
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/writer.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::vector<float> values(3 * 40);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 101) - 50.0F;
  std::mt19937 generator(1);
  for (const char* const target : {"open", "mutate", "sets", "round_trip", "kernels", "codecs"}) {
    const std::filesystem::path seeds = std::filesystem::path(argv[1]) / target;
    std::filesystem::create_directories(seeds);
    for (std::size_t i = 0; i < 40 && target != std::string_view("open"); ++i) {
      std::ofstream seed(seeds / std::to_string(i), std::ios::binary);
      for (std::size_t byte = 0; byte < 16 + i * 16; ++byte) {
        seed.put(static_cast<char>(generator() & 0xFFU));
      }
    }
  }
  const std::string folder = std::string(argv[1]) + "/open";
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (row.family == nibble::encoding_family::ggml || row.family == nibble::encoding_family::ggml_k ||
        !row.apr_dtype_id) {
      continue;
    }
    const std::vector<std::byte> bytes(*nibble::stored_bytes(row.encoding, {2, 3}), std::byte{7});
    nibble::writer one;
    one.metadata()["architecture"] = "llama";
    one.add_stored(row.encoding, "w", {2, 3}, bytes);
    one.write(folder + "/" + std::string(row.name) + ".apr");
  }
  nibble::writer packed;
  packed.add<nibble::q4>("a", {3, 40}, values);
  packed.add<nibble::apr_q4>("b", {3, 40}, values);
  packed.add<nibble::f32>("empty", {0, 4}, std::span<const float>{});
  packed.write(folder + "/packed.apr");
  nibble::writer plain;
  plain.metadata()["format"] = "pt";
  plain.add<nibble::f32>("a", {3, 40}, values);
  plain.add<nibble::bf16>("b", {120}, values);
  plain.write(folder + "/plain.safetensors", {.container = nibble::container::safetensors});

  nibble::writer dtypes;
  const std::vector<std::byte> some_bytes(64, std::byte{7});
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (row.safetensors_dtype.empty()) continue;
    const auto size_bytes = static_cast<std::size_t>(*nibble::stored_bytes(row.encoding, {2, 4}));
    dtypes.add_stored(row.encoding, std::string(row.name), {2, 4},
                      std::span(some_bytes).first(size_bytes));
  }
  dtypes.write(folder + "/dtypes.safetensors", {.container = nibble::container::safetensors});

  // One file of every ggml type with metadata of many kinds, some of which JSON has no text for.
  const double infinity = std::numeric_limits<double>::infinity();
  const nlohmann::json metadata = {
      {"general.alignment", 8},
      {"general.architecture", "llama"},
      {"k.u8", 1},
      {"k.i64", -5000000000},
      {"k.f64", 0.1},
      {"k.infinite", infinity},
      {"k.bytes", "\xEF\xBF\xBD"},
      {"k.words", {"a", "", "\xE2\x96\x81"}},
      {"k.scores", {0.5, -1.5}},
      {"k.types", {1, 3}},
      {"k.bools", {true, false}},
      {"k.nested", nlohmann::json::array({{1}, {2, 3}})},
      {"k.mixed", nlohmann::json::array({{1}, {"x"}})},
      {"nibble.gguf",
       {{"types",
         {{"k.u8", "u8"},
          {"k.types", {"i32"}},
          {"k.nested", nlohmann::json::array({{"u16"}})},
          {"k.mixed", nlohmann::json::array({{"i8"}, {"str"}})}}},
        {"bytes", {{"k.bytes", "0:ff"}}}}},
  };
  nibble::writer typed;
  nibble::writer small;
  typed.metadata() = small.metadata() = metadata;
  std::vector<std::vector<std::byte>> stored;
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (!row.gguf_type) continue;
    const nibble::shape shape{2, row.block_elements};
    stored.emplace_back(*nibble::stored_bytes(row.encoding, shape), std::byte{7});
    typed.add_stored(row.encoding, std::string(row.name), shape, stored.back());
  }
  typed.write(folder + "/typed.gguf", {.container = nibble::container::gguf});
  small.add<nibble::f32>("a", {3, 40}, values);
  small.write(folder + "/small.gguf", {.container = nibble::container::gguf});
}
