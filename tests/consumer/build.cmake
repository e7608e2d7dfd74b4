cmake_minimum_required(VERSION 3.25)

# Builds and runs the consumer in FOLDER, reaching nibble in one WAY.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nended with ${result}:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${FOLDER})
set(prefix ${PREFIX_PATH})
if(WAY STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${FOLDER}/prefix)
  list(PREPEND prefix ${FOLDER}/prefix)
endif()
run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${FOLDER}/build -G ${GENERATOR}
  -DCMAKE_CXX_COMPILER=${COMPILER} -DWAY=${WAY} -DNIBBLE_SOURCE=${SOURCE} "-DCMAKE_PREFIX_PATH=${prefix}")
run(${CMAKE_COMMAND} --build ${FOLDER}/build)
run(${CMAKE_COMMAND} -E chdir ${FOLDER}/build ${FOLDER}/build/consumer)
run(${CMAKE_COMMAND} -E chdir ${FOLDER}/build ${CMAKE_COMMAND} -E env NIBBLE_ARCH=baseline
  ${FOLDER}/build/shipped)
