# What the tests of object code share.
function(run variable)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE problem)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\nended with ${result}:\n${output}${problem}")
  endif()
  set(${variable} "${output}" PARENT_SCOPE)
endfunction()

# VEX and EVEX instructions (all of AVX begins with v; k works on masks), and BMI's, which are VEX too.
set(avx "\t(v[a-z][a-z0-9]*|k(add|and|andn|mov|not|or|ortest|shiftl|shiftr|test|unpck|xnor|xor)[bwdq]+")
string(APPEND avx "|andn|bextr|blsi|blsmsk|blsr|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx)[ \t\n]")

set(disassemble ${OBJDUMP} --disassemble --no-show-raw-insn --no-addresses)
