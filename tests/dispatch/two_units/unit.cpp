// One of the two units: the same source, compiled for another instruction set under another UNIT.
#include "unit.hpp"

#include <nibble/nibble.hpp>

two_units::report two_units::UNIT(const nibble::tensor_view& w, std::span<const float> x) {
  using convert = void(std::span<const float>, std::span<nibble::float16>);
  report out{.architecture = nibble::dispatched_architecture(),
             .convert = reinterpret_cast<const void*>(static_cast<convert*>(nibble::convert)),
             .to_float32 = reinterpret_cast<const void*>(
                 static_cast<float (*)(nibble::float16)>(nibble::to_float32)),
             .values = std::vector<float>(w.elements()),
             .products = std::vector<float>(x.size() / w.cols() * w.rows()),
             .halves = std::vector<nibble::float16>(x.size())};
  nibble::dequantize(w, out.values);
  nibble::matmul(w, x, out.products);
  nibble::convert(x, out.halves);
  return out;
}
