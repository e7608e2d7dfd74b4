cmake_minimum_required(VERSION 3.25)

# User time of compiling files that hold nothing but includes, against one that includes xsimd alone:
# the best of seven each, turn by turn, for machines are busy with other things too. The aims are 1.5
# for compute/ and 3.5 for nibble.hpp; the bounds below, at which this fails, leave room for noise.
set(bound_compute 2)
set(bound_nibble 4.8)

file(MAKE_DIRECTORY ${FOLDER})
file(GLOB headers RELATIVE ${SOURCE}/include ${SOURCE}/include/nibble/compute/*.hpp)
list(FILTER headers EXCLUDE REGEX "(openmp|tbb)_executor")  # only where a host asks for them
list(TRANSFORM headers REPLACE "(.+)" "#include <\\1>\n")
string(CONCAT compute ${headers})
file(WRITE ${FOLDER}/xsimd.cpp "#include <xsimd/xsimd.hpp>\n")
file(WRITE ${FOLDER}/compute.cpp "${compute}")
file(WRITE ${FOLDER}/nibble.cpp "#include <nibble/nibble.hpp>\n")
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
function(user_time file milliseconds)
  execute_process(COMMAND sh -c "\"$@\" && times" sh ${compile} -c ${file} -o ${FOLDER}/object.o
    OUTPUT_VARIABLE times COMMAND_ERROR_IS_FATAL ANY)
  if(NOT times MATCHES "\n([0-9]+)m([0-9]+)[.,]([0-9][0-9])")
    message(FATAL_ERROR "no times in: ${times}")
  endif()
  math(EXPR taken "${CMAKE_MATCH_1} * 60000 + ${CMAKE_MATCH_2} * 1000 + 1${CMAKE_MATCH_3} * 10 - 1000")
  set(${milliseconds} ${taken} PARENT_SCOPE)
endfunction()

set(names xsimd compute nibble)
foreach(turn RANGE 6)
  foreach(name ${names})
    user_time(${FOLDER}/${name}.cpp taken)
    if(turn EQUAL 0 OR taken LESS best_${name})
      set(best_${name} ${taken})
    endif()
  endforeach()
endforeach()

foreach(name ${names})
  math(EXPR hundredths "${best_${name}} * 100 / ${best_xsimd}")
  math(EXPR whole "${hundredths} / 100")
  math(EXPR part "${hundredths} % 100 + 100")
  string(SUBSTRING ${part} 1 2 part)
  message("${name}: ${best_${name}} ms, ${whole}.${part} of xsimd alone")
  set(ratio_${name} ${whole}.${part})
endforeach()
foreach(name compute nibble)
  if(ratio_${name} GREATER bound_${name})
    message(FATAL_ERROR "${name} takes ${ratio_${name}} times what xsimd alone does, over ${bound_${name}}")
  endif()
endforeach()
