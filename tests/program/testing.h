// What the tests of program, model and runtime share: random seeds and the messages of errors.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>

#include "base/error.h"
#include "support.h"

namespace zo2::testing {

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' in: " << text;
}

}  // namespace zo2::testing
