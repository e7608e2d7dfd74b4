cmake_minimum_required(VERSION 3.25)

# Uses the presets as cmake/README.md says, on a tree of nibble's whose top level is FOLDER/tree.
file(REMOVE_RECURSE ${FOLDER})
foreach(part CMakeLists.txt cmake include)
  file(COPY ${SOURCE}/${part} DESTINATION ${FOLDER}/tree)
endforeach()
file(COPY_FILE ${FOLDER}/tree/cmake/CMakePresets.json ${FOLDER}/tree/CMakeUserPresets.json)
execute_process(COMMAND ${CMAKE_COMMAND} --list-presets=all WORKING_DIRECTORY ${FOLDER}/tree
  OUTPUT_VARIABLE listed COMMAND_ERROR_IS_FATAL ANY)
message("${listed}")
foreach(preset headers release development benchmarks sanitize)
  if(NOT listed MATCHES "\"${preset}\"")
    message(FATAL_ERROR "there is no preset ${preset}")
  endif()
endforeach()
execute_process(COMMAND ${CMAKE_COMMAND} --preset headers -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${COMPILER}
  WORKING_DIRECTORY ${FOLDER}/tree OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --install build/headers --prefix ${FOLDER}/prefix
  WORKING_DIRECTORY ${FOLDER}/tree OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
