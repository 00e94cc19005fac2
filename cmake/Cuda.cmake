# CUDA is compiled where it can be: with the machine's toolkit, else with nvcc from PyPI (scripts/setup.sh installs it
# and names it in CUDACXX). Sets ZO2_HAVE_CUDA, and defines
#   zo2::nvtx          NVTX 3 (headers only); ZO2_HAVE_NVTX where they are found, so always link it
#   zo2::cudart        (of LibTorch.cmake) with the headers of the toolkit, with CUDA on
#   zo2_add_cuda(TARGET)  adds src/runtime/cuda to a layer, with CUDA on
set(ZO2_CUDA_ARCHITECTURES "80-real;86-real;89-real;90" CACHE STRING
  "A100, RTX 30, RTX 40, H100; newer ones start from the last one's PTX")

# Finds nvcc and tries it. Leaves the reason in ZO2_CUDA_OFF_BECAUSE when CUDA is impossible.
macro(zo2_find_cuda)
  unset(ZO2_CUDA_OFF_BECAUSE)
  if(CMAKE_CUDA_COMPILER)
    set(ZO2_NVCC ${CMAKE_CUDA_COMPILER})
  else()
    unset(CMAKE_CUDA_COMPILER CACHE)  # a failure of an earlier configuration
    find_program(ZO2_NVCC NAMES "$ENV{CUDACXX}" nvcc HINTS $ENV{CUDA_HOME} PATHS /usr/local/cuda PATH_SUFFIXES bin NO_CACHE)
  endif()
  if(NOT EXISTS ${ZO2_TORCH_DIR}/lib/libtorch_cuda.so OR NOT TARGET zo2::cudart)
    set(ZO2_CUDA_OFF_BECAUSE "the torch wheel in ${ZO2_TORCH_DIR} is not one for CUDA 13")
  elseif(NOT ZO2_NVCC)
    set(ZO2_CUDA_OFF_BECAUSE "there is no nvcc; scripts/setup.sh installs one")
  else()
    file(STRINGS ${zo2_cuda_wheel}/include/cuda.h version REGEX "^#define CUDA_VERSION ")
    string(REGEX REPLACE ".* ([0-9]+)0([0-9])0$" "\\1.\\2" version "${version}")  # 13000 is 13.0
    execute_process(COMMAND ${ZO2_NVCC} --version OUTPUT_VARIABLE nvcc_says ERROR_QUIET)
    if(nvcc_says MATCHES "release ${version},")
      set(ENV{CUDACXX} ${ZO2_NVCC})
      set(CMAKE_CUDA_ARCHITECTURES ${ZO2_CUDA_ARCHITECTURES})
      check_language(CUDA)
      if(NOT CMAKE_CUDA_COMPILER)
        set(ZO2_CUDA_OFF_BECAUSE "${ZO2_NVCC} compiles nothing here: see CMakeFiles/CMakeConfigureLog.yaml")
      endif()
    else()
      set(ZO2_CUDA_OFF_BECAUSE "${ZO2_NVCC} is not of CUDA ${version}, which LibTorch is built with")
    endif()
  endif()
endmacro()

set(ZO2_HAVE_CUDA OFF)
if(NOT ZO2_CUDA)
  message(STATUS "CUDA: off (ZO2_CUDA=${ZO2_CUDA})")
else()
  include(CheckLanguage)
  zo2_find_cuda()
  if(NOT ZO2_CUDA_OFF_BECAUSE)
    set(ZO2_HAVE_CUDA ON)
  elseif(ZO2_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA: off (${ZO2_CUDA_OFF_BECAUSE})")
  else()
    message(FATAL_ERROR "ZO2_CUDA=${ZO2_CUDA}, but ${ZO2_CUDA_OFF_BECAUSE}")
  endif()
endif()

if(ZO2_HAVE_CUDA)
  enable_language(CUDA)
  message(STATUS "CUDA: on (${CMAKE_CUDA_COMPILER}, for ${CMAKE_CUDA_ARCHITECTURES})")
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)

  target_include_directories(zo2::cudart SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
endif()

# LIBTORCH files see LibTorch's headers, as in zo2_layer. LibTorch's CUDA kernels are loaded at run time, by dlopen: they
# take a second to load, and most commands need no device.
function(zo2_add_cuda layer)
  cmake_parse_arguments(arg "" "" "USES;LIBTORCH" ${ARGN})
  set(folder ${CMAKE_SOURCE_DIR}/src/${layer}/cuda)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cu ${folder}/*.cpp)
  list(TRANSFORM arg_LIBTORCH PREPEND ${folder}/)
  list(REMOVE_ITEM sources ${arg_LIBTORCH})
  add_library(zo2_${layer}_cuda OBJECT ${sources})
  target_link_libraries(zo2_${layer}_cuda PRIVATE ${arg_USES} zo2::nvtx zo2::cudart)
  add_library(zo2_${layer}_cuda_libtorch OBJECT ${arg_LIBTORCH})
  target_link_libraries(zo2_${layer}_cuda_libtorch PRIVATE ${arg_USES} zo2::libtorch zo2::cudart)
  foreach(part cuda cuda_libtorch)
    target_include_directories(zo2_${layer}_${part} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_sources(zo2_${layer} PRIVATE $<TARGET_OBJECTS:zo2_${layer}_${part}>)
  endforeach()
  target_compile_definitions(zo2_${layer} PUBLIC ZO2_HAVE_CUDA)
  target_link_libraries(zo2_${layer} PUBLIC $<BUILD_INTERFACE:zo2::nvtx> zo2::cudart
    $<LINK_ONLY:zo2::cublaslt> $<LINK_ONLY:zo2::c10_cuda>)
endfunction()

find_path(ZO2_NVTX_INCLUDE nvtx3/nvToolsExt.h PATHS ${zo2_cuda_wheel}/include ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}
  NO_DEFAULT_PATH NO_CACHE)
add_library(zo2_nvtx INTERFACE)
if(ZO2_NVTX_INCLUDE)
  target_include_directories(zo2_nvtx SYSTEM INTERFACE ${ZO2_NVTX_INCLUDE})
  target_compile_definitions(zo2_nvtx INTERFACE ZO2_HAVE_NVTX)
  target_link_libraries(zo2_nvtx INTERFACE ${CMAKE_DL_LIBS})
endif()
add_library(zo2::nvtx ALIAS zo2_nvtx)
