// Typed errors. A message says what was wrong, where, and what to do; the command line turns any of them into exit
// code 2 (bad usage, bad input, unwritable output), and a cell into a failed record.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace zo2 {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Bad input: command line, manifest, configuration, checkpoint, tokens.
class UsageError : public Error {
 public:
  using Error::Error;
};

// A file or folder that cannot be read or written.
class IoError : public Error {
 public:
  using Error::Error;
};

// Not enough device or host memory.
class OutOfMemoryError : public Error {
 public:
  using Error::Error;
};

// A GPU that is not there, cannot do what is asked, or failed.
class DeviceError : public Error {
 public:
  using Error::Error;
};

// The training run left the finite numbers.
class DivergedError : public Error {
 public:
  using Error::Error;
};

// A broken invariant of this program: always a bug.
class InternalError : public Error {
 public:
  using Error::Error;
};

}  // namespace zo2

// Throws ErrorType with a formatted message unless the condition holds.
#define ZO2_CHECK(condition, ErrorType, ...)              \
  do {                                                    \
    if (!(condition)) {                                   \
      throw ::zo2::ErrorType(::fmt::format(__VA_ARGS__)); \
    }                                                     \
  } while (false)

// For invariants: names the expression, the file and the line.
#define ZO2_ASSERT(condition)                                                                                 \
  ZO2_CHECK(condition, InternalError, "{}:{}: '{}' does not hold (a bug in zo2; please report it)", __FILE__, \
            __LINE__, #condition)
