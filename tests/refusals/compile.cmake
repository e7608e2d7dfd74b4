cmake_minimum_required(VERSION 3.25)

# Programs that must not compile, each held against its twin that must.
function(expect result flags text)
  set(file ${CMAKE_CURRENT_BINARY_DIR}/refusal.cpp)
  file(WRITE ${file} "${text}\n")
  execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only -I${SOURCE}/include ${flags} ${file}
    RESULT_VARIABLE actual OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(result STREQUAL compiles AND NOT actual EQUAL 0)
    message(FATAL_ERROR "should compile with '${flags}':\n${text}\n${output}")
  elseif(result STREQUAL fails AND actual EQUAL 0)
    message(FATAL_ERROR "should not compile with '${flags}':\n${text}")
  endif()
endfunction()

# Packing must give the same bytes everywhere, so it refuses reassociation; reading does not care.
set(pack "#include <nibble/compute/quantize.hpp>")
set(decode "#include <nibble/compute/dequantize.hpp>")
expect(compiles -O2 "${pack}")
expect(fails -ffast-math "${pack}")
expect(compiles -ffast-math "${decode}")
# Kernels that another unit calls compile either way, and refuse to pack when they are asked to.
expect(compiles -ffast-math "#include \"${SOURCE}/cmake/nibble-dispatch-kernels.cpp\"")

# Tensors are decoded into floats and into nothing else.
set(use "${decode}\nvoid use(const nibble::tensor_view& w, std::span<TYPE> y) { nibble::dequantize(w, y); }")
string(REPLACE TYPE float right "${use}")
string(REPLACE TYPE int wrong "${use}")
expect(compiles -O0 "${right}")
expect(fails -O0 "${wrong}")

# Encodings known when compiling are codecs.
set(use "#include <nibble/writer.hpp>
void use(nibble::writer& w, std::span<const float> x) { w.add<TYPE>(\"w\", nibble::shape{1}, x); }")
string(REPLACE TYPE nibble::q4 right "${use}")
string(REPLACE TYPE float wrong "${use}")
expect(compiles -O0 "${right}")
expect(fails -O0 "${wrong}")

# What a call of matmul does not use cannot be passed to it. The kernels are another unit's.
set(use "#include <nibble/compute/matmul.hpp>
void use(const nibble::matmul_product& one, const nibble::repacked_weight& repacked,
         std::span<const float> x, std::span<float> y, const nibble::tensor_view& w) { CALL; }")
function(expect_call result call)
  string(REPLACE CALL "${call}" program "${use}")
  expect(${result} -DNIBBLE_DISPATCH "${program}")
endfunction()
expect_call(compiles "nibble::matmul(w, x, y, {.bias = x, .y_stride_elements = 3})")
expect_call(compiles "nibble::matmul({one, one}, x, {.x_stride_elements = 3})")
expect_call(fails "nibble::matmul({one, one}, x, {.bias = x})")
expect_call(fails "nibble::matmul({one, one}, x, {.y_stride_elements = 3})")
expect_call(compiles "nibble::matmul(repacked, x, y, {.bias = x})")
expect_call(fails "nibble::matmul(repacked, x, y, {.mode = nibble::matmul_mode::int8})")

# Opening a file does without the kernels that verifying it needs, and says which header has them.
set(verify "void use(const nibble::reader& in) { in.verify(\"w\"); }")
expect(compiles -O0 "#include <nibble/reader.hpp>\n#include <nibble/verify.hpp>\n${verify}")
expect(fails -O0 "#include <nibble/reader.hpp>\n${verify}")

# Whose kernels verify and write cannot be chosen: those that the unit was compiled for.
set(use "#include <nibble/nibble.hpp>
void use(const nibble::reader& in, const nibble::writer& out) {
  in.verify<TYPE>();
  out.write<TYPE>(\"file\");
}")
string(REPLACE TYPE nibble::this_architecture right "${use}")
string(REPLACE TYPE nibble::simd::portable wrong "${use}")
expect(compiles -O0 "${right}")
expect(fails -O0 "${wrong}")

# A tensor of a source has no bytes before it is loaded.
set(use "#include <nibble/compute/matmul.hpp>
#include <nibble/source_reader.hpp>
void use(const nibble::source_reader& far, std::span<const float> x, std::span<float> y) {
  nibble::matmul(TENSOR, x, y);
}")
string(REPLACE TENSOR "far.load(\"w\")" right "${use}")
string(REPLACE TENSOR "far[\"w\"]" wrong "${use}")
expect(compiles -O0 "${right}")
expect(fails -O0 "${wrong}")
