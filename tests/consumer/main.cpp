#include <cstdio>
#include <vector>

#include <nibble/nibble.hpp>

float decode_first(const nibble::reader& from);

int main() {
  std::vector<float> weights(3 * 40);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 7) - 3.0F;
  nibble::writer out;
  out.add<nibble::q8>("w", {3, 40}, weights);
  out.write("consumer.apr");
  const nibble::reader in("consumer.apr");
  const float difference = decode_first(in) - weights[0];
  std::printf("%zu tensor, first value off by %g\n", in.size(), static_cast<double>(difference));
  return difference < 0.02F && difference > -0.02F ? 0 : 1;
}
