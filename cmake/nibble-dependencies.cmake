# What nibble::nibble links against; used by the build and by the installed package alike.
include(CMakeFindDependencyMacro)

# xsimd's package file accepts its own major version only, so it is found without one and checked here.
foreach(package fmt nlohmann_json ZLIB xsimd)
  if(CMAKE_CURRENT_LIST_DIR STREQUAL "${PROJECT_SOURCE_DIR}/cmake")
    find_package(${package} REQUIRED)
  else()
    find_dependency(${package})
  endif()
endforeach()
if(xsimd_VERSION VERSION_LESS 8.1)
  message(FATAL_ERROR "nibble needs xsimd 8.1 or later, found ${xsimd_VERSION} in ${xsimd_DIR}")
endif()

# Its headers alone: Debian's package links xtl, which it neither installs nor needs.
if(NOT TARGET nibble::xsimd)
  add_library(nibble::xsimd INTERFACE IMPORTED GLOBAL)
  get_target_property(nibble_xsimd_folders xsimd INTERFACE_INCLUDE_DIRECTORIES)
  set_target_properties(nibble::xsimd PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${nibble_xsimd_folders}")
endif()
