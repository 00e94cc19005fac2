// What a cell will use, before it runs and without a GPU: memory on the device and on the host, and whether that fits.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "experiment/manifest.h"

namespace zo2 {

enum class Fit : uint8_t {
  fits,
  does_not_fit,
  may_fit,     // without a plan: the textbook baseline, of which what it takes at least fits, and other programs
  cannot_run,  // not for lack of memory: say, a checkpoint that is not there
  projected,   // to be forecast, not run
  skipped,     // excluded by the manifest
};
std::string_view fit_name(Fit fit);

// A GPU of this machine.
struct LocalGpu {
  std::string name;
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;  // now
};
// nullopt where NVML shows none.
std::optional<LocalGpu> local_gpu();

// What is not known is absent. A cell on CPU has its arena in host memory and nothing on a device.
struct CellPlan {
  Fit fit = Fit::fits;
  std::string reason;     // unless it fits
  std::string judged_on;  // "cpu", or the GPU's name
  std::optional<int64_t> parameters;
  std::optional<int64_t> arena_bytes;
  // As NVML shows it, the idle reading included. At least that, for the textbook baseline.
  std::optional<int64_t> device_bytes;
  std::optional<int64_t> host_bytes;
  std::optional<double> step_ms;  // forecast on the hardware description
  std::optional<double> tokens_per_s;
  std::optional<double> seconds;  // of all steps of one repeat
};

struct Machine {
  std::optional<LocalGpu> gpu;
  int64_t host_available_bytes = 0;
};

// Judges cells on the GPU that is here, else on the one that engine.hardware describes, and on this machine's host
// memory; those with engine.device cpu on host memory only. Cells with the same plan share it, and plans are made on
// all cores, so that a thousand cells take a moment. Throws UsageError or IoError for a hardware description that
// cannot be read; what is wrong with one cell is its verdict.
std::vector<CellPlan> plan_cells(const std::vector<Cell>& cells, const Machine& machine, bool with_forecast);

}  // namespace zo2
