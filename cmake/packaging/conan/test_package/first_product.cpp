#include <cstdio>
#include <vector>

#include <nibble/nibble.hpp>

int main() {
  const std::vector<float> weights(64 * 96, 0.5F), x(96, 1.0F);
  std::vector<float> y(64);
  nibble::writer out;
  out.add<nibble::q4>("w", {64, 96}, weights);
  out.write("first_product.apr");
  const nibble::reader in("first_product.apr");
  nibble::matmul(in["w"], x, y);
  std::printf("nibble %s: %g\n", NIBBLE_VERSION_STRING, static_cast<double>(y[0]));
  return y[0] > 47.9F && y[0] < 48.1F ? 0 : 1;
}
