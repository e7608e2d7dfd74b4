#include <vector>

#include <nibble/nibble.hpp>

float decode_first(const nibble::reader& from) {
  std::vector<float> values(from["w"].elements());
  nibble::dequantize(from["w"], values);
  return values[0];
}
