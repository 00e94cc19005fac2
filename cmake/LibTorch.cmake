# LibTorch from the torch package in ZO2_TORCH_DIR (site-packages/torch), without find_package(Torch): the wheel's own
# configuration asks for CUDA targets that CUDA 13 no longer has, and the CPU engine needs only libtorch_cpu and libc10.
# Read by the build and by the installed package (zo2-config.cmake). Defines
#   zo2::libtorch                               headers and CPU libraries
#   zo2::c10_cuda zo2::cudart zo2::cublaslt     where the wheel is one for CUDA 13: a process must have one CUDA runtime,
#                                               whatever compiled it, so it is LibTorch's
add_library(zo2::libtorch INTERFACE IMPORTED)
target_include_directories(zo2::libtorch SYSTEM INTERFACE ${ZO2_TORCH_DIR}/include)
target_link_libraries(zo2::libtorch INTERFACE ${ZO2_TORCH_DIR}/lib/libtorch_cpu.so ${ZO2_TORCH_DIR}/lib/libc10.so)
# The wheel brings headers of another fmt, without its library; private to the files that include LibTorch.
target_compile_definitions(zo2::libtorch INTERFACE FMT_HEADER_ONLY=1)

cmake_path(SET zo2_cuda_wheel NORMALIZE ${ZO2_TORCH_DIR}/../nvidia/cu13)
foreach(zo2_library "c10_cuda ${ZO2_TORCH_DIR}/lib/libc10_cuda.so" "cudart ${zo2_cuda_wheel}/lib/libcudart.so.13"
        "cublaslt ${zo2_cuda_wheel}/lib/libcublasLt.so.13")
  separate_arguments(zo2_library)
  list(POP_FRONT zo2_library zo2_target zo2_file)
  if(EXISTS ${zo2_file})
    add_library(zo2::${zo2_target} SHARED IMPORTED)
    set_target_properties(zo2::${zo2_target} PROPERTIES IMPORTED_LOCATION ${zo2_file})
  endif()
endforeach()
