// What a machine can do, as the forecast needs it: read from experiments/hardware/NAME.yaml.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace zo2 {

// Rates are decimal: GB/s is 1e9 bytes a second, TFLOP/s 1e12 operations, Gparam/s 1e9 parameters.
struct Hardware {
  std::string name;
  double upload_gbps = 0;           // host to device alone
  double download_gbps = 0;         // device to host alone
  double duplex_upload_gbps = 0;    // while a download runs
  double duplex_download_gbps = 0;  // while an upload runs
  double gemm_tflops = 0;           // 16-bit, large
  double gemm_ramp_tokens = 0;      // tokens at which a GEMM runs at half its rate
  double attention_tflops = 0;
  double visit_gparams = 0;           // parameters a second with one direction and one pending entry (two normals each)
  double memory_gbps = 0;             // device memory, for element-wise kernels
  double launch_us = 0;               // host cost of one operation
  double memory_mib = 0;              // of the device, as NVML counts it
  double idle_mib = 0;                // NVML reading of an idle device
  double context_mib = 0;             // context, kernels and libraries
  double workspace_mib = 0;           // cuBLAS
  double registered_mib_per_gib = 0;  // page tables of registered host memory

  int64_t memory_bytes() const;
  int64_t idle_bytes() const;
  // What NVML shows for an arena of this size and this much registered host memory, in bytes.
  int64_t nvml_bytes(int64_t arena_bytes, int64_t registered_bytes) const;
};

// Throws UsageError naming the file and the key that is missing, unknown or out of range: rates must be
// positive, everything else at least zero.
Hardware read_hardware(const std::filesystem::path& path);

}  // namespace zo2
