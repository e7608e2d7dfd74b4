cmake_minimum_required(VERSION 3.25)

# Builds and runs the consumer in FOLDER, reaching nibble in one WAY.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE problem)
  if(NOT result EQUAL 0)
    message("${output}${problem}")
    message(FATAL_ERROR "ended with ${result}: ${ARGN}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${FOLDER})
file(MAKE_DIRECTORY ${FOLDER})
set(prefix ${PREFIX_PATH})
set(installed ${FOLDER}/prefix)

# Configured as a stranger would who wants the headers, and nothing built.
if(WAY MATCHES "find_package|pkg_config")
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${FOLDER}/nibble -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${COMPILER} "-DCMAKE_PREFIX_PATH=${PREFIX_PATH}")
  run(${CMAKE_COMMAND} --install ${FOLDER}/nibble --prefix ${installed})
  list(PREPEND prefix ${installed})
endif()
string(REPLACE ";" "\\;" prefix "${prefix}")  # one argument

if(WAY STREQUAL "pkg_config")
  # Moved, for the file says where the headers are relative to itself.
  file(RENAME ${installed} ${FOLDER}/moved)
  set(ENV{PKG_CONFIG_PATH} ${FOLDER}/moved/share/pkgconfig)
  run(${PKG_CONFIG} --modversion nibble)
  if(NOT output STREQUAL "${VERSION}\n")
    message(FATAL_ERROR "nibble.pc is of version ${output} instead of ${VERSION}")
  endif()
  run(${PKG_CONFIG} --cflags --libs nibble)
  separate_arguments(flags UNIX_COMMAND "${output}")
  run(${COMPILER} -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
    ${SOURCE}/tests/consumer/opens.cpp ${flags} -o ${FOLDER}/opens)
  run(${CMAKE_COMMAND} -E chdir ${FOLDER} ${FOLDER}/opens)
  return()
endif()

if(WAY STREQUAL "fetch_content")
  run(${CMAKE_COMMAND} -E chdir ${SOURCE}
    ${CMAKE_COMMAND} -E tar czf ${FOLDER}/nibble.tar.gz CMakeLists.txt cmake include)
endif()
run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${FOLDER}/build -G ${GENERATOR}
  -DCMAKE_CXX_COMPILER=${COMPILER} -DWAY=${WAY} -DNIBBLE_SOURCE=${SOURCE}
  -DNIBBLE_ARCHIVE=${FOLDER}/nibble.tar.gz "-DKERNEL_OPTIONS=${KERNEL_OPTIONS}"
  "-DCMAKE_PREFIX_PATH=${prefix}")
run(${CMAKE_COMMAND} --build ${FOLDER}/build --target ${PROGRAMS})

foreach(program IN LISTS PROGRAMS)
  run(${CMAKE_COMMAND} -E chdir ${FOLDER}/build ${CMAKE_COMMAND} -E env NIBBLE_ARCH=baseline
    ${FOLDER}/build/${program})
  set(output_${program} "${output}")
endforeach()

# The same bits from kernels in an object of their own as from the headers alone, and kernels in that
# object alone: they are templates over xsimd's architectures.
if("products_header_only" IN_LIST PROGRAMS)
  foreach(target products_header_only products)
    set(object ${FOLDER}/build/CMakeFiles/${target}.dir/products.cpp.o)
    run(${NM} ${object})
    string(REGEX MATCHALL "[^\n]*5xsimd[^\n]*" found "${output}")
    list(LENGTH found count_${target})
  endforeach()
  message("symbols of kernels: ${count_products_header_only} in a unit on its own, "
    "${count_products} beside nibble_add_kernels")
  if(count_products_header_only LESS 100 OR NOT count_products EQUAL 0)
    message(FATAL_ERROR "the consumer's object is not what it should be")
  elseif(NOT output_products STREQUAL output_products_header_only)
    message("${output_products}header-only:\n${output_products_header_only}")
    message(FATAL_ERROR "header-only, products have other bits")
  endif()
endif()
