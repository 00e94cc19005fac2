// What the textbook baseline asks of a device beside LibTorch's operations: full-size noise, the clock of steps, the
// allocator's meter, and errors as ours.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdint>
#include <memory>

#include "program/parameters.h"
#include "runtime/device.h"

namespace zo2 {

class TextbookDevice {
 public:
  virtual ~TextbookDevice() = default;

  virtual at::Device place() const = 0;  // where every tensor lives

  // Runs LibTorch's operations: without autograd, on the device's stream. Throws OutOfMemoryError with what to do,
  // DeviceError for LibTorch's other errors.
  template <typename Body>
  auto run(const Body& body) {
    const c10::InferenceMode inference;
    try {
      use_stream();
      return body();
    } catch (const c10::Error& error) {
      throw_typed(error);
    }
  }

  // The direction z of `seed` for all elements of a parameter, rounded to the dtype of z: what MeZO draws from
  // torch.normal.
  virtual void fill_noise(Distribution noise, uint64_t seed, const Parameter& parameter, DType dtype,
                          at::Tensor& z) = 0;

  virtual void start_clock() = 0;
  virtual void end_step() = 0;  // of all work enqueued so far
  // Device time from the end of the step before to the end of the oldest step not yet asked for, which it waits for.
  virtual double next_step_ms() = 0;

  virtual MemoryMeter memory() const = 0;

 protected:
  virtual void use_stream() = 0;

 private:
  [[noreturn]] static void throw_typed(const c10::Error& error);
};

// `threads` as in ExecutorSettings. Throws DeviceError when LibTorch's CUDA library does not load.
std::unique_ptr<TextbookDevice> make_textbook_device(Device device, int threads);

}  // namespace zo2
