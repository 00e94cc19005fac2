#include "experiment/metrics.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/bytes.h"
#include "experiment/config_schema.h"

namespace zo2 {
namespace {

constexpr std::array kMetrics{
    Metric{"tokens_per_s", "tok/s", Better::higher, Depends::speed,
           "batch x seq x steps / time of the window after warm-up; a token counts once a step"},
    Metric{"forward_tokens_per_s", "tok/s", Better::higher, Depends::speed, "the same, counting each forward pass"},
    Metric{"tokens_per_s_paper", "tok/s", Better::higher, Depends::speed,
           "ZO2's own figure: mean of the steps' rates over the last half of the steps"},
    Metric{"step_ms_mean", "ms", Better::lower, Depends::speed, "time of the window over its steps"},
    Metric{"step_ms_p50", "ms", Better::lower, Depends::speed, "median time between the ends of steps, in the window"},
    Metric{"step_ms_p90", "ms", Better::lower, Depends::speed, "90th percentile of the same"},
    Metric{"steps", "", Better::neither, Depends::plan,
           "steps run, warm-up included; fewer than train.steps where train.stop_within ended the run"},
    Metric{"window_steps", "", Better::neither, Depends::plan,
           "steps of the timed window: a whole number of write-back periods"},
    Metric{
        "step_ms_half_width", "", Better::lower, Depends::speed,
        "half the 95% confidence interval of step_ms_mean, by the write-back periods of the window, over step_ms_mean; "
        "five periods or more"},
    Metric{"exposed_transfer_fraction", "", Better::lower, Depends::speed,
           "of the time in which anything is copied, the share in which nothing computes (traced steps)"},
    Metric{"busiest_stream_fraction", "", Better::higher, Depends::speed,
           "busy time of the busiest of upload, compute and download over the wall time (traced steps)"},
    Metric{"copies_only_ms", "ms", Better::neither, Depends::speed,
           "a step's copies with nothing computed, in the same process: what the link allows"},
    Metric{"roofline_efficiency", "", Better::higher, Depends::speed, "copies_only_ms over step_ms_mean"},
    Metric{"wall_s", "s", Better::lower, Depends::speed, "life of the repeat's process"},
    Metric{"arena_bytes", "bytes", Better::lower, Depends::plan,
           "the one device allocation, measured (planned, when projected)"},
    Metric{"arena_planned_bytes", "bytes", Better::lower, Depends::plan, "the arena as the plan has it"},
    Metric{"library_peak_bytes", "bytes", Better::lower, Depends::plan,
           "most that libraries took for themselves in one operation, outside the arena (CPU GEMM packing)"},
    Metric{"allocator_reserved_peak_bytes", "bytes", Better::lower, Depends::plan,
           "most that LibTorch's caching allocator took from the driver (method mezo on CUDA)"},
    Metric{"allocator_allocated_peak_bytes", "bytes", Better::lower, Depends::plan,
           "most of it that tensors held at once (method mezo on CUDA)"},
    Metric{"tile_bytes", "bytes", Better::neither, Depends::plan, "largest tile"},
    Metric{"slots", "", Better::neither, Depends::plan, "pieces of the upload ring"},
    Metric{"resident_bytes", "bytes", Better::neither, Depends::plan, "weights that stay on the device"},
    Metric{"host_bytes", "bytes", Better::lower, Depends::host_memory, "weights in host memory"},
    Metric{"host_pinned_bytes", "bytes", Better::lower, Depends::host_memory, "page-locked host memory"},
    Metric{"pin_s", "s", Better::lower, Depends::speed, "time to page-lock it"},
    Metric{"upload_bytes_per_step", "bytes", Better::lower, Depends::plan,
           "host to device, mean over a write-back period"},
    Metric{"download_bytes_per_step", "bytes", Better::lower, Depends::plan,
           "device to host, mean over a write-back period"},
    Metric{"host_rss_peak_bytes", "bytes", Better::lower, Depends::host_memory,
           "peak resident set of the repeat's process"},
    Metric{"nvml_idle_bytes", "bytes", Better::neither, Depends::machine,
           "device memory in use (NVML, version 1) before the repeat's process starts"},
    Metric{"nvml_step_peak_bytes", "bytes", Better::lower, Depends::device_memory,
           "most device memory in use (NVML, version 1) at the ends of steps, read by the repeat's process"},
    Metric{"nvml_run_peak_bytes", "bytes", Better::lower, Depends::device_memory,
           "most device memory in use (NVML, version 1) in the process's life, loading included; polled every 20 ms"},
    Metric{"nvml_projected_bytes", "bytes", Better::lower, Depends::plan,
           "nvml_step_peak_bytes as the hardware description forecasts it; projected records only"},
    Metric{
        "gpu_sm_clock_mhz", "MHz", Better::neither, Depends::machine,
        "mean SM clock in the second half of the process's life, while the GPU drew more power than before the start"},
    Metric{"gpu_wait_s", "s", Better::neither, Depends::machine,
           "time that the GPU was given before the start to become free of other processes and cool"},
    Metric{"gpu_start_temperature_c", "C", Better::neither, Depends::machine, "core temperature before the start"},
    Metric{"gpu_temperature_c", "C", Better::neither, Depends::machine,
           "highest core temperature in the process's life"},
    Metric{"gpu_power_w", "W", Better::neither, Depends::machine,
           "mean power draw of the board in the second half of the process's life"},
    Metric{"pcie_link_generation", "", Better::neither, Depends::machine,
           "highest PCIe generation that the link ran at"},
    Metric{"pcie_link_width", "", Better::neither, Depends::machine, "most PCIe lanes that the link ran with"},
    Metric{"loss_first", "", Better::lower, Depends::loss, "mean of loss_plus and loss_minus, first step"},
    Metric{"loss_last", "", Better::lower, Depends::loss, "the same, last step"},
    Metric{"selected_step", "", Better::neither, Depends::loss,
           "the step after which the weights that the run ends with were evaluated"},
    Metric{"test_loss", "", Better::lower, Depends::loss,
           "loss by train.objective of those weights on the task's eval split"},
    Metric{"test_accuracy", "", Better::higher, Depends::loss,
           "share of the eval split's examples whose likeliest candidate is right"},
    Metric{"test_accuracy_error", "", Better::neither, Depends::loss,
           "its binomial standard error, sqrt(p (1 - p) / n)"},
    Metric{"test_f1", "", Better::higher, Depends::loss,
           "mean F1 over normalised words of the answers generated for the eval split, best over the right ones"},
    Metric{"test_f1_error", "", Better::neither, Depends::loss, "its standard error, from the sample"},
    Metric{"test_exact_match", "", Better::higher, Depends::loss,
           "share of those answers that are, normalised, a right one"},
    Metric{"test_exact_match_error", "", Better::neither, Depends::loss,
           "its binomial standard error, sqrt(p (1 - p) / n)"},
    Metric{"test_examples", "", Better::neither, Depends::plan, "n, the examples of the eval split"},
    Metric{"gradient_nonzero_fraction", "", Better::higher, Depends::loss,
           "share of steps with a finite, non-zero gradient"},
    Metric{"parameters", "", Better::neither, Depends::plan, "elements of all parameters; a tied table counts once"},
};

std::string with_separators(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  const size_t first = digits[0] == '-' ? 1 : 0;
  for (size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

}  // namespace

std::span<const Metric> metric_table() { return kMetrics; }

const Metric* find_metric(std::string_view name) {
  for (const Metric& metric : kMetrics) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

std::string nearest_metric(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Metric& metric : kMetrics) known.push_back(metric.name);
  return nearest_word(name, known);
}

std::string format_metric(const Metric& metric, const Json& value) {
  const double number = number_from_json(value);
  if (!std::isfinite(number)) return fmt::format("{}", number);
  if (metric.unit == "bytes") return format_bytes(static_cast<int64_t>(number));
  const std::string text = std::fabs(number) >= 1000 || number == std::floor(number) ? with_separators(number)
                                                                                     : fmt::format("{:.4g}", number);
  return metric.unit.empty() ? text : fmt::format("{} {}", text, metric.unit);
}

std::string format_in_column(const Metric& metric, double value) {
  if (metric.unit == "bytes") return fmt::format("{:.1f} MiB", value / static_cast<double>(kMiB));
  return format_metric(metric, value);
}

}  // namespace zo2
