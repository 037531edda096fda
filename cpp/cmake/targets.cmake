include(GNUInstallDirs)

# Flags that every target of ours gets, as an interface library. Who links the installed library chooses his own.
add_library(rdquant_options INTERFACE)
target_compile_features(rdquant_options INTERFACE cxx_std_20)
target_include_directories(rdquant_options INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/cpp/include>"
                                                     "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
set_target_properties(rdquant_options PROPERTIES EXPORT_NAME options)
# No contraction: a*b+c rounds twice on every machine, so that all kernels agree to the bit. Without errno and traps
# (which nobody here reads) the compiler vectorises loops with comparisons; results stay the same.
set(flags -Wall -Wextra -Wpedantic -Wshadow -ffp-contract=off -fno-math-errno -fno-trapping-math -Wno-psabi)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND flags -march=x86-64-v2 -mtune=generic)
endif()
if(RDQUANT_SANITIZE)
  list(APPEND flags -fsanitize=${RDQUANT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(rdquant_options INTERFACE -fsanitize=${RDQUANT_SANITIZE})
  list(APPEND flags -fno-sanitize=null,vptr) # ends the program anyway, with its stack, and costs minutes of compilation
endif()
target_compile_options(rdquant_options INTERFACE "$<BUILD_INTERFACE:${flags}>")

# rdquant_part(NAME [PART...]): the library rdquant_NAME from cpp/src/NAME, which may use the named parts only.
# A file called *_avx2.cpp, *_avx512.cpp, *_avx512X.cpp (X: vpopcntdq, vnni, vbmi, amx) or *_dotprod.cpp (ARM) gets the flags of that instruction
# set, it alone, and is left out on other processors.
function(rdquant_part name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/src/${name}/*.cpp")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "_avx(2|512|512vpopcntdq|512vnni|512vbmi|512amx)\\.cpp$")
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    list(FILTER sources EXCLUDE REGEX "_dotprod\\.cpp$")
  endif()
  foreach(source IN LISTS sources)
    if(source MATCHES "_dotprod\\.cpp$")
      set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
    elseif(source MATCHES "_avx2\\.cpp$")
      set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mbmi;-mbmi2;-mlzcnt")
    elseif(source MATCHES "_avx512\\.cpp$")
      set_source_files_properties(
        "${source}" PROPERTIES COMPILE_OPTIONS
                               "-march=x86-64-v4;-mprefer-vector-width=512")
    elseif(source MATCHES "_avx512amx\\.cpp$") # tiles are in assembler
      set_source_files_properties(
        "${source}" PROPERTIES COMPILE_OPTIONS "-march=x86-64-v4;-mprefer-vector-width=512;-mavx512vnni")
    elseif(source MATCHES "_(avx512)(vpopcntdq|vnni|vbmi)\\.cpp$")
      set_source_files_properties(
        "${source}" PROPERTIES COMPILE_OPTIONS "-march=x86-64-v4;-mprefer-vector-width=512;-mavx512${CMAKE_MATCH_2}")
    endif()
    if(RDQUANT_SANITIZE AND source MATCHES "/int8/convolution/.*_avx512\\.cpp$")
      # The longest of all; it differs from the code for VNNI, which is checked, in sizes of tiles and one instruction.
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_OPTIONS "-fno-sanitize=all")
    elseif(RDQUANT_SANITIZE AND source MATCHES "_avx512(vnni|amx)?\\.cpp$|/int8/.*_avx2\\.cpp$")
      # Minutes to compile; the same code is checked with the other instruction sets.
      set_property(SOURCE "${source}" APPEND PROPERTY COMPILE_OPTIONS "-fno-sanitize=undefined")
    endif()
  endforeach()
  add_library(rdquant_${name} STATIC ${sources})
  target_link_libraries(rdquant_${name} PUBLIC rdquant_options)
  target_include_directories(rdquant_${name} PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src") # private headers, by part
  set_target_properties(rdquant_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                                                   EXPORT_NAME ${name})
  if(RDQUANT_SANITIZE AND name MATCHES "^(program|runtime)$")
    # Minutes of compilation less: bytes of files, which might lie anywhere, never get that far, and AddressSanitizer's
    # checks are called instead of expanded.
    target_compile_options(rdquant_${name} PRIVATE -fno-sanitize=alignment)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND RDQUANT_SANITIZE MATCHES "address")
      target_compile_options(rdquant_${name} PRIVATE --param=asan-instrumentation-with-call-threshold=0)
    endif()
  endif()
  set_property(GLOBAL APPEND PROPERTY RDQUANT_PARTS rdquant_${name})
  if(RDQUANT_TIDY)
    set_target_properties(rdquant_${name} PROPERTIES CXX_CLANG_TIDY "${RDQUANT_CLANG_TIDY};--warnings-as-errors=*")
  endif()
  if(NOT RDQUANT_TIDY) # which reads each file by itself
    rdquant_units(rdquant_${name})
  endif()
  foreach(part IN LISTS ARGN)
    target_link_libraries(rdquant_${name} PUBLIC rdquant_${part})
  endforeach()
endfunction()

# rdquant_units(TARGET): each folder of sources is one unit to the compiler, which reads headers and instantiates templates
# once for all of them. Names in unnamed namespaces are therefore unique in a folder. Leaf files of kernels stay apart.
function(rdquant_units target)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources EXCLUDE REGEX "_(baseline|dotprod|avx(2|512|512vpopcntdq|512vnni|512vbmi|512amx))\\.cpp$")
  foreach(source IN LISTS sources)
    file(RELATIVE_PATH folder "${PROJECT_SOURCE_DIR}/cpp/src" "${source}/..")
    string(REPLACE "/" "_" folder "${folder}")
    set_source_files_properties("${source}" PROPERTIES UNITY_GROUP "${folder}")
  endforeach()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  # g++ takes an included .cpp for a header, whose unnamed namespaces would differ from file to file.
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endfunction()

# rdquant_test(FILE PART...): one test program, run by ctest under the file's name.
function(rdquant_test file)
  get_filename_component(name "${file}" NAME_WE)
  add_executable(${name} "${file}")
  foreach(part IN LISTS ARGN)
    target_link_libraries(${name} PRIVATE rdquant_${part})
  endforeach()
  target_link_libraries(${name} PRIVATE test_main doctest::doctest)
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cpp/src") # what has no public header is tested too
  add_test(NAME ${name} COMMAND ${name})
endfunction()
