// Writes the small valid files from which fuzzing starts: usage: make_corpus FOLDER
#include <string>
#include <vector>

#include <nibble/writer.hpp>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::vector<float> values(3 * 40);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 101) - 50.0F;
  const std::string folder = argv[1];
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (row.family == nibble::encoding_family::ggml || row.family == nibble::encoding_family::ggml_k) {
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
}
