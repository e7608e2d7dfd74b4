# nibble_add_dispatch(target): for programs that ship.
#
# Builds nibble's kernels once per instruction set (once per build tree, whatever the number of targets)
# and lets dequantize, convert, repack, matmul, packing and the reader's examine() in the target's sources
# pick theirs when the program runs. The target itself is to be compiled for the least machine that it is to
# run on. Each instruction set's object shows nothing but its table: not one inline function in it can
# take the place of the target's own.
#
# Needs ELF and GNU binutils (ld, objcopy, nm, objdump) on x86-64, and on 64-bit ARM under Linux, where
# the kernels are neon_i8mm, neon_dotprod and baseline; elsewhere there is one instruction set, on Windows
# the one that every 64-bit processor has (GCC misaligns AVX there: bug 54412). Kernels
# are neither instrumented by sanitizers nor subject to link-time optimization or -ffast-math; the target
# may be all three.
include_guard(GLOBAL)

function(nibble_add_dispatch target)
  if(NOT TARGET nibble_kernels)
    # In a folder of their own: in the target's, its sources would wait for them.
    add_subdirectory(${CMAKE_CURRENT_FUNCTION_LIST_DIR}/nibble-dispatch
      ${CMAKE_BINARY_DIR}/nibble-kernels EXCLUDE_FROM_ALL)
  endif()
  get_target_property(objects nibble_kernels NIBBLE_OBJECTS)
  target_compile_definitions(${target} PRIVATE NIBBLE_DISPATCH)
  target_sources(${target} PRIVATE ${objects})
  set_source_files_properties(${objects} TARGET_DIRECTORY ${target}
    PROPERTIES GENERATED TRUE EXTERNAL_OBJECT TRUE)
  # Ninja knows who makes the objects that it links; for others the whole target has to wait.
  if(NOT CMAKE_GENERATOR STREQUAL "Ninja")
    add_dependencies(${target} nibble_kernels)
  endif()
endfunction()

# The target nibble_kernels, whose properties NIBBLE_NAMES and NIBBLE_OBJECTS list the instruction sets,
# best first, and the objects to link.
function(nibble_make_kernels)
  set(source_folder ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  set(folder ${CMAKE_BINARY_DIR}/nibble-kernels)
  set(names baseline)
  set(flags_baseline)
  set(is_localised FALSE)
  if(WIN32)
    # Objects are COFF, whose symbols cannot be made local to a table, nor hidden.
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    include(CheckCXXCompilerFlag)
    check_cxx_compiler_flag(-mavxvnni NIBBLE_HAS_MAVXVNNI)
    set(flags_baseline -march=x86-64)
    set(flags_sse4_1 ${flags_baseline} -msse4.1)
    set(flags_avx2 ${flags_baseline} -mavx2 -mfma -mf16c)
    set(flags_avx_vnni ${flags_avx2} -mavxvnni)
    set(flags_avx512 ${flags_avx2} -mavx512f -mavx512cd -mavx512bw -mavx512dq -mavx512vl)
    set(flags_avx512_vnni ${flags_avx512} -mavx512vnni)
    set(flags_avx512_bf16 ${flags_avx512_vnni} -mavx512bf16)
    set(names avx512_bf16 avx512_vnni avx512 avx2 sse4_1 baseline)
    if(NIBBLE_HAS_MAVXVNNI)
      list(INSERT names 3 avx_vnni)
    endif()
    set(is_localised TRUE)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND CMAKE_SYSTEM_NAME STREQUAL Linux)
    set(flags_baseline -march=armv8-a)
    set(flags_neon_dotprod -march=armv8.2-a+dotprod)
    set(flags_neon_i8mm -march=armv8.2-a+dotprod+i8mm)
    set(names neon_i8mm neon_dotprod baseline)
    set(is_localised TRUE)
  endif()
  if(is_localised)
    nibble_require_binutils()
  endif()
  if(DEFINED NIBBLE_DISPATCH_ARCHITECTURES)
    set(all_names ${names})
    set(names)
    foreach(name IN LISTS all_names)
      if(name IN_LIST NIBBLE_DISPATCH_ARCHITECTURES)
        list(APPEND names ${name})
      endif()
    endforeach()
    foreach(name IN LISTS NIBBLE_DISPATCH_ARCHITECTURES)
      if(NOT name IN_LIST names)
        message(FATAL_ERROR "NIBBLE_DISPATCH_ARCHITECTURES lists ${name}, which is none of ${all_names}")
      endif()
    endforeach()
  endif()

  set(objects)
  foreach(name IN LISTS names)
    set(library nibble_kernels_${name})
    add_library(${library} OBJECT EXCLUDE_FROM_ALL ${source_folder}/nibble-dispatch-kernels.cpp)
    target_link_libraries(${library} PRIVATE nibble::nibble)
    target_compile_definitions(${library} PRIVATE NIBBLE_KERNELS=${name})
    target_compile_options(${library} PRIVATE -fno-lto -fno-sanitize=all -fno-fast-math
      $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique> ${flags_${name}})
    set_target_properties(${library} PROPERTIES
      POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
    set(object ${folder}/${name}${CMAKE_CXX_OUTPUT_EXTENSION})
    if(is_localised)
      nibble_localise_kernels(${object} ${library} ${name} ON)
    else()
      add_custom_command(OUTPUT ${object}
        COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_OBJECTS:${library}> ${object}
        DEPENDS ${library} $<TARGET_OBJECTS:${library}> VERBATIM)
    endif()
    list(APPEND objects ${object})
  endforeach()

  list(TRANSFORM names REPLACE "(.+)" "X(\\1)" OUTPUT_VARIABLE list)
  list(JOIN list " " NIBBLE_KERNEL_LIST)
  configure_file(${source_folder}/nibble-dispatch-tables.cpp.in ${folder}/tables.cpp @ONLY)
  add_library(nibble_kernel_tables OBJECT EXCLUDE_FROM_ALL ${folder}/tables.cpp)
  target_compile_features(nibble_kernel_tables PRIVATE cxx_std_20)
  target_compile_options(nibble_kernel_tables PRIVATE -fno-lto -fno-sanitize=all)
  set_target_properties(nibble_kernel_tables PROPERTIES
    POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
  set(object ${folder}/tables${CMAKE_CXX_OUTPUT_EXTENSION})
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_OBJECTS:nibble_kernel_tables> ${object}
    DEPENDS nibble_kernel_tables $<TARGET_OBJECTS:nibble_kernel_tables> VERBATIM)
  list(APPEND objects ${object})

  add_custom_target(nibble_kernels DEPENDS ${objects})
  set_target_properties(nibble_kernels PROPERTIES NIBBLE_NAMES "${names}" NIBBLE_OBJECTS "${objects}")
endfunction()

# Makes `object` of the one object of `library`: code in a section .nibble_NAME, and, where `is_hidden`,
# every symbol but the table local.
function(nibble_localise_kernels object library name is_hidden)
  set(script ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/nibble-dispatch-localise.cmake)
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_COMMAND} -DFROM=$<TARGET_OBJECTS:${library}> -DTO=${object} -DNAME=${name}
      -DHIDE=${is_hidden} -DLINKER=${NIBBLE_LINKER} -DOBJCOPY=${CMAKE_OBJCOPY} -DNM=${CMAKE_NM}
      -DOBJDUMP=${CMAKE_OBJDUMP} -P ${script}
    DEPENDS ${library} $<TARGET_OBJECTS:${library}> ${script} VERBATIM)
endfunction()

# Sets NIBBLE_LINKER, a linker that can dissolve the groups by which linkers tell inline functions apart.
function(nibble_require_binutils)
  if(NOT NIBBLE_LINKER)
    get_filename_component(folder "${CMAKE_LINKER}" DIRECTORY)
    find_program(nibble_bfd_linker NAMES ${CMAKE_CXX_LIBRARY_ARCHITECTURE}-ld.bfd ld.bfd HINTS ${folder})
    mark_as_advanced(nibble_bfd_linker)
    foreach(linker "${CMAKE_LINKER}" "${nibble_bfd_linker}")
      if(EXISTS "${linker}")
        execute_process(COMMAND ${linker} --help OUTPUT_VARIABLE help ERROR_QUIET)
        if(help MATCHES "force-group-allocation")
          set(NIBBLE_LINKER ${linker} CACHE FILEPATH "Linker that makes nibble's kernels" FORCE)
          mark_as_advanced(NIBBLE_LINKER)
          break()
        endif()
      endif()
    endforeach()
  endif()
  foreach(tool NIBBLE_LINKER CMAKE_OBJCOPY CMAKE_NM CMAKE_OBJDUMP)
    if(NOT ${tool})
      message(FATAL_ERROR "nibble_add_dispatch needs GNU binutils: ${tool} is not set "
        "(the linker is to know --force-group-allocation)")
    endif()
  endforeach()
endfunction()
