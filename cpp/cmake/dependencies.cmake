# Every third party, once. Found, never fetched: from Debian (libeigen3-dev, doctest-dev) or from PyPI
# (cmeel-eigen, pybind11), which pip's isolated build puts on CMAKE_PREFIX_PATH.

find_package(Threads REQUIRED)

# cmeel wheels keep their CMake files below site-packages/cmeel.prefix.
foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND CMAKE_PREFIX_PATH "${prefix}/cmeel.prefix")
endforeach()
if(RDQUANT_PYTHON)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
  find_package(pybind11 CONFIG REQUIRED)
  list(APPEND CMAKE_PREFIX_PATH "${Python_SITELIB}/cmeel.prefix")
endif()
find_package(Eigen3 3.4 CONFIG QUIET)
if(NOT Eigen3_FOUND)
  # Eigen 5's version file refuses a request for 3.4, which it still serves.
  find_package(Eigen3 CONFIG REQUIRED)
endif()

if(RDQUANT_TESTS)
  find_package(doctest REQUIRED)
  if(CMAKE_CROSSCOMPILING)
    # The host's /usr/include, where it may lie, would hide the target's own headers.
    get_target_property(include_dir doctest::doctest INTERFACE_INCLUDE_DIRECTORIES)
    file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/headers")
    file(CREATE_LINK "${include_dir}/doctest" "${PROJECT_BINARY_DIR}/headers/doctest" SYMBOLIC)
    set_target_properties(doctest::doctest PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${PROJECT_BINARY_DIR}/headers")
  endif()
endif()
if(RDQUANT_TIDY)
  find_program(RDQUANT_CLANG_TIDY NAMES clang-tidy clang-tidy-19 clang-tidy-18 clang-tidy-17 clang-tidy-16 clang-tidy-15
                                        clang-tidy-14 REQUIRED)
endif()

# oneDNN (PyPI: onednn-devel-cpu-gomp) runs on 64-bit x86 only as we need it.
if(RDQUANT_ONEDNN)
  find_package(dnnl 3.2 CONFIG QUIET)
endif()
if(dnnl_FOUND)
  message(STATUS "oneDNN ${dnnl_VERSION}: ${dnnl_DIR}")
else()
  message(STATUS "oneDNN: left out")
endif()
