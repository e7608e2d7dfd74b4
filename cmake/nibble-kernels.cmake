# nibble_add_kernels(target...): for programs that are compiled for the machines they run on.
#
# Compiles nibble's kernels in one object with the target's own flags and links it to the target, whose
# sources then compile none of them: a unit that calls matmul and dequantize takes seconds less than half
# a minute. Results have the same bits as without, for it is the same code. Without this call the
# library is header-only, and every unit that calls them compiles them.
#
# Targets of one directory whose flags are equal share one object. The flags are those that the targets
# have when CMake reaches the end of the directory: compile options, their own and those of what they
# link, definitions that kernels could notice (NDEBUG, and names that begin with _, NIBBLE_ or XSIMD_),
# CMAKE_CXX_FLAGS and the C++ standard. Flags of single source files are not among them; a source that
# they compile for another instruction set does not link, and the linker names the kernels that it
# lacks. Kernels are neither instrumented by sanitizers nor subject to link-time optimization or
# -ffast-math, and give no warnings; the target may do all four.
include_guard(GLOBAL)

function(nibble_add_kernels)
  foreach(target IN LISTS ARGN)
    get_target_property(type ${target} TYPE)
    get_target_property(folder ${target} SOURCE_DIR)
    if(NOT type MATCHES "^(EXECUTABLE|(STATIC|SHARED|MODULE|OBJECT)_LIBRARY)$")
      message(FATAL_ERROR "nibble_add_kernels: ${target} compiles nothing (${type})")
    elseif(NOT folder STREQUAL CMAKE_CURRENT_SOURCE_DIR)
      message(FATAL_ERROR "nibble_add_kernels: call it for ${target} in ${folder}, where its flags are")
    endif()
    target_compile_definitions(${target} PRIVATE NIBBLE_KERNELS_ELSEWHERE)
    cmake_language(EVAL CODE "cmake_language(DEFER CALL nibble_link_kernels [[${target}]])")
  endforeach()
endfunction()

# Links the object that fits the target's flags, which is made for the first target that needs it.
function(nibble_link_kernels target)
  nibble_collect_flags(${target} flags)
  string(SHA1 key "${flags}")
  set(property NIBBLE_KERNELS_${key})
  get_property(library DIRECTORY PROPERTY ${property})
  if(NOT library)
    set(library ${target}_nibble_kernels)
    add_library(${library} OBJECT EXCLUDE_FROM_ALL
      ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/nibble-dispatch-kernels.cpp)
    set(definitions $<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>)
    set(definitions $<FILTER:${definitions},INCLUDE,^\(NDEBUG|_|NIBBLE_|XSIMD_\)>)
    set(definitions $<FILTER:${definitions},EXCLUDE,^NIBBLE_KERNELS_ELSEWHERE$>)
    target_link_libraries(${library} PRIVATE nibble::nibble)
    target_compile_definitions(${library} PRIVATE ${definitions})
    target_compile_options(${library} PRIVATE $<TARGET_PROPERTY:${target},COMPILE_OPTIONS>
      $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-w -fno-lto -fno-sanitize=all -fno-fast-math>)
    set_target_properties(${library} PROPERTIES
      POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF UNITY_BUILD OFF)
    foreach(name CXX_STANDARD CXX_EXTENSIONS COMPILE_FLAGS)
      get_target_property(value ${target} ${name})
      if(NOT value STREQUAL "value-NOTFOUND")
        set_target_properties(${library} PROPERTIES ${name} "${value}")
      endif()
    endforeach()
    set_property(DIRECTORY PROPERTY ${property} ${library})
  endif()
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
endfunction()

# What decides a target's flags, as it is written: generator expressions are not evaluated yet. Where one
# asks for a property of the target that it belongs to, the target's name is added.
function(nibble_collect_flags target variable)
  set(flags)
  foreach(name CXX_STANDARD CXX_EXTENSIONS COMPILE_FLAGS)
    get_target_property(value ${target} ${name})
    list(APPEND flags "${name}=${value}")
  endforeach()
  set(prefix "")
  set(seen)
  set(waiting ${target})
  while(waiting)
    list(POP_FRONT waiting item)
    if(item MATCHES "^[$]<(LINK_ONLY|BUILD_INTERFACE|INSTALL_INTERFACE):(.*)>$")
      set(item ${CMAKE_MATCH_2})
    endif()
    if(item IN_LIST seen)
      continue()
    endif()
    list(APPEND seen ${item})
    if(TARGET ${item})
      get_target_property(options ${item} ${prefix}COMPILE_OPTIONS)
      get_target_property(definitions ${item} ${prefix}COMPILE_DEFINITIONS)
      get_target_property(linked ${item} ${prefix}LINK_LIBRARIES)
      list(FILTER definitions INCLUDE REGEX "^(NDEBUG|_|NIBBLE_|XSIMD_)|[$]<")
      foreach(part options linked)
        if(NOT ${part})
          set(${part})
        endif()
      endforeach()
      list(APPEND flags ${options} ${definitions})
      list(APPEND waiting ${linked})
      set(prefix INTERFACE_)
    elseif(item MATCHES "[$]<")
      list(APPEND flags "${item}")
    endif()
  endwhile()
  if(flags MATCHES "TARGET_PROPERTY:[^,>]*>")
    list(APPEND flags "${target}")
  endif()
  set(${variable} "${flags}" PARENT_SCOPE)
endfunction()
