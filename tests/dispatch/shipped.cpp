// A program that calls every public function, for the test that looks at its object code.
#include <nibble/nibble.hpp>

#include <cstdio>
#include <string>
#include <vector>

int main() {
  std::vector<float> weights(64 * 96), values(weights.size()), x(96, 1.0F), y(64);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 31) - 15.0F;
  nibble::writer out;
  out.add<nibble::q4>("q4", {64, 96}, weights);
  out.add<nibble::q8>("q8", {64, 96}, weights);
  out.add(nibble::encoding::f16, "f16", {64, 96}, weights);
  out.write("shipped.apr");
  const nibble::reader in("shipped.apr");
  in.verify();
  for (const nibble::tensor_view& w : in) {
    nibble::dequantize(w, values);
    nibble::matmul(w, x, y);
    std::printf("%s: %g %g\n", std::string(w.name()).c_str(), static_cast<double>(values[5]),
                static_cast<double>(y[63]));
  }
  std::vector<nibble::float16> halves(weights.size());
  nibble::convert(weights, halves);
  std::printf("%s kernels\n", std::string(nibble::dispatched_architecture()).c_str());
  return nibble::to_float32(halves[5]) == weights[5] ? 0 : 1;
}
