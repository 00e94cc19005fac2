#include "runtime/cuda/layers.h"

#include <algorithm>

#include "runtime/cuda/dispatch.h"
#include "runtime/cuda/error.h"
#include "runtime/cuda/visit_math.cuh"

namespace zo2::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

// The sum over a block of so many threads, the same in every thread and in every run.
template <int Threads = kThreads, typename T>
__device__ T block_sum(T value, T* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  __syncthreads();  // the last reader of `shared` is done
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  T total = shared[0];
#pragma unroll
  for (int warp = 1; warp < Threads / 32; ++warp) total += shared[warp];
  return total;
}

__device__ float block_max(float value, float* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float most = shared[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) most = fmaxf(most, shared[warp]);
  return most;
}

__global__ void copy_words_kernel(const int32_t* from, int32_t* to, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count) to[i] = from[i];
}

// A block a row. N elements a thread at a time; N is 1 when rows are not whole packs, or the vectors lie at odd places.
template <typename T, int N, int Threads>
__global__ void __launch_bounds__(Threads)
    layer_norm_kernel(const T* in, const T* gamma, const T* beta, T* out, int cols) {
  extern __shared__ float row[];  // [cols]
  __shared__ float partial[Threads / 32];
  using P = Pack<T, N>;
  const P* from = reinterpret_cast<const P*>(in + int64_t{blockIdx.x} * cols);
  P* to = reinterpret_cast<P*>(out + int64_t{blockIdx.x} * cols);
  const int packs = cols / N;
  float sum = 0;
  for (int pack = threadIdx.x; pack < packs; pack += Threads) {
    const P value = from[pack];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float x = to_float(value.value[i]);
      row[pack * N + i] = x;
      sum += x;
    }
  }
  const float mean = block_sum<Threads>(sum, partial) / static_cast<float>(cols);
  float squares = 0;
  for (int pack = threadIdx.x; pack < packs; pack += Threads) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float centred = row[pack * N + i] - mean;
      squares += centred * centred;
    }
  }
  const float scale = 1.0f / sqrtf(block_sum<Threads>(squares, partial) / static_cast<float>(cols) + 1e-5f);
  for (int pack = threadIdx.x; pack < packs; pack += Threads) {
    const P g = reinterpret_cast<const P*>(gamma)[pack];
    const P b = reinterpret_cast<const P*>(beta)[pack];
    P value;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float normal = (row[pack * N + i] - mean) * scale;
      value.value[i] = from_float<T>(normal * to_float(g.value[i]) + to_float(b.value[i]));
    }
    to[pack] = value;
  }
}

template <typename Word>
__global__ void select_rows_kernel(const Word* in, const int32_t* index, Word* out, int64_t row_words) {
  const Word* from = in + int64_t{index[blockIdx.x]} * row_words;
  Word* to = out + int64_t{blockIdx.x} * row_words;
  for (int64_t i = threadIdx.x; i < row_words; i += blockDim.x) to[i] = from[i];
}

// A block a row of the batch.
template <typename Word>
__global__ void keep_rows_kernel(const Word* in, const int32_t* positions, Word* cache, int64_t seq, int64_t capacity,
                                 int64_t row_words) {
  const int64_t sequence = blockIdx.x / seq;
  const int64_t first = positions != nullptr ? positions[sequence] : 0;
  const Word* from = in + int64_t{blockIdx.x} * row_words;
  Word* to = cache + (sequence * capacity + first + blockIdx.x % seq) * row_words;
  for (int64_t i = threadIdx.x; i < row_words; i += blockDim.x) to[i] = from[i];
}

// A block for each head of a sequence: first a thread a position, then a thread an element of the head.
template <typename T>
__global__ void __launch_bounds__(kThreads) cached_attention_kernel(CachedAttention shape) {
  extern __shared__ float scores[];  // [positions]
  __shared__ float partial[kWarps];
  const int64_t sequence = blockIdx.y;
  const int64_t stride = shape.heads * shape.head_dim;
  const int64_t head = blockIdx.x * shape.head_dim;
  const int64_t cached = sequence * shape.capacity * stride + head;
  const T* q = reinterpret_cast<const T*>(shape.q) + sequence * stride + head;
  const T* keys = reinterpret_cast<const T*>(shape.keys) + cached;
  const T* values = reinterpret_cast<const T*>(shape.values) + cached;
  const int count = shape.positions[sequence] + 1;
  const float scale = 1.0f / sqrtf(static_cast<float>(shape.head_dim));
  float most = -INFINITY;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    float score = 0;
    for (int64_t c = 0; c < shape.head_dim; ++c) score += to_float(q[c]) * to_float(keys[i * stride + c]);
    scores[i] = score * scale;
    most = fmaxf(most, scores[i]);
  }
  most = block_max(most, partial);
  float total = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    scores[i] = expf(scores[i] - most);
    total += scores[i];
  }
  total = block_sum(total, partial);  // after it every score is there
  T* out = reinterpret_cast<T*>(shape.out) + sequence * stride + head;
  for (int64_t c = threadIdx.x; c < shape.head_dim; c += kThreads) {
    float sum = 0;
    for (int i = 0; i < count; ++i) sum += scores[i] * to_float(values[i * stride + c]);
    out[c] = from_float<T>(sum / total);
  }
}

// Whether one logit goes before another: greater, or as great and earlier.
__device__ bool goes_before(float a, int32_t a_index, float b, int32_t b_index) {
  if (isnan(a) || isnan(b)) return isnan(a) && (!isnan(b) || a_index < b_index);
  return a > b || (a == b && a_index < b_index);
}

// A block a row.
__global__ void __launch_bounds__(kThreads)
    arg_max_kernel(const float* logits, int32_t vocab_first, int vocab_rows, bool fresh, ArgMax state) {
  __shared__ float best_of[kThreads];
  __shared__ int32_t index_of[kThreads];
  const int64_t row = blockIdx.x;
  const float* values = logits + row * vocab_rows;
  float best = fresh ? values[0] : state.best[row];
  int32_t index = fresh ? vocab_first : state.index[row];
  const auto consider = [&](float value, int32_t at) {
    if (!goes_before(value, at, best, index)) return;
    best = value;
    index = at;
  };
  for (int i = threadIdx.x; i < vocab_rows; i += kThreads) consider(values[i], vocab_first + i);
  best_of[threadIdx.x] = best;
  index_of[threadIdx.x] = index;
  for (int width = kThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (threadIdx.x >= width) continue;
    consider(best_of[threadIdx.x + width], index_of[threadIdx.x + width]);
    best_of[threadIdx.x] = best;
    index_of[threadIdx.x] = index;
  }
  if (threadIdx.x != 0) return;
  state.best[row] = best;
  state.index[row] = index;
}

// A block a row.
__global__ void __launch_bounds__(kThreads)
    log_sum_exp_kernel(const float* logits, const int32_t* targets, int64_t vocab_first, int vocab_rows, bool fresh,
                       LogSumExp state) {
  __shared__ float partial[kWarps];
  const int64_t row = blockIdx.x;
  const float* values = logits + row * vocab_rows;
  float most = -INFINITY;
  for (int i = threadIdx.x; i < vocab_rows; i += kThreads) most = fmaxf(most, values[i]);
  most = block_max(most, partial);
  const float before = fresh ? -INFINITY : state.maximum[row];
  const float maximum = fmaxf(before, most);
  float sum = 0;
  for (int i = threadIdx.x; i < vocab_rows; i += kThreads) sum += expf(values[i] - maximum);
  sum = block_sum(sum, partial);
  if (threadIdx.x != 0) return;
  if (!fresh) sum += state.sum[row] * expf(before - maximum);
  state.maximum[row] = maximum;
  state.sum[row] = sum;
  const int64_t target = targets[row] - vocab_first;
  if (target >= 0 && target < vocab_rows) state.target[row] = values[target];
}

__global__ void __launch_bounds__(kThreads)
    finish_kernel(LogSumExp state, int64_t rows, float* logprobs, double* loss) {
  __shared__ double partial[kWarps];
  double sum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += kThreads) {
    const float logprob = state.target[row] - (state.maximum[row] + logf(state.sum[row]));
    logprobs[row] = logprob;
    sum -= static_cast<double>(logprob);
  }
  sum = block_sum(sum, partial);
  if (threadIdx.x == 0 && loss != nullptr) *loss += sum;
}

__global__ void __launch_bounds__(kThreads) candidates_kernel(const float* logprobs, CandidateGroups groups,
                                                              int32_t examples, Objective objective, double* loss) {
  __shared__ double partial[kWarps];
  double sum = 0;
  for (int32_t example = threadIdx.x; example < examples; example += kThreads) {
    sum += candidate_loss(logprobs, groups, example, objective);
  }
  sum = block_sum(sum, partial);
  if (threadIdx.x == 0) *loss += sum;
}

__global__ void entries_kernel(const double* losses, EntryInput input, DeviceEntry* ring, uint32_t first_entry,
                               EntryResult* results) {
  for (uint32_t pair = 0; pair < input.rule.pairs; ++pair) {
    EntryResult result{};
    result.loss_plus = losses[2 * pair] / input.terms;
    result.loss_minus = losses[2 * pair + 1] / input.terms;
    result.values = entry_values(result.loss_plus, result.loss_minus, input.rule, pair);
    ring[(first_entry + pair) % kRingEntries] = {input.seed, result.values.alpha, result.values.decay, input.step,
                                                 pair};
    results[pair] = result;
  }
}

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

unsigned blocks_for(int64_t threads) { return static_cast<unsigned>((threads + kThreads - 1) / kThreads); }

// Launches a copy of rows in the widest words that fill them.
template <typename Launch>
void launch_by_word(int64_t row_bytes, const Launch& launch) {
  if (row_bytes % 16 == 0) {
    launch.template operator()<int4>();
  } else {
    launch.template operator()<uint16_t>();
  }
  ZO2_CUDA_CHECK(cudaGetLastError());
}

}  // namespace

void copy_words(const int32_t* from, int32_t* to, int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  copy_words_kernel<<<blocks_for(count), kThreads, 0, stream>>>(from, to, count);
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void layer_norm(DType dtype, const std::byte* in, const std::byte* gamma, const std::byte* beta, std::byte* out,
                int64_t rows, int64_t cols, cudaStream_t stream) {
  dispatch_dtype(dtype, [&]<typename T>() {
    const auto launch = [&](auto kernel, int threads) {
      const auto row_bytes = static_cast<int>(cols) * 4;
      if (row_bytes > 47 * 1024) {  // beyond 48 KiB, static ones included, shared memory must be asked for
        ZO2_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, row_bytes));
      }
      kernel<<<static_cast<unsigned>(rows), threads, static_cast<size_t>(row_bytes), stream>>>(
          reinterpret_cast<const T*>(in), reinterpret_cast<const T*>(gamma), reinterpret_cast<const T*>(beta),
          reinterpret_cast<T*>(out), static_cast<int>(cols));
    };
    constexpr int N = 16 / sizeof(T);
    constexpr int kFew = 64;
    if (cols % N != 0 || !aligned(in) || !aligned(gamma) || !aligned(beta) || !aligned(out)) {
      launch(layer_norm_kernel<T, 1, kThreads>, kThreads);
    } else if (cols / N <= kFew) {
      launch(layer_norm_kernel<T, N, kFew>, kFew);
    } else {
      launch(layer_norm_kernel<T, N, kThreads>, kThreads);
    }
  });
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void select_rows(const std::byte* in, const int32_t* index, std::byte* out, int64_t rows, int64_t row_bytes,
                 cudaStream_t stream) {
  launch_by_word(row_bytes, [&]<typename Word>() {
    select_rows_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(
        reinterpret_cast<const Word*>(in), index, reinterpret_cast<Word*>(out),
        row_bytes / static_cast<int64_t>(sizeof(Word)));
  });
}

void keep_rows(const std::byte* in, const int32_t* positions, std::byte* cache, int64_t batch, int64_t seq,
               int64_t capacity, int64_t row_bytes, cudaStream_t stream) {
  launch_by_word(row_bytes, [&]<typename Word>() {
    keep_rows_kernel<<<static_cast<unsigned>(batch * seq), kThreads, 0, stream>>>(
        reinterpret_cast<const Word*>(in), positions, reinterpret_cast<Word*>(cache), seq, capacity,
        row_bytes / static_cast<int64_t>(sizeof(Word)));
  });
}

void cached_attention(DType dtype, const CachedAttention& shape, cudaStream_t stream) {
  dispatch_dtype(dtype, [&]<typename T>() {
    const auto scores_bytes = static_cast<int>(shape.capacity) * 4;
    if (scores_bytes > 47 * 1024) {
      ZO2_CUDA_CHECK(
          cudaFuncSetAttribute(cached_attention_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, scores_bytes));
    }
    const dim3 grid(static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch));
    cached_attention_kernel<T><<<grid, kThreads, static_cast<size_t>(scores_bytes), stream>>>(shape);
  });
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void update_arg_max(const float* logits, int64_t vocab_first, int64_t vocab_rows, bool fresh, const ArgMax& state,
                    int64_t rows, cudaStream_t stream) {
  arg_max_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(logits, static_cast<int32_t>(vocab_first),
                                                                       static_cast<int>(vocab_rows), fresh, state);
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void update_log_sum_exp(const float* logits, const int32_t* targets, int64_t vocab_first, int64_t vocab_rows,
                        bool fresh, const LogSumExp& state, int64_t rows, cudaStream_t stream) {
  log_sum_exp_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(logits, targets, vocab_first,
                                                                           static_cast<int>(vocab_rows), fresh, state);
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void finish_log_probabilities(const LogSumExp& state, int64_t rows, float* logprobs, double* loss,
                              cudaStream_t stream) {
  finish_kernel<<<1, kThreads, 0, stream>>>(state, rows, logprobs, loss);
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void add_candidate_losses(const float* logprobs, const CandidateGroups& groups, int32_t examples, Objective objective,
                          double* loss, cudaStream_t stream) {
  candidates_kernel<<<1, kThreads, 0, stream>>>(logprobs, groups, examples, objective, loss);
  ZO2_CUDA_CHECK(cudaGetLastError());
}

void make_entries(const double* losses, const EntryInput& input, DeviceEntry* ring, uint32_t first_entry,
                  EntryResult* results, cudaStream_t stream) {
  entries_kernel<<<1, 1, 0, stream>>>(losses, input, ring, first_entry, results);
  ZO2_CUDA_CHECK(cudaGetLastError());
}

}  // namespace zo2::cuda
