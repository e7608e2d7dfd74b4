cmake_minimum_required(VERSION 3.25)

# Every block of C++ on every page compiles: as it is where it is a program, otherwise as the body of a
# function that sees what context.hpp declares. All are one translation unit, each in a namespace of its
# own; errors name page and line.
include(${CMAKE_CURRENT_LIST_DIR}/pages.cmake)

set(total 0)
set(includes "#include \"${CMAKE_CURRENT_LIST_DIR}/context.hpp\"\n")
set(blocks "")
find_pages(pages)
foreach(page IN LISTS pages)
  read_blocks(${page} cpp)
  foreach(number RANGE ${block_count})
    if(number EQUAL 0)  # RANGE has no empty form, and blocks count from 1.
      continue()
    endif()
    math(EXPR total "${total} + 1")
    string(REGEX MATCHALL "#include [^\n]*" found "${block_${number}}")
    foreach(include IN LISTS found)
      string(APPEND includes "${include}\n")
    endforeach()
    string(REGEX REPLACE "#include [^\n]*" "" text "${block_${number}}")
    set(text "#line ${block_line_${number}} \"${page}\"\n${text}")
    if(NOT text MATCHES "\nint main\\(")
      set(text "void run() {\n${text}}\n")
    endif()
    string(APPEND blocks "namespace block_${total} {\n${text}}\n")
  endforeach()
endforeach()
if(total EQUAL 0)
  message(FATAL_ERROR "no blocks of C++ were found")
endif()

# A main in a namespace has to return something, and fragments declare what they do not go on to use.
file(WRITE ${FOLDER}/snippets.cpp "${includes}${blocks}")
execute_process(
  COMMAND ${COMPILER} -std=c++20 -fsyntax-only -I${SOURCE}/include -Wall -Wextra -Werror
    -Wno-unused -Wunused-result -Wno-return-type ${FOLDER}/snippets.cpp
  RESULT_VARIABLE result ERROR_VARIABLE messages)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${messages}")
endif()
message(STATUS "${total} blocks of C++")
