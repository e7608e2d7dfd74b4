# Warnings, sanitizers and output folders of nibble's own programs; consumers never see them.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
find_package(Threads REQUIRED)

add_library(nibble_warnings INTERFACE)
target_compile_options(nibble_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

add_library(nibble_development INTERFACE)
target_link_libraries(nibble_development INTERFACE nibble::nibble nibble_warnings Threads::Threads)
if(MINGW)
  # At -O0 a unit of many templates has more sections than an object of the usual form holds.
  target_compile_options(nibble_development INTERFACE -Wa,-mbig-obj)
endif()
if(NIBBLE_NATIVE)
  target_compile_options(nibble_development INTERFACE -march=native)
endif()
if(NIBBLE_SANITIZE)
  # Instrumented code makes compilers see uses of uninitialised values that are not there.
  target_compile_options(nibble_development INTERFACE
    -Wno-error -fsanitize=${NIBBLE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(nibble_development INTERFACE -fsanitize=${NIBBLE_SANITIZE})
endif()

# Compiles the sources of a program that share a folder as one, at most NIBBLE_JOINED_SOURCES of them: most
# of the time goes into the headers that they share. Who changes a test now and then builds faster with
# few. That each header stands alone is another check's to say (.ci/headers).
set(NIBBLE_JOINED_SOURCES 32 CACHE STRING "Sources of nibble's own programs that are compiled as one")
function(nibble_join_sources target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  set(folders)
  foreach(source IN LISTS sources)
    get_filename_component(folder ${source} DIRECTORY)
    string(REPLACE "${PROJECT_SOURCE_DIR}/" "" folder "${folder}")
    list(APPEND folders "${folder}")
    string(MAKE_C_IDENTIFIER "in_${folder}" name)
    list(APPEND ${name} ${source})
  endforeach()
  list(REMOVE_DUPLICATES folders)
  foreach(folder IN LISTS folders)
    string(MAKE_C_IDENTIFIER "in_${folder}" name)
    list(LENGTH ${name} count)
    math(EXPR units "(${count} + ${NIBBLE_JOINED_SOURCES} - 1) / ${NIBBLE_JOINED_SOURCES}")
    math(EXPR last "${count} - 1")
    foreach(index RANGE ${last})
      list(GET ${name} ${index} source)
      math(EXPR unit "${index} * ${units} / ${count}")
      set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${name}_${unit})
    endforeach()
  endforeach()
endfunction()

# What the machine can do, for programs that hold nibble against it.
add_library(nibble_machine_roof OBJECT EXCLUDE_FROM_ALL
  ${PROJECT_SOURCE_DIR}/benchmarks/support/machine_roof.cpp)
target_link_libraries(nibble_machine_roof PUBLIC nibble_development)
target_include_directories(nibble_machine_roof PUBLIC ${PROJECT_SOURCE_DIR})

# For programs whose products, decoding and packing are those of kernels that another target compiles: what
# is left computes little, and compiles in half the time.
function(nibble_optimize_little target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}> -ftree-vectorize)
endfunction()
