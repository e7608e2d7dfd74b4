# What `cmake --install` puts in place: headers, the CMake package and nibble.pc; the command too where it
# was built (examples/CMakeLists.txt). Nothing needs to be built first.
include(CMakePackageConfigHelpers)
set(nibble_config_folder ${CMAKE_INSTALL_DATADIR}/cmake/nibble)


install(DIRECTORY include/nibble DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.hpp)
install(TARGETS nibble EXPORT nibble-targets)
install(EXPORT nibble-targets NAMESPACE nibble:: DESTINATION ${nibble_config_folder})
configure_package_config_file(cmake/nibble-config.cmake.in nibble-config.cmake
  INSTALL_DESTINATION ${nibble_config_folder})
write_basic_package_version_file(nibble-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/nibble-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/nibble-config-version.cmake
  cmake/nibble-dependencies.cmake
  cmake/nibble-dispatch.cmake
  cmake/nibble-dispatch-kernels.cpp
  cmake/nibble-dispatch-localise.cmake
  cmake/nibble-dispatch-tables.cpp.in
  cmake/nibble-kernels.cmake
  DESTINATION ${nibble_config_folder})
install(FILES cmake/nibble-dispatch/CMakeLists.txt DESTINATION ${nibble_config_folder}/nibble-dispatch)

file(RELATIVE_PATH nibble_pc_to_include
  ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/nibble.pc.in nibble.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/nibble.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
