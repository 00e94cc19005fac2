# Packages from the distribution, and LibTorch from the torch wheel.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)

if(NOT ZO2_TORCH_DIR)
  find_program(ZO2_PYTHON NAMES python3 REQUIRED)
  execute_process(COMMAND ${ZO2_PYTHON} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(ZO2_TORCH_DIR "${found}" CACHE PATH "The torch package of a Python environment (site-packages/torch)" FORCE)
endif()
if(NOT EXISTS ${ZO2_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch not found in '${ZO2_TORCH_DIR}': run scripts/setup.sh, or pass -DZO2_TORCH_DIR=.../site-packages/torch")
endif()
include(LibTorch)
