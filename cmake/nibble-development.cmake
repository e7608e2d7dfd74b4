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
if(NIBBLE_NATIVE)
  target_compile_options(nibble_development INTERFACE -march=native)
endif()
if(NIBBLE_SANITIZE)
  # Instrumented code makes compilers see uses of uninitialised values that are not there.
  target_compile_options(nibble_development INTERFACE
    -Wno-error -fsanitize=${NIBBLE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  target_link_options(nibble_development INTERFACE -fsanitize=${NIBBLE_SANITIZE})
endif()

# Compiles a program's sources a few at a time: most of the time goes into the headers that they share.
# That each header stands alone is another check's to say (.ci/headers).
function(nibble_join_sources target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
endfunction()
