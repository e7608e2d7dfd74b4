cmake_minimum_required(VERSION 3.25)

# User time of compiling files that hold nothing but includes, and of one that multiplies and decodes with
# kernels that nibble_add_kernels compiled, against one that includes xsimd alone: the best of up to six
# each, turn by turn, for machines are busy with other things too. The aims are 1.5 for compute/, 3.5 for
# nibble.hpp and 6 for the products; the bounds below, at which this fails, leave room for noise.
set(bound_compute 2)
set(bound_nibble 4.8)
set(bound_products 8)

file(MAKE_DIRECTORY ${FOLDER})
file(GLOB headers RELATIVE ${SOURCE}/include ${SOURCE}/include/nibble/compute/*.hpp)
# Without those that only hosts have that ask for them.
list(FILTER headers EXCLUDE REGEX "(openmp_executor|tbb_executor|error_feedback|interleaved_blocks)")
list(TRANSFORM headers REPLACE "(.+)" "#include <\\1>\n")
string(CONCAT compute ${headers})
file(WRITE ${FOLDER}/xsimd.cpp "#include <xsimd/xsimd.hpp>\n")
file(WRITE ${FOLDER}/compute.cpp "${compute}")
file(WRITE ${FOLDER}/nibble.cpp "#include <nibble/nibble.hpp>\n")
file(WRITE ${FOLDER}/products.cpp "#include <nibble/nibble.hpp>
void products(const nibble::reader& in, std::span<const float> x, std::span<float> y) {
  nibble::matmul(in[\"w\"], x, y);
  nibble::dequantize(in[\"w\"], y);
}
")
set(options_products -O2 -DNIBBLE_KERNELS_ELSEWHERE)
set(compile ${COMPILER} -std=c++20 ${FLAGS} -I${SOURCE}/include)

execute_process(COMMAND ${compile} -M ${FOLDER}/compute.cpp
  OUTPUT_VARIABLE used COMMAND_ERROR_IS_FATAL ANY)
if(used MATCHES "nlohmann[^ ]*")
  message(FATAL_ERROR "compute/ includes JSON: ${CMAKE_MATCH_0}")
endif()

# Opening files needs no kernel: those that verify and multiply are in headers of their own.
file(WRITE ${FOLDER}/readers.cpp
  "#include <nibble/reader.hpp>\n#include <nibble/source_reader.hpp>\n")
execute_process(COMMAND ${compile} -M ${FOLDER}/readers.cpp
  OUTPUT_VARIABLE used COMMAND_ERROR_IS_FATAL ANY)
if(used MATCHES "xsimd[^ ]*|nibble/(codec|simd|kernel)/[^ ]*")
  message(FATAL_ERROR "readers include what computes: ${CMAKE_MATCH_0}")
endif()

# Milliseconds of user time that the shell's children took.
function(user_time name milliseconds)
  execute_process(
    COMMAND sh -c "\"$@\" && times" sh ${compile} ${options_${name}} -c ${FOLDER}/${name}.cpp
      -o ${FOLDER}/object.o
    OUTPUT_VARIABLE times COMMAND_ERROR_IS_FATAL ANY)
  if(NOT times MATCHES "\n([0-9]+)m([0-9]+)[.,]([0-9][0-9])")
    message(FATAL_ERROR "no times in: ${times}")
  endif()
  math(EXPR taken "${CMAKE_MATCH_1} * 60000 + ${CMAKE_MATCH_2} * 1000 + 1${CMAKE_MATCH_3} * 10 - 1000")
  set(${milliseconds} ${taken} PARENT_SCOPE)
endfunction()

set(names xsimd compute nibble products)
set(turns 6)
foreach(turn RANGE 1 ${turns})
  foreach(name ${names})
    user_time(${name} taken)
    if(turn EQUAL 1 OR taken LESS best_${name})
      set(best_${name} ${taken})
    endif()
  endforeach()
  set(over "")
  set(found "")
  foreach(name ${names})
    math(EXPR hundredths "${best_${name}} * 100 / ${best_xsimd}")
    math(EXPR whole "${hundredths} / 100")
    math(EXPR part "${hundredths} % 100 + 100")
    string(SUBSTRING ${part} 1 2 part)
    list(APPEND found "${name}: ${best_${name}} ms, ${whole}.${part} of xsimd alone")
    if(DEFINED bound_${name} AND ${whole}.${part} GREATER bound_${name})
      list(APPEND over "${name} takes ${whole}.${part} times what xsimd alone does, over ${bound_${name}}")
    endif()
  endforeach()
  if(NOT over)
    break()
  endif()
endforeach()
list(JOIN found "\n" found)
message("${found}")
if(over)
  list(JOIN over "\n" over)
  message(FATAL_ERROR "${over}")
endif()
