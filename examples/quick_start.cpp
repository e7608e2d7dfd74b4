#include <nibble/nibble.hpp>

#include <cstdio>
#include <vector>

int main() {
  std::vector<float> weights(576 * 576), x(576, 1.0F), y(576);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = 0.01F * float(i % 31) - 0.15F;

  nibble::writer out;
  out.add<nibble::q4>("q_proj.weight", {576, 576}, weights);  // [outputs, inputs], row-major
  out.write("model.apr");

  const nibble::reader in("model.apr");
  nibble::matmul(in["q_proj.weight"], x, y);  // y = x * w^T, straight from the blocks
  std::printf("%zu tensor, y[0] = %f\n", in.size(), double(y[0]));
}
