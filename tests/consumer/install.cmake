cmake_minimum_required(VERSION 3.25)

# Installs BUILD, in which the command was built, into FOLDER: the command runs from there, and manual
# pages and completions are where shells look for them.
file(REMOVE_RECURSE ${FOLDER})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${FOLDER}
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${FOLDER}/bin/nibble --version OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
if(NOT output STREQUAL "nibble ${VERSION}\n")
  message(FATAL_ERROR "the installed command is '${output}' instead of nibble ${VERSION}")
endif()
foreach(path IN ITEMS share/man/man1/nibble.1 share/man/man1/nibble-pack.1 share/zsh/site-functions/_nibble
    share/bash-completion/completions/nibble share/fish/vendor_completions.d/nibble.fish)
  file(READ ${FOLDER}/${path} text)
  if(NOT text MATCHES "nibble")
    message(FATAL_ERROR "${path} says nothing of nibble")
  endif()
endforeach()
