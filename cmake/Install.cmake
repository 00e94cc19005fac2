# `cmake --install`: the engine as a library. find_package(zo2) then gives zo2::optimizer, zo2::task, ... (one target a
# layer, each with what it needs); examples/ is a project that uses it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/zo2)

foreach(layer base noise program model store runtime task optimizer)
  set_target_properties(zo2_${layer} PROPERTIES EXPORT_NAME ${layer})
  install(TARGETS zo2_${layer} EXPORT zo2-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${layer}/*.h)
  install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/zo2/${layer})
endforeach()
install(EXPORT zo2-targets NAMESPACE zo2:: DESTINATION ${package_folder})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/zo2-config.cmake.in ${CMAKE_BINARY_DIR}/zo2-config.cmake
  INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/zo2-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/zo2-config.cmake ${CMAKE_BINARY_DIR}/zo2-config-version.cmake
  ${CMAKE_CURRENT_LIST_DIR}/LibTorch.cmake DESTINATION ${package_folder})
