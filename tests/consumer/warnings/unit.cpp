// What a host's own unit does with the library, one call of everything: templates warn where they are
// used. The intrinsics come first, as in units that have kernels of their own.
#if defined(INTRINSICS_FIRST)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nibble/nibble.hpp>
// Those that nibble.hpp leaves to be included by themselves:
#include <nibble/checkpoint.hpp>
#include <nibble/source_reader.hpp>

void write_model(const std::string& path, std::span<const float> values) {
  nibble::writer out;
  out.metadata()["architecture"] = "llama";
  out.add<nibble::q4>("q4", {8, 32}, values);
  out.add(nibble::encoding::q6_k, "q6_k", {1, 256}, values);
  out.add<nibble::q8>("rows", {8, 32},
                      [&](std::uint64_t first, std::uint64_t count, std::span<float> rows) {
                        for (std::size_t i = 0; i < count * 32; ++i) rows[i] = values[first * 32 + i];
                      });
  out.write(path);
}

std::size_t read_model(const std::string& path, std::span<const float> x, std::span<float> y) {
  const nibble::reader in(path);
  in.verify();
  const nibble::tensor_view& weight = in["q4"];
  std::vector<float> values(static_cast<std::size_t>(weight.elements()));
  nibble::dequantize(weight, values);
  for (const auto mode :
       {nibble::matmul_mode::exact, nibble::matmul_mode::int16, nibble::matmul_mode::int8}) {
    nibble::matmul(weight, x, y, {.mode = mode});
  }
  nibble::matmul(nibble::repack(weight, nibble::matmul_mode::int8), x, y);
  return in.size() + nibble::reader::open_set(path).size();
}

std::size_t read_source(const nibble::byte_source& bytes) {
  const nibble::source_reader in(bytes);
  return in.size() + static_cast<std::size_t>(in.load("q4").view().size_bytes());
}
