# Compiler flags that every target shares, and the helper that declares a layer.

# Results must not depend on the compiler's taste: products and sums are fused only where the source says fma. Programs
# that use the installed library get these flags too: the linker keeps one copy of an inline function, from either.
set(numeric_flags -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # AVX2, FMA and F16C are the floor (every x86 server since 2013); AVX-512 code is chosen at run time.
  list(APPEND numeric_flags -mavx2 -mfma -mf16c)
endif()
set(flags -Wall -Wextra ${numeric_flags})
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${flags}>")
# The host half of a .cu file has the same flags: the linker keeps one copy of an inline function, from either.
list(JOIN flags "," host_flags)
add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-lineinfo;-Xcompiler=${host_flags}>")

if(ZO2_SANITIZE)
  # Checked containers besides; the first finding ends the program, so that a test cannot pass over it.
  add_compile_options(-fsanitize=${ZO2_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_compile_definitions(_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=${ZO2_SANITIZE})
endif()

# ccache finds what another clone compiled only if paths are relative to the clone, and takes precompiled headers only
# when told that their macros do not matter.
find_program(CCACHE ccache)
if(CCACHE)
  set(launcher env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()

# zo2_layer(NAME USES targets... [LIBTORCH files...]): the library zo2_NAME from src/NAME/*.cpp, alias zo2::NAME.
# LIBTORCH names the files that include LibTorch: only they see its headers (which cost 10 s a file, and bring another
# fmt), precompiled.
function(zo2_layer name)
  cmake_parse_arguments(arg "" "" "USES;LIBTORCH" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp ${CMAKE_SOURCE_DIR}/src/${name}/cpu/*.cpp)
  list(TRANSFORM arg_LIBTORCH PREPEND ${CMAKE_SOURCE_DIR}/src/${name}/)
  list(REMOVE_ITEM sources ${arg_LIBTORCH} "")
  add_library(zo2_${name} STATIC ${sources})
  target_include_directories(zo2_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src>
    $<INSTALL_INTERFACE:include/zo2>)
  target_compile_features(zo2_${name} PUBLIC cxx_std_20)
  target_compile_options(zo2_${name} INTERFACE "$<INSTALL_INTERFACE:$<$<COMPILE_LANGUAGE:CXX>:${numeric_flags}>>")
  target_link_libraries(zo2_${name} PUBLIC ${arg_USES})
  if(arg_LIBTORCH)
    add_library(zo2_${name}_libtorch OBJECT ${arg_LIBTORCH})
    target_link_libraries(zo2_${name}_libtorch PRIVATE ${arg_USES} zo2::libtorch)
    target_precompile_headers(zo2_${name}_libtorch PRIVATE <ATen/ATen.h>)
    target_sources(zo2_${name} PRIVATE $<TARGET_OBJECTS:zo2_${name}_libtorch>)
    target_link_libraries(zo2_${name} PUBLIC $<LINK_ONLY:zo2::libtorch>)
  endif()
  add_library(zo2::${name} ALIAS zo2_${name})
endfunction()
