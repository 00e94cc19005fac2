// Runs the passes of a plan on a device. CPU and CUDA implement this one interface (make_executor in runtime/device.h);
// nothing above it knows which one runs.
//
// Passes are submitted in order and run asynchronously; results come back in order. The host never waits inside a
// step: projected gradients and the entries of the step log are made on the device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/plan.h"
#include "noise/noise.h"
#include "runtime/trace.h"
#include "store/host_weights.h"
#include "store/step_log.h"

namespace zo2 {

// Right-padded sequences and the positions that have a label: row b * seq + i predicts targets of position i + 1. Where
// sequences are continued (Executor::next_tokens), `rows` are their last real ones and there are no targets.
struct Batch {
  int64_t batch = 0;
  int64_t seq = 0;
  std::vector<int32_t> tokens;   // [batch, seq]
  std::vector<int32_t> rows;     // [labelled], ascending, in [0, batch * seq)
  std::vector<int32_t> targets;  // [labelled], in [0, vocab_size)
  int64_t real_tokens = 0;       // without the padding
  // Where seq is 1 and the tokens follow others that a cache holds: [batch], the position of each; else empty.
  std::vector<int32_t> positions{};
  // Where sequences are candidates of examples (objectives but lm); else empty.
  std::vector<int32_t> sequence_ends{};  // [batch], ascending to labelled: sequence i's rows end here
  std::vector<int32_t> example_ends{};   // [examples], ascending to batch: example i's sequences end here
  std::vector<int32_t> answers{};        // [examples]: which of its candidates is right

  // What the loss is a mean of: examples where there are some, else labelled tokens.
  int64_t terms() const { return static_cast<int64_t>(answers.empty() ? rows.size() : answers.size()); }
};

// Throws UsageError when the batch is empty, has no label, has an id out of range, or does not fit the model, the plan
// or the objective of training.
void check_batch(const Batch& batch, int64_t vocab_size, int64_t max_positions);
void check_batch(const Batch& batch, const Program& program);
void check_objective(const Batch& batch, Objective objective);
// The same for a batch to be continued, in a plan or (the baseline) without one.
void check_continued(const Batch& batch, int64_t vocab_size, int64_t max_positions);
void check_continued(const Batch& batch, const Plan& plan);

// One pass over the weights. A step has several when it accumulates over micro-batches: equal step and seed, ascending
// pass, last_pass on the last.
struct PassInput {
  Batch batch;
  int64_t step = 0;
  int pass = 0;
  bool last_pass = true;
  uint64_t seed = 0;
  double learning_rate = 0;
};

struct StepResult {
  std::vector<LogEntry> entries;  // one per pair
  double step_ms = 0;             // device time since the end of the step before
  int64_t tokens = 0;             // Batch::real_tokens of its passes; the trainer counts them
};

struct EvaluationResult {
  double loss_sum = 0;          // of -logprobs
  std::vector<float> logprobs;  // [labelled]
};

enum class Rounding : uint8_t { nearest, stochastic };

// How a device reaches host memory (runtime/cuda/host_link.h). Not numerics; the CPU ignores it.
enum class HostMemory : uint8_t { registered, staged, pageable };

struct ExecutorSettings {
  float eps = 1e-3f;
  double weight_decay = 0;
  Distribution noise = Distribution::gaussian;
  bool rounded_noise = false;  // z is rounded to the weights' dtype before use: what Scheme::noise_buffer needs
  Rounding rounding = Rounding::nearest;
  int threads = 0;  // CPU threads: for compute, or for staged copies; 0: one per core
  HostMemory host = HostMemory::registered;
  TraceWindow trace;
  // Tests only: directions from elsewhere, in place of the noise function. CPU only.
  std::function<void(const NoiseKey& key, int64_t first_index, std::span<float> out)> direction_source;
};

struct MemoryMeter {
  int64_t planned_bytes = 0;       // the arena
  int64_t peak_bytes = 0;          // the highest byte of the arena that any operation was handed, plus one
  int64_t library_peak_bytes = 0;  // what libraries took for themselves in one operation, outside the arena
  int64_t pinned_bytes = 0;        // page-locked host memory
  double pin_seconds = 0;          // what locking it took
  // The peaks of LibTorch's caching allocator: the textbook baseline on CUDA, which has no arena.
  int64_t allocator_reserved_peak_bytes = 0;   // taken from the driver
  int64_t allocator_allocated_peak_bytes = 0;  // handed to tensors
};

class Executor {
 public:
  virtual ~Executor() = default;

  // Where training begins or resumes: `entries` are the log's newest ones, at least those still pending at this step.
  // The host weights must hold the bases of that step.
  virtual void start(int64_t next_step, std::span<const LogEntry> entries) = 0;

  // Enqueues a training pass; waits only while more than a few are in flight. Throws what an earlier pass threw.
  virtual void submit(PassInput input) = 0;

  // The next finished step, in order. Waits for it; throws what its passes threw.
  virtual StepResult next_result() = 0;

  // Evaluates w_t at the current step (after every submitted pass). Never commits.
  virtual EvaluationResult evaluate(const Batch& batch) = 0;

  // The greedy next token of each sequence: the arg-max after its last real token under w_t at the current step, the
  // first of equal ones. A batch of whole sequences fills the cache anew; one with positions, of as many sequences in
  // the same order, reads it and adds its tokens. Never commits.
  virtual std::vector<int32_t> next_tokens(const Batch& batch) = 0;
  virtual int64_t generation_batch() const = 0;  // most sequences of such a batch; 0: none can be

  // Waits for every pass and writes the resident bases back to the host weights, which then hold the bases of the
  // current step by the commit schedule.
  virtual void sync_host() = 0;

  virtual MemoryMeter memory() const = 0;

  // What ran when, in the steps of settings.trace; copies that moved nothing are left out. Waits for every pass. Empty
  // where there is no program (the textbook baseline).
  virtual std::vector<TraceSpan> trace() { return {}; }

  // The mean time of the next `steps` steps' copies alone, with nothing computed: what the link allows at this tile
  // size and mix of directions. Changes no weight. 0 on the CPU.
  virtual double copies_only_ms(int /*steps*/) { return 0; }
};

// `plan` and `weights` must outlive the executor. Above the runtime, make_executor (runtime/device.h) chooses.
std::unique_ptr<Executor> make_cpu_executor(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings);
std::unique_ptr<Executor> make_cuda_executor(const Plan& plan, HostWeights& weights, const ExecutorSettings& settings);

// What attention needs beside its output, measured by one call of the planned shape (on CPU with `threads` threads).
AttentionWorkspace measured_cpu_attention(DType dtype, int threads);
AttentionWorkspace measured_cuda_attention(DType dtype);

}  // namespace zo2
