# What nibble::nibble links against; used by the build and by the installed package alike.
include(CMakeFindDependencyMacro)

find_dependency(fmt)
find_dependency(nlohmann_json)
find_dependency(ZLIB)

# xsimd's package file accepts its own major version only, so it is found without one and checked here.
find_dependency(xsimd)
if(xsimd_VERSION VERSION_LESS 8.1)
  message(FATAL_ERROR "nibble needs xsimd 8.1 or later, found ${xsimd_VERSION} in ${xsimd_DIR}")
endif()
