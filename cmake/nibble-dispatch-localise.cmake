# Makes the object TO, of the kernels called NAME, from what the compiler made (FROM).
cmake_minimum_required(VERSION 3.25)

function(run variable)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE problem)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nended with ${result}:\n${output}${problem}")
  endif()
  set(${variable} "${output}" PARENT_SCOPE)
endfunction()

# All code in one section of its own name: sections of inline functions leave their groups, by which the
# linker would keep one program-wide copy of each.
get_filename_component(folder ${TO} DIRECTORY)
file(MAKE_DIRECTORY ${folder})
file(WRITE ${TO}.script "SECTIONS { .nibble_${NAME} 0 : { *(.text .text.*) } }\n")
run(none ${LINKER} -r --force-group-allocation -T ${TO}.script -o ${TO}.all ${FROM})
if(NOT HIDE)
  file(RENAME ${TO}.all ${TO})
  return()
endif()

# Type information stays: an exception is the same type on both sides. It is data, and no code.
set(table nibble_kernels_${NAME})
run(none ${OBJCOPY} --wildcard --keep-global-symbol=${table} --keep-global-symbol=_ZTI*
  --keep-global-symbol=_ZTS* ${TO}.all ${TO}.hidden)

run(symbols ${NM} --extern-only --defined-only --format=posix ${TO}.hidden)
string(REPLACE "\n" ";" symbols "${symbols}")
foreach(symbol IN LISTS symbols)
  if(NOT symbol MATCHES "^(${table} |_ZT[IS].* V |$)")
    message(FATAL_ERROR "the ${NAME} kernels show a symbol that is not theirs alone: ${symbol}")
  endif()
endforeach()

# What runs before main() would run on machines that lack the instruction set.
run(sections ${OBJDUMP} --section-headers ${TO}.hidden)
if(sections MATCHES " [.](init_array|preinit_array|fini_array|ctors|dtors|init|fini)[ .]")
  message(FATAL_ERROR "the ${NAME} kernels have code that runs before main() (${CMAKE_MATCH_1}): "
    "is there a compiler flag that adds some, such as coverage or profiling?")
endif()
file(REMOVE ${TO}.all ${TO}.script)
file(RENAME ${TO}.hidden ${TO})
