#include <nibble/writer.hpp>
void use(nibble::writer& w, std::span<const float> x) { w.add<float>("w", nibble::shape{1}, x); }
