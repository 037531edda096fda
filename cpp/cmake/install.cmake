# What `cmake --install` puts in place: headers, static libraries, and what find_package(rdquant) needs to give the target
# rdquant::rdquant. Python's wheel holds none of it.
include(CMakePackageConfigHelpers)

get_property(parts GLOBAL PROPERTY RDQUANT_PARTS)
# Without rdquant_gomp, which a program that uses OpenMP must not link: oneDNN, where it was found, then stays unused.
add_library(rdquant INTERFACE)
target_link_libraries(rdquant INTERFACE ${parts})
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/rdquant")
install(TARGETS rdquant rdquant_options ${parts} EXPORT rdquantTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT rdquantTargets NAMESPACE rdquant:: DESTINATION "${package}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/cpp/include/rdquant" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/rdquantConfig.cmake.in"
                              "${PROJECT_BINARY_DIR}/rdquantConfig.cmake" INSTALL_DESTINATION "${package}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/rdquantConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/rdquantConfig.cmake" "${PROJECT_BINARY_DIR}/rdquantConfigVersion.cmake"
        DESTINATION "${package}")
