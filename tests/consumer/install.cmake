cmake_minimum_required(VERSION 3.25)

# Installs BUILD, in which the command was built, into FOLDER: the command runs from there.
file(REMOVE_RECURSE ${FOLDER})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${FOLDER}
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${FOLDER}/bin/nibble --version OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
if(NOT output STREQUAL "nibble ${VERSION}\n")
  message(FATAL_ERROR "the installed command is '${output}' instead of nibble ${VERSION}")
endif()
