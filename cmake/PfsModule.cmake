# SPDX-License-Identifier: GPL-3.0-or-later
# pfs_module(NAME SOURCES ... [USES ...] [EXPOSES ...])
#   USES     needed only by our .c files: its headers reach nobody else
#   EXPOSES  its types appear in our public headers
# A folder's public headers are <folder>/include/pfs/; including the header of
# a folder that is not named here stops the build with "No such file".
function(pfs_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;EXPOSES" ${ARGN})
  add_library(pfs_${name} STATIC ${arg_SOURCES})
  target_include_directories(pfs_${name}
    PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(pfs_${name}
    PUBLIC ${arg_EXPOSES} PRIVATE ${arg_USES} pfs_warnings)
  set_property(GLOBAL APPEND PROPERTY PFS_MODULES pfs_${name})
endfunction()
