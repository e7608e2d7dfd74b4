cmake_minimum_required(VERSION 3.25)

# Programs that must not compile, for the reason that their message gives, each held against its twin that
# must. The twins that take no flags are compiled as one.
set(ENV{LC_ALL} C)

function(compile flags text)
  set(file ${CMAKE_CURRENT_BINARY_DIR}/refusal.cpp)
  file(WRITE ${file} "${text}\n")
  execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only -I${SOURCE}/include ${flags} ${file}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(result ${result} PARENT_SCOPE)
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect_success flags text)
  compile("${flags}" "${text}")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "should compile with '${flags}':\n${text}\n${output}")
  endif()
endfunction()

function(expect_refusal because flags text)
  compile("${flags}" "${text}")
  if(result EQUAL 0 OR NOT output MATCHES "${because}")
    message(FATAL_ERROR "should be refused with '${flags}' because '${because}':\n${text}\n${output}")
  endif()
endfunction()

set(twins "#include <nibble/nibble.hpp>\n#include <nibble/source_reader.hpp>")

# expect_twins program name wrong right...    there is no such call with NAME replaced by the wrong one; each
#                                             right one compiles
function(expect_twins program name wrong)
  string(REPLACE ${name} "${wrong}" text "${program}")
  expect_refusal("no matching (member )?function for call" -DNIBBLE_DISPATCH "${text}")
  foreach(right IN LISTS ARGN)
    string(MD5 number "${program}${right}")
    string(REPLACE ${name} "${right}" text "${program}")
    string(REGEX REPLACE "#include [^\n]*\n" "" text "${text}")
    string(APPEND twins "\nnamespace twin_${number} {\n${text}\n}")
  endforeach()
  set(twins "${twins}" PARENT_SCOPE)
endfunction()

# Packing must give the same bytes everywhere, so it refuses reassociation; reading does not care.
set(pack "#include <nibble/compute/quantize.hpp>")
set(decode "#include <nibble/compute/dequantize.hpp>")
expect_success(-O2 "${pack}")
expect_refusal("compile it without -ffast-math" -ffast-math "${pack}")
expect_success(-ffast-math "${decode}")
# Kernels that another unit calls compile either way, and refuse to pack when they are asked to.
expect_success(-ffast-math "#include \"${SOURCE}/cmake/nibble-dispatch-kernels.cpp\"")

# Tensors are decoded into floats and into nothing else.
expect_twins("${decode}
void use(const nibble::tensor_view& w, std::span<TYPE> y) { nibble::dequantize(w, y); }" TYPE int float)

# Encodings known when compiling are codecs.
expect_twins("#include <nibble/writer.hpp>
void use(nibble::writer& w, std::span<const float> x) { w.add<TYPE>(\"w\", nibble::shape{1}, x); }"
  TYPE float nibble::q4)

# What a call of matmul does not use cannot be passed to it.
set(use "#include <nibble/compute/matmul.hpp>
void use(const nibble::matmul_product& one, const nibble::repacked_weight& repacked,
         std::span<const float> x, std::span<float> y, const nibble::tensor_view& w) { CALL; }")
expect_twins("${use}" CALL "nibble::matmul({one, one}, x, {.bias = x})"
  "nibble::matmul(w, x, y, {.bias = x, .y_stride_elements = 3})"
  "nibble::matmul({one, one}, x, {.x_stride_elements = 3})")
expect_twins("${use}" CALL "nibble::matmul({one, one}, x, {.y_stride_elements = 3})")
expect_twins("${use}" CALL "nibble::matmul(repacked, x, y, {.mode = nibble::matmul_mode::int8})"
  "nibble::matmul(repacked, x, y, {.bias = x})")

# Opening a file does without the kernels that verifying it needs, and says which header has them.
set(verify "void use(const nibble::reader& in) { in.verify(\"w\"); }")
expect_success(-O0 "#include <nibble/reader.hpp>\n#include <nibble/verify.hpp>\n${verify}")
expect_refusal("needs #include <nibble/verify.hpp>" -O0 "#include <nibble/reader.hpp>\n${verify}")

# Whose kernels verify and write cannot be chosen: those that the unit was compiled for.
expect_twins("#include <nibble/nibble.hpp>
void use(const nibble::reader& in, const nibble::writer& out) {
  in.verify<TYPE>();
  out.write<TYPE>(\"file\");
}" TYPE nibble::simd::portable nibble::this_architecture)

# A tensor of a source has no bytes before it is loaded.
expect_twins("#include <nibble/compute/matmul.hpp>
#include <nibble/source_reader.hpp>
void use(const nibble::source_reader& far, std::span<const float> x, std::span<float> y) {
  nibble::matmul(TENSOR, x, y);
}" TENSOR "far[\"w\"]" "far.load(\"w\")")

expect_success(-DNIBBLE_DISPATCH "${twins}")
