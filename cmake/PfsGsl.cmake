# SPDX-License-Identifier: GPL-3.0-or-later
# GSL over a fast CBLAS: GSL::gsl.  GSL's own CBLAS works too, and takes about
# ten times as long to learn.
set(PFS_CBLAS "auto" CACHE STRING
  "CBLAS under GSL: auto, openblas, gslcblas, or the path of a library")

if(PFS_CBLAS STREQUAL "auto" OR PFS_CBLAS STREQUAL "openblas")
  # The serial one first: the other starts a thread for each core when it is
  # loaded.
  find_library(PFS_OPENBLAS openblas
    PATH_SUFFIXES openblas-serial openblas-pthread)
  if(PFS_OPENBLAS)
    set(GSL_CBLAS_LIBRARY ${PFS_OPENBLAS})
  elseif(PFS_CBLAS STREQUAL "openblas")
    message(FATAL_ERROR "PFS_CBLAS=openblas: not found")
  endif()
elseif(NOT PFS_CBLAS STREQUAL "gslcblas")
  set(GSL_CBLAS_LIBRARY ${PFS_CBLAS})
endif()
find_package(GSL 2.7 REQUIRED)
message(STATUS "CBLAS: ${GSL_CBLAS_LIBRARY}")

if(GSL_CBLAS_LIBRARY MATCHES openblas)
  set_property(TARGET GSL::gsl APPEND PROPERTY
    INTERFACE_COMPILE_DEFINITIONS PFS_OPENBLAS)
endif()

# pfs_kernels(TARGET FILE NAME FLAGS...): FILE once more, for an instruction
# set, as table NAME.  Optimised in every build: nothing to step through, and
# tests that learn would take minutes.
function(pfs_kernels target file name)
  add_library(${name} OBJECT ${file})
  target_compile_options(${name} PRIVATE
    -O3 -fopenmp-simd -fno-math-errno -fno-trapping-math ${ARGN})
  if(CMAKE_C_COMPILER_ID MATCHES Clang)
    target_compile_options(${name} PRIVATE -Wno-pass-failed)
  endif()
  target_compile_definitions(${name} PRIVATE LSTM_KERNELS=${name})
  target_link_libraries(${name} PRIVATE pfs_base pfs_warnings)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${name}>)
endfunction()
