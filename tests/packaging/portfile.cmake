cmake_minimum_required(VERSION 3.25)

# Runs vcpkg's portfile with functions that do what vcpkg's of their names do to the files, and looks at
# what becomes of it in FOLDER.
function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "SOURCE_PATH" "OPTIONS")
  run(${CMAKE_COMMAND} -S ${in_SOURCE_PATH} -B ${FOLDER}/build -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Release ${in_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
  run(${CMAKE_COMMAND} --build ${FOLDER}/build)
  run(${CMAKE_COMMAND} --install ${FOLDER}/build --prefix ${CURRENT_PACKAGES_DIR})
endfunction()

function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "CONFIG_PATH" "")
  file(RENAME ${CURRENT_PACKAGES_DIR}/${in_CONFIG_PATH} ${CURRENT_PACKAGES_DIR}/share/${PORT})
  file(REMOVE_RECURSE ${CURRENT_PACKAGES_DIR}/share/cmake)
endfunction()

function(vcpkg_fixup_pkgconfig)
  if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/share/pkgconfig/${PORT}.pc)
    message(FATAL_ERROR "there is no ${PORT}.pc")
  endif()
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 in "" "" "FILE_LIST")
  file(COPY ${in_FILE_LIST} DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT})
endfunction()

file(REMOVE_RECURSE ${FOLDER})
set(port_folder ${SOURCE}/cmake/packaging/vcpkg/nibble)
file(READ ${port_folder}/vcpkg.json manifest)
string(JSON PORT GET "${manifest}" name)
string(JSON version GET "${manifest}" version-semver)
if(NOT PORT STREQUAL "nibble" OR NOT version STREQUAL VERSION)
  message(FATAL_ERROR "vcpkg.json is of ${PORT} ${version} instead of nibble ${VERSION}")
endif()
string(JSON count LENGTH "${manifest}" dependencies)
message("${PORT} ${version}, ${count} dependencies")

set(CURRENT_PACKAGES_DIR ${FOLDER}/packages)
include(${port_folder}/portfile.cmake)
foreach(file include/nibble/nibble.hpp share/nibble/nibble-config.cmake share/nibble/nibble-kernels.cmake
    share/nibble/nibble-dispatch-kernels.cpp share/nibble/LICENSE share/pkgconfig/nibble.pc)
  if(NOT EXISTS ${CURRENT_PACKAGES_DIR}/${file})
    message(FATAL_ERROR "the port installs no ${file}")
  endif()
endforeach()
file(GLOB folders RELATIVE ${CURRENT_PACKAGES_DIR} ${CURRENT_PACKAGES_DIR}/*)
if(NOT folders STREQUAL "include;share")
  message(FATAL_ERROR "the port installs ${folders}")
endif()
