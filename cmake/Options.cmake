# Compiler flags that every target shares, and the helper that declares a layer.

# Results must not depend on the compiler's taste: products and sums are fused only where the source says fma.
set(flags -Wall -Wextra -ffp-contract=off -fno-math-errno)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # AVX2, FMA and F16C are the floor (every x86 server since 2013); AVX-512 code is chosen at run time.
  list(APPEND flags -mavx2 -mfma -mf16c)
endif()
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
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

# zo2_layer(NAME USES targets... [LIBTORCH]): the library zo2_NAME from src/NAME/*.cpp, alias zo2::NAME.
# LIBTORCH precompiles the ATen headers.
function(zo2_layer name)
  cmake_parse_arguments(arg "LIBTORCH" "" "USES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp ${CMAKE_SOURCE_DIR}/src/${name}/cpu/*.cpp)
  if(sources)
    add_library(zo2_${name} STATIC ${sources})
    target_include_directories(zo2_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(zo2_${name} PUBLIC ${arg_USES})
    if(arg_LIBTORCH)
      target_link_libraries(zo2_${name} PRIVATE zo2::libtorch)
      target_precompile_headers(zo2_${name} PRIVATE <ATen/ATen.h>)
    endif()
  else()
    add_library(zo2_${name} INTERFACE)
    target_include_directories(zo2_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(zo2_${name} INTERFACE ${arg_USES})
  endif()
  add_library(zo2::${name} ALIAS zo2_${name})
endfunction()
