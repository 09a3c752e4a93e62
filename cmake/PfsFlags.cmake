# SPDX-License-Identifier: GPL-3.0-or-later
# Warnings, hardening and instrumentation, as one interface target.
add_library(pfs_warnings INTERFACE)
target_compile_options(pfs_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef
  -Wformat=2 -Wvla -Wconversion -Wno-sign-conversion)
target_compile_definitions(pfs_warnings INTERFACE _GNU_SOURCE
  _FILE_OFFSET_BITS=64)
if(CMAKE_C_COMPILER_ID MATCHES Clang)
  # One lock has many names (s->lock, img->s->lock, l->s->lock); "precise"
  # would want them spelled alike at every call.
  target_compile_options(pfs_warnings INTERFACE
    -Wthread-safety -Wno-thread-safety-precise)
endif()
if(PFS_WERROR)
  target_compile_options(pfs_warnings INTERFACE -Werror)
endif()

if(PFS_SANITIZE)
  # What UBSan finds must end the program, or no exit status shows it.
  add_compile_options(-fsanitize=${PFS_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PFS_SANITIZE})
else()
  add_compile_options(-fstack-protector-strong -fstack-clash-protection
    $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
  add_link_options(LINKER:-z,relro LINKER:-z,now)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

if(PFS_COVERAGE)
  # Threads share the counts: gcovr refuses sums that came out negative.
  add_compile_options(--coverage -fprofile-update=atomic -O0)
  add_link_options(--coverage)
endif()
