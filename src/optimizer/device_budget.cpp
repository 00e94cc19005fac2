#include "optimizer/device_budget.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/nvml.h"

namespace zo2 {
namespace {

constexpr int64_t kGranule = 2 * kMiB;      // the driver hands out whole ones
constexpr int64_t kLargerArena = 4 * kMiB;  // page tables that an arena of many GiB needs and the smallest does not

}  // namespace

std::optional<int64_t> device_memory_in_use() {
  const auto device = Nvml::open().visible_device();
  return device ? device->used_bytes() : std::nullopt;
}

int64_t arena_budget(const TrainJob& job, const Plan& smallest, HostWeights& weights, int64_t idle_bytes) {
  int64_t outside = 0;
  {
    const auto executor = make_executor(job.device, smallest, weights, job.executor);
    executor->start(0, {});
    for (int pass = 0; pass < job.trainer.micro_batches; ++pass) {
      PassInput input;
      input.batch = job.data->batch(0, pass);
      input.pass = pass;
      input.last_pass = pass + 1 == job.trainer.micro_batches;
      executor->submit(std::move(input));
    }
    executor->next_result();
    if (job.evaluation) executor->evaluate(job.evaluation->first_batch());
    const auto used = device_memory_in_use();
    ZO2_CHECK(used.has_value(), DeviceError, "gpu_memory: NVML does not tell how much device memory is in use");
    outside = *used - idle_bytes - align_up(smallest.layout.arena_bytes, kGranule);
  }
  const int64_t left = (job.gpu_memory_bytes - outside - kLargerArena) / kGranule * kGranule;
  ZO2_CHECK(
      left >= smallest.layout.arena_bytes, UsageError,
      "gpu_memory {} is too small: {} lie outside of the arena (context, kernels, libraries, page tables), and the "
      "smallest arena takes {}: give at least {}",
      format_bytes(job.gpu_memory_bytes), format_bytes(outside), format_bytes(smallest.layout.arena_bytes),
      format_bytes(outside + kLargerArena + align_up(smallest.layout.arena_bytes, kGranule)));
  return left;
}

}  // namespace zo2
